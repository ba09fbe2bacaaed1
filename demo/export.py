"""Writes the trained model as GGUF: `python3 export.py [brisk-demo.gguf]`, Q8_0 matrices and F32 norms."""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, LlamaFileType, TokenType

from tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS
from train import TOKENIZER, load

TARGET = Path(__file__).parent / "brisk-demo.gguf"


def named_matrices(model):
    """(GGUF name, tensor) of every 2-D weight, the fused ones taken apart."""
    c = model.config
    q_rows, kv_rows = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    yield "token_embd.weight", model.embedding.weight
    for number, layer in enumerate(model.layers):
        q, k, v = layer.attn_qkv.weight.split((q_rows, kv_rows, kv_rows))
        gate, up = layer.ffn_gate_up.weight.chunk(2)
        parts = {"attn_q": q, "attn_k": k, "attn_v": v, "attn_output": layer.attn_output.weight}
        parts |= {"ffn_gate": gate, "ffn_up": up, "ffn_down": layer.ffn_down.weight}
        for name, weight in parts.items():
            yield f"blk.{number}.{name}.weight", weight


def named_norms(model):
    """(GGUF name, tensor) of every norm."""
    yield "output_norm.weight", model.output_norm
    for number, layer in enumerate(model.layers):
        yield f"blk.{number}.attn_norm.weight", layer.attn_norm
        yield f"blk.{number}.ffn_norm.weight", layer.ffn_norm


def add_hyperparameters(writer, config):
    """General keys and the shapes of the `llama` architecture."""
    writer.add_name("Brisk demonstration model")
    writer.add_description("A tiny model that answers questions about Brisk, trained from scratch by demo/build.sh")
    writer.add_license("MIT OR Apache-2.0")
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_model_len)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def add_tokenizer(writer, path):
    """Vocabulary, merges, special ids and the chat template."""
    stored = json.loads(path.read_text())["model"]
    tokens = sorted(stored["vocab"], key=stored["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in stored["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in SPECIAL_TOKENS else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    end_of_text, end_of_turn = tokens.index("<|endoftext|>"), tokens.index("<|im_end|>")
    writer.add_bos_token_id(end_of_text)
    writer.add_eos_token_id(end_of_turn)
    writer.add_eot_token_id(end_of_turn)
    writer.add_pad_token_id(end_of_text)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main():
    """Exports build/model.pt and says how large the file is."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    model = load()
    writer = gguf.GGUFWriter(str(target), "llama")
    add_hyperparameters(writer, model.config)
    add_tokenizer(writer, TOKENIZER)
    for name, weight in named_matrices(model):
        values = np.ascontiguousarray(weight.detach().float().numpy())
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name, weight in named_norms(model):
        writer.add_tensor(name, weight.detach().float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
