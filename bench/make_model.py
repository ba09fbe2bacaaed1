#!/usr/bin/env python3
"""Writes a GGUF file with the exact shapes of a public model and random weights.

    pip install -r bench/requirements.txt
    python3 bench/make_model.py --shape llama-3.2-1b --type Q4_K_M --out model.gguf

Speed does not depend on what the weights say, so such a file measures speed and memory as the
real download would, on a machine that cannot download it. The types of the tensors are those that
llama.cpp's quantizer chooses. The tokenizer is made up too, of the right size; --vocab takes the
one of another GGUF file instead.
"""

import argparse
import dataclasses
import os

try:
    import gguf
    import numpy as np
    from gguf import GGMLQuantizationType as T
except ImportError as error:
    raise SystemExit(f"{error}: pip install -r bench/requirements.txt") from None

STD = 0.02  # of the weights, about what trained models have


@dataclasses.dataclass(frozen=True)
class Shape:
    arch: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    rope_base: float
    tied: bool = True


# From the config.json files of the models.
SHAPES = {
    "smollm2-135m": Shape("llama", 30, 576, 9, 3, 64, 1536, 49152, 1e5),
    "qwen2.5-0.5b": Shape("qwen2", 24, 896, 14, 2, 64, 4864, 151936, 1e6),
    "llama-3.2-1b": Shape("llama", 16, 2048, 32, 8, 64, 8192, 128256, 5e5),
    "llama-3.2-3b": Shape("llama", 28, 3072, 24, 8, 128, 8192, 128256, 5e5),
    "llama-3.1-8b": Shape("llama", 32, 4096, 32, 8, 128, 14336, 128256, 5e5, tied=False),
    "gemma-2-2b": Shape("gemma2", 26, 2304, 8, 4, 256, 9216, 256000, 1e4),
    "gemma-2-9b": Shape("gemma2", 42, 3584, 16, 8, 256, 14336, 256000, 1e4),
}

# Names of whole files and GGUF's numbers for them (`general.file_type`).
FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 12,
    "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32,
}

# What the quantizer writes where a row is no multiple of 256 weights.
FALLBACK = {
    T.Q2_K: T.Q4_0, T.Q3_K: T.Q4_0, T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0, T.IQ4_XS: T.IQ4_NL,
}

# Where a block holds its half floats, and what they must be for weights with a standard deviation
# of one when all other bytes are drawn at random: a scale, and for some types a minimum.
HALF_FLOATS = {
    T.Q4_0: [(0, 1 / 4.6)],
    T.Q4_1: [(0, 1 / 4.6), (2, -7.5 / 4.6)],
    T.Q5_0: [(0, 1 / 9.2)],
    T.Q5_1: [(0, 1 / 9.2), (2, -15.5 / 9.2)],
    T.Q8_0: [(0, 1 / 74)],
    T.Q2_K: [(80, 1 / 14), (82, 1.5 / 14)],
    T.Q3_K: [(108, 1 / 42)],
    T.Q4_K: [(0, 1 / 258), (2, 7.5 / 258)],
    T.Q5_K: [(0, 1 / 527), (2, 15.5 / 527)],
    T.Q6_K: [(208, 1 / 740)],
    T.IQ4_NL: [(0, 1 / 69)],
    T.IQ4_XS: [(0, 1 / 1276)],
}


