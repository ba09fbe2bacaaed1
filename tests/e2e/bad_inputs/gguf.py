"""Builds small GGUF files that are sound until an edit makes them wrong; the standard library is enough."""

import random
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
TENSOR_F32 = 0
HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 32, 2, 1, 64, 128

TEMPLATE = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"


class Raw:
    """Bytes that stand in a file as they are."""

    def __init__(self, data):
        self.data = data


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def encode(kind, value):
    if isinstance(value, Raw):
        return value.data
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        element, values = value
        return struct.pack("<IQ", element, len(values)) + b"".join(encode(element, each) for each in values)
    return struct.pack("<" + _FORMATS.get(kind, "I"), value)


class Gguf:
    """A file in parts. `keys` maps names to (type, value); a list of pairs allows doubles."""

    def __init__(self):
        self.magic, self.version = b"GGUF", 3
        self.num_tensors = self.num_keys = None  # None: the true counts
        self.keys = list(_metadata().items())
        self.tensors = _tensors()
        self.tail = b""
        self.cut = None

    def set(self, name, kind, value):
        self.keys = [(key, (kind, value) if key == name else old) for key, old in self.keys]
        if name not in dict(self.keys):
            self.keys.append((name, (kind, value)))
        return self

    def drop(self, name):
        self.keys = [(key, value) for key, value in self.keys if key != name]
        return self

    def add(self, name, kind, value):
        self.keys.append((name, (kind, value)))
        return self

    def tensor(self, name, **changes):
        """Changes a tensor's description: name, dims, kind, offset, data."""
        next(tensor for tensor in self.tensors if tensor["name"] == name).update(changes)
        return self

    def without(self, name):
        self.tensors = [tensor for tensor in self.tensors if tensor["name"] != name]
        return self

    def header(self, **fields):
        for name, value in fields.items():
            setattr(self, name, value)
        return self

    def build(self):
        pack = struct.pack
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        num_keys = len(self.keys) if self.num_keys is None else self.num_keys
        out = self.magic + pack("<I", self.version) + pack("<QQ", num_tensors & (2**64 - 1), num_keys & (2**64 - 1))
        for name, (kind, value) in self.keys:
            out += (name.data if isinstance(name, Raw) else text(name)) + pack("<I", kind) + encode(kind, value)
        data, infos = b"", b""
        for tensor in self.tensors:
            offset = tensor.get("offset", len(data))
            dims = tensor["dims"]
            num_dims = tensor.get("num_dims", len(dims))
            infos += text(tensor["name"]) + pack("<I", num_dims) + b"".join(pack("<Q", dim & (2**64 - 1)) for dim in dims)
            infos += pack("<IQ", tensor["kind"], offset & (2**64 - 1))
            data += tensor["data"] + bytes(-len(tensor["data"]) % 32)
        out += infos
        out += bytes(-len(out) % 32) + data + self.tail
        return out if self.cut is None else out[:self.cut]


def byte_characters():
    """GPT-2's printable stand-ins for the 256 bytes, by byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _metadata():
    tokens = [*byte_characters(), "th", "the", "in", "<|start|>", "<|end|>", "<|text|>"]
    kinds = [1] * 259 + [3] * 3
    return {
        "general.architecture": (STRING, "llama"), "general.name": (STRING, "tiny"), "general.alignment": (U32, 32),
        "llama.block_count": (U32, 1), "llama.context_length": (U32, CONTEXT), "llama.embedding_length": (U32, HIDDEN),
        "llama.feed_forward_length": (U32, FEED_FORWARD), "llama.attention.head_count": (U32, HEADS), "llama.attention.head_count_kv": (U32, KV_HEADS),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5), "llama.rope.freq_base": (F32, 10000.0), "llama.rope.dimension_count": (U32, HIDDEN // HEADS),
        "llama.vocab_size": (U32, len(tokens)),
        "tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, "gpt-2"), "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (I32, kinds)), "tokenizer.ggml.merges": (ARRAY, (STRING, ["t h", "th e", "i n"])),
        "tokenizer.ggml.bos_token_id": (U32, 261), "tokenizer.ggml.eos_token_id": (U32, 260), "tokenizer.chat_template": (STRING, TEMPLATE),
    }


def _tensors():
    chance = random.Random(7)
    def matrix(name, columns, rows):
        values = [chance.uniform(-0.3, 0.3) for _ in range(columns * rows)]
        return {"name": name, "dims": [columns, rows], "kind": TENSOR_F32, "data": struct.pack(f"<{len(values)}f", *values)}
    def ones(name):
        return {"name": name, "dims": [HIDDEN], "kind": TENSOR_F32, "data": struct.pack(f"<{HIDDEN}f", *[1.0] * HIDDEN)}
    kv = HIDDEN // HEADS * KV_HEADS
    return [
        matrix("token_embd.weight", HIDDEN, 262), ones("output_norm.weight"), matrix("output.weight", HIDDEN, 262), ones("blk.0.attn_norm.weight"),
        matrix("blk.0.attn_q.weight", HIDDEN, HIDDEN), matrix("blk.0.attn_k.weight", HIDDEN, kv), matrix("blk.0.attn_v.weight", HIDDEN, kv),
        matrix("blk.0.attn_output.weight", HIDDEN, HIDDEN), ones("blk.0.ffn_norm.weight"), matrix("blk.0.ffn_gate.weight", HIDDEN, FEED_FORWARD),
        matrix("blk.0.ffn_up.weight", HIDDEN, FEED_FORWARD), matrix("blk.0.ffn_down.weight", FEED_FORWARD, HIDDEN),
    ]