def random_weights(rng, rows, cols, qtype):
    """`rows` x `cols` weights: floats, or the bytes of `qtype`."""
    if qtype in (T.F32, T.F16, T.BF16):
        values = rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(STD)
        if qtype == T.BF16:
            return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return values if qtype == T.F32 else values.astype(np.float16)
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[qtype]
    blocks = rng.integers(0, 256, (rows * cols // block_len, block_bytes), dtype=np.uint8)
    if qtype == T.Q6_K:  # scales of 8 bits, whose full range would be very uneven
        blocks[:, 192:208] = rng.integers(20, 60, (len(blocks), 16), dtype=np.uint8)
    for offset, value in HALF_FLOATS[qtype]:
        values = (STD * value * rng.uniform(0.8, 1.2, len(blocks))).astype(np.float16)
        blocks[:, offset:offset + 2] = values.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def gpt2_alphabet():
    """The printable character that stands for each byte in byte-level BPE (as in GPT-2)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


def add_tokenizer(writer, vocab_size):
    """A byte-level BPE of `vocab_size` tokens: the bytes, merges of every token with every byte in
    turn, and two control tokens at the end."""
    tokens = gpt2_alphabet()
    merges = []
    for number in range(vocab_size - len(tokens) - 2):
        first, second = tokens[number // 256], tokens[number % 256]
        merges.append(f"{first} {second}")
        tokens.append(first + second)
    tokens += ["<|begin_of_text|>", "<|end_of_text|>"]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([normal] * (vocab_size - 2) + [control] * 2)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocab_size - 2)
    writer.add_eos_token_id(vocab_size - 1)
    writer.add_add_bos_token(True)


def copy_tokenizer(writer, path, vocab_size):
    """The tokenizer of the file at `path`, cut or filled up to `vocab_size` tokens."""
    for key, field in gguf.GGUFReader(path).fields.items():
        if not key.startswith("tokenizer."):
            continue
        value = field.contents()
        if key == "tokenizer.ggml.tokens":
            value = [*value, *(f"<|unused_{i}|>" for i in range(len(value), vocab_size))][:vocab_size]
        elif key == "tokenizer.ggml.token_type":
            value = [*value, *[int(gguf.TokenType.UNUSED)] * vocab_size][:vocab_size]
        elif key == "tokenizer.ggml.scores":
            value = [*value, *[0.0] * vocab_size][:vocab_size]
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, field.types[0])


def add_metadata(writer, shape, file_type):
    writer.add_block_count(shape.layers)
    writer.add_context_length(8192)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(FILE_TYPES[file_type])
    if shape.arch == "gemma2":
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)
        writer.add_sliding_window(4096)


def add_tensors(writer, shape, file_type, rng):
    main = T[file_type.removesuffix("_M")]
    # The output layer keeps more bits, and in the mixed types so do some of the others.
    is_wide = main in (T.F32, T.F16, T.BF16, T.Q8_0)
    output = main if is_wide else T.Q6_K

    def matrix(name, rows, cols, qtype):
        if cols % gguf.GGML_QUANT_SIZES[qtype][0]:
            qtype = FALLBACK[qtype]
        is_raw = qtype not in (T.F32, T.F16)
        data = random_weights(rng, rows, cols, qtype)
        writer.add_tensor(name, data, raw_dtype=qtype if is_raw else None)

    def vector(name, length, value):
        writer.add_tensor(name, np.full(length, value, dtype=np.float32))

    hidden, q_size, kv_size = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    matrix("token_embd.weight", shape.vocab, hidden, output if shape.tied else main)
    vector("output_norm.weight", hidden, 1)
    if not shape.tied:
        matrix("output.weight", shape.vocab, hidden, output)
    eighth = shape.layers // 8
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        # The first and the last eighth, and every third layer between them.
        is_rich = layer < eighth or layer >= 7 * shape.layers // 8 or (layer - eighth) % 3 == 2
        rich = output if file_type.endswith("_M") and is_rich else main
        vector(prefix + "attn_norm.weight", hidden, 1)
        vector(prefix + "ffn_norm.weight", hidden, 1)
        matrix(prefix + "attn_q.weight", q_size, hidden, main)
        matrix(prefix + "attn_k.weight", kv_size, hidden, main)
        matrix(prefix + "attn_v.weight", kv_size, hidden, rich)
        matrix(prefix + "attn_output.weight", hidden, q_size, main)
        matrix(prefix + "ffn_gate.weight", shape.ffn, hidden, main)
        matrix(prefix + "ffn_up.weight", shape.ffn, hidden, main)
        matrix(prefix + "ffn_down.weight", hidden, shape.ffn, rich)
        if shape.arch == "qwen2":
            for name, length in (("q", q_size), ("k", kv_size), ("v", kv_size)):
                vector(f"{prefix}attn_{name}.bias", length, 0)
        if shape.arch == "gemma2":
            vector(prefix + "post_attention_norm.weight", hidden, 1)
            vector(prefix + "post_ffw_norm.weight", hidden, 1)


def make(shape_name, file_type, path, vocab=None, seed=1):
    """Writes the file; it appears under its name once it is whole."""
    shape = SHAPES[shape_name]
    partial = path + ".part"
    writer = gguf.GGUFWriter(partial, shape.arch)
    writer.add_name(f"{shape_name}, random weights")
    add_metadata(writer, shape, file_type)
    if vocab:
        copy_tokenizer(writer, vocab, shape.vocab)
    else:
        add_tokenizer(writer, shape.vocab)
    add_tensors(writer, shape, file_type, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--type", choices=FILE_TYPES, default="Q4_K_M")
    parser.add_argument("--vocab", help="a GGUF file whose tokenizer to take")
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    make(args.shape, args.type, args.out, args.vocab, args.seed)


if __name__ == "__main__":
    main()
