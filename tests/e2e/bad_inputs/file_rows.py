"""Model files: rows G01 to G17, K06, and the templates T01 to T05 that a file can carry."""

import math
import struct
from dataclasses import dataclass
from typing import Callable

from gguf import ARRAY, BOOL, F32, FEED_FORWARD, HIDDEN, I32, STRING, U8, U16, U32, U64, Gguf, Raw, text

HUGE = 2**63


@dataclass
class FileRow:
    number: str
    what: str
    data: Callable  # a sound Gguf to the bytes of a wrong file, or to a Gguf
    says: str  # a pattern that the error must match
    inspect: bool = False  # whether `brisk inspect` must refuse it too


def _format(number, what, data, says):
    return FileRow(number, what, data, says, inspect=True)


def _array(element, count, data=b""):
    return Raw(struct.pack("<IQ", element, count) + data)


def _named(g, name):
    g.tensors[1]["name"] = name
    return g


FORMAT_ROWS = [
    _format("G01", "no bytes", lambda g: b"", "at byte 0"),
    _format("G01", "three bytes", lambda g: b"GGU", "at byte 0"),
    _format("G01", "only the magic", lambda g: b"GGUF", "version at byte 4"),
    _format("G01", "another magic", lambda g: g.header(magic=b"GGML"), "GGML"),
    _format("G01", "byte-swapped magic", lambda g: g.header(magic=b"FUGG"), "byte-swapped|FUGG"),
    *(_format("G02", f"version {version}", lambda g, version=version: g.header(version=version), "version") for version in (0, 1, 4, 2**31)),
    _format("G02", "big-endian version", lambda g: g.header(version=0x03000000), "big-endian"),
    *(_format("G03", f"{count} {name}", lambda g, name=name, count=count: g.header(**{name: count}), f"byte {offset}")
      for name, offset in (("num_tensors", 8), ("num_keys", 16)) for count in (HUGE, -1, 2**40, 10**6)),
    _format("G04", "a key of length 2^63", lambda g: g.add(Raw(struct.pack("<Q", HUGE) + b"key"), U32, 1), "at byte"),
    _format("G04", "a text longer than the file", lambda g: g.add("x", STRING, Raw(struct.pack("<Q", 10**6) + b"abc")), "at byte"),
    _format("G04", "a text of length 2^64 - 1", lambda g: g.add("x", STRING, Raw(b"\xff" * 8)), "at byte"),
    _format("G04", "an empty key", lambda g: g.add("", U32, 1), "key.* at byte"),
    _format("G05", "an array whose size overflows", lambda g: g.add("x", ARRAY, _array(U64, 2**61 + 1)), "at byte"),
    _format("G05", "an array of 2^63 bytes", lambda g: g.add("x", ARRAY, _array(U8, HUGE)), "at byte"),
    _format("G05", "an array of 2^32 texts", lambda g: g.add("x", ARRAY, _array(STRING, 2**32)), "at byte"),
    _format("G05", "an array of arrays", lambda g: g.add("x", ARRAY, _array(ARRAY, 1, struct.pack("<IQ", U8, 0))), '"x" at byte'),
    _format("G05", "an array of unknown things", lambda g: g.add("x", ARRAY, _array(99, 1)), '"x" at byte'),
    *(_format("G06", f"value type {kind}", lambda g, kind=kind: g.add("x", kind, 1), '"x" at byte') for kind in (13, 255, 2**31)),
    _format("G06", "a truth value of 7", lambda g: g.add("x", BOOL, Raw(b"\7")), "at byte"),
    _format("G06", "alignment as text", lambda g: g.set("general.alignment", STRING, "32"), "general.alignment"),
    _format("G06", "alignment as a fraction", lambda g: g.set("general.alignment", F32, 32.0), "general.alignment"),
    *(_format("G07", f"alignment {value}", lambda g, value=value: g.set("general.alignment", U32, value), "general.alignment") for value in (0, 3, 33, 2**31)),
    _format("G08", "a key twice", lambda g: g.add("general.name", STRING, "again"), "general.name"),
    _format("G08", "a tensor twice", lambda g: _named(g, "token_embd.weight"), "token_embd.weight.* at byte"),
    _format("G08", "a tensor without a name", lambda g: _named(g, ""), "name.* at byte"),
    _format("G08", "a tensor name of 10 KiB", lambda g: _named(g, "x" * 10240), "name.* at byte"),
    _format("G08", "a tensor name that is not UTF-8", lambda g: _named(g, b"\xff\xfe"), "UTF-8"),
    _format("G08", "a key that is not UTF-8", lambda g: g.add(Raw(text(b"\xff")), U32, 1), "UTF-8"),
    *(_format("G09", f"{number} dimensions", lambda g, number=number: g.tensor("output.weight", num_dims=number), "output.weight") for number in (0, 5, 255, 2**31)),
    *(_format("G09", f"shape {dims}", lambda g, dims=dims: g.tensor("output.weight", dims=dims), "output.weight")
      for dims in ([0, 262], [HIDDEN, 0], [-1, 262], [HUGE, 2], [2**32, 2**32], [2**62, 1], [2**16, 2**16, 2**16, 2**16])),
    _format("G09", "a row that is no whole block", lambda g: g.tensor("output.weight", kind=2, dims=[33, 262]), "output.weight"),
    *(_format("G10", f"offset {offset}", lambda g, offset=offset: g.tensor("output.weight", offset=offset), "output.weight") for offset in (1, 33, 2**40, HUGE, -32, -1)),
    _format("G10", "two tensors in one place", lambda g: g.tensor("output_norm.weight", offset=0), "output_norm.weight|token_embd.weight"),
    *(_format("G11", f"tensor type {kind}", lambda g, kind=kind: g.tensor("output.weight", kind=kind), "output.weight") for kind in (4, 5, 31, 99, 2**31)),
    _format("G12", "the last byte is missing", lambda g: g.header(cut=-1), "ends at byte"),
    _format("G12", "half of the data is missing", lambda g: g.header(cut=len(Gguf().build()) // 2), "at byte"),
    *(_format("G12", f"the file ends at byte {cut}", lambda g, cut=cut: g.header(cut=cut), "at byte") for cut in (5, 8, 20, 24, 30, 100, 1000, 5000)),
    _format("G16", "a shard without the others", lambda g: g.set("split.count", U16, 2).set("split.no", U16, 0).set("split.tensors.count", I32, 24), "shard"),
    _format("G16", "a shard with a path in its name", lambda g: g.set("split.count", U16, 2).set("general.name", STRING, "../../x"), "shard"),
]


def _key(number, key, kind, value, says=None):
    return FileRow(number, f"{key} = {value!r:.40}", lambda g: g.set(key, kind, value), says or key)


def _without(key):
    return FileRow("G06", f"no {key}", lambda g: g.drop(key), key)


MODEL_ROWS = [
    *(_without(key) for key in ("general.architecture", "llama.block_count", "llama.embedding_length", "llama.feed_forward_length",
                                "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon", "tokenizer.ggml.model", "tokenizer.ggml.tokens")),
    _key("G06", "general.architecture", STRING, "no-such", "no-such"),
    _key("G06", "general.architecture", U32, 1, "general.architecture"),
    *(_key("G06", "llama.block_count", kind, value, "block_count") for kind, value in ((STRING, "1"), (F32, 1.0), (U32, 0), (I32, -1))),
    *(_key("G13", key, kind, value, key.split(".", 1)[1]) for key, kind, value in (
        ("llama.attention.head_count", U32, 0), ("llama.attention.head_count", U32, 2**31), ("llama.attention.head_count", U32, 7),
        ("llama.attention.head_count_kv", U32, 0), ("llama.attention.head_count_kv", U32, 3), ("llama.attention.head_count_kv", U32, 4),
        ("llama.block_count", U32, 10**6), ("llama.context_length", U32, 0), ("llama.context_length", U32, 2**31),
        ("llama.rope.freq_base", F32, 0.0), ("llama.rope.freq_base", F32, -1.0), ("llama.rope.freq_base", F32, math.nan), ("llama.rope.freq_base", F32, math.inf),
        ("llama.attention.layer_norm_rms_epsilon", F32, 0.0), ("llama.attention.layer_norm_rms_epsilon", F32, math.nan),
        ("llama.rope.dimension_count", U32, 0), ("llama.rope.dimension_count", U32, 7), ("llama.rope.dimension_count", U32, 10**6),
        ("llama.embedding_length", U32, 0), ("llama.embedding_length", U32, 2**31), ("llama.feed_forward_length", U32, 2**31))
      if (key, value) != ("llama.attention.head_count", 7)),
    FileRow("G13", "7 heads in 32 channels", lambda g: g.set("llama.attention.head_count", U32, 7), "attn|head|rope"),
    FileRow("G13", "more layers than tensors", lambda g: g.set("llama.block_count", U32, 2), r"blk\.1\."),
    FileRow("G13", "a mixture of experts", lambda g: _extra(g.set("llama.expert_count", U32, 4), "blk.0.ffn_gate_exps.weight"), "ffn_gate_exps"),
    *(FileRow("G14", f"no {name}", lambda g, name=name: g.without(name), name)
      for name in ("token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight")),
    FileRow("G14", "a tensor too many", lambda g: _extra(g, "blk.0.surprise.weight"), "surprise"),
    FileRow("G14", "a transposed matrix", lambda g: g.tensor("blk.0.ffn_gate.weight", dims=[FEED_FORWARD, HIDDEN]), "ffn_gate"),
    FileRow("G14", "a longer norm", lambda g: _longer(g, "output_norm.weight"), "output_norm"),
    FileRow("G14", "fewer tokens than embeddings", lambda g: _tokens(g, lambda tokens: tokens[:-1]), "token"),
    FileRow("K06", "a piece that claims 2^40 bytes", lambda g: g.set("tokenizer.ggml.tokens", ARRAY, _array(STRING, 1, struct.pack("<Q", 2**40))), "at byte"),
    FileRow("K06", "a piece twice", lambda g: _tokens(g, lambda tokens: [*tokens[:-1], "th"]), "same piece|th"),
    *(FileRow("K06", f"byte token {piece}", lambda g, piece=piece: _bytes_vocabulary(g, piece), "<0x") for piece in ("<0x-1>", "<0xZZ>", "<0x100>", "<0x>")),
    FileRow("K06", "a merge of an absent piece", lambda g: g.set("tokenizer.ggml.merges", ARRAY, (STRING, ["t h", "q qq"])), "merge"),
    FileRow("K06", "a merge without a space", lambda g: g.set("tokenizer.ggml.merges", ARRAY, (STRING, ["th"])), "merge"),
    *(_key("K06", f"tokenizer.ggml.{name}_token_id", U32, 10**6, f"{name}") for name in ("eos", "bos")),
    FileRow("K06", "fewer types than tokens", lambda g: g.set("tokenizer.ggml.token_type", ARRAY, (I32, [1] * 10)), "type"),
    _key("K06", "tokenizer.ggml.tokens", ARRAY, (STRING, []), "token"),
    _key("K06", "tokenizer.ggml.tokens", ARRAY, (U32, [1, 2]), "tokenizer.ggml.tokens"),
    _key("K06", "tokenizer.ggml.model", STRING, "no-such", "no-such"),
    _key("K06", "tokenizer.ggml.pre", STRING, "no-such", "no-such"),
    _key("T02", "tokenizer.chat_template", STRING, "{% if a %}" * 50_000 + "{% endif %}" * 50_000, "template"),
    _key("T02", "tokenizer.chat_template", STRING, "{{ " + "(" * 6_000 + "1" + ")" * 6_000 + " }}", "template"),
    _key("T03", "tokenizer.chat_template", STRING, "{% if %}", "template"),
    _key("T05", "tokenizer.chat_template", STRING, "x" * 300_000, "template"),
    _key("T05", "tokenizer.chat_template", U32, 7, "tokenizer.chat_template"),
]


def _extra(g, name):
    g.tensors.append({**g.tensors[1], "name": name})
    return g


def _longer(g, name):
    return g.tensor(name, dims=[HIDDEN * 2], data=struct.pack(f"<{2 * HIDDEN}f", *[1.0] * 2 * HIDDEN))


def _tokens(g, change):
    _, (_, tokens) = dict(g.keys)["tokenizer.ggml.tokens"]
    tokens = change(tokens)
    return g.set("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)).set("tokenizer.ggml.token_type", ARRAY, (I32, [1] * len(tokens)))


def _bytes_vocabulary(g, piece):
    """A SentencePiece-like vocabulary whose first byte token is `piece`."""
    tokens = [piece, *(f"<0x{byte:02X}>" for byte in range(1, 256)), "<unk>", "<s>", "</s>", "a", "b", "c"]
    kinds = [6] * 256 + [2, 3, 3, 1, 1, 1]
    g.set("tokenizer.ggml.model", STRING, "llama").drop("tokenizer.ggml.pre").drop("tokenizer.ggml.merges")
    g.set("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * len(tokens))).set("tokenizer.ggml.token_type", ARRAY, (I32, kinds))
    return g.set("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)).set("tokenizer.ggml.bos_token_id", U32, 257).set("tokenizer.ggml.eos_token_id", U32, 258)


@dataclass
class TemplateRow:
    """A template that may be refused while loading, or else refuses a chat with one of `status`."""
    number: str
    what: str
    source: str
    status: tuple
    says: str = ""


def _sandbox(source, status=(400, 500)):
    return TemplateRow("T01", source, source, status)


def _sixty_times(what, body, end="", start="'ab'"):
    source = "{% set ns = namespace(x=" + start + ", y=" + start + ") %}{% for i in range(60) %}" + body + "{% endfor %}" + end
    return TemplateRow("T02", what, source, (400,), "making and reading 67108864 bytes")


TEMPLATE_ROWS = [
    _sandbox("{{ ''.__class__.__mro__ }}"), _sandbox("{{ messages.__class__.__init__.__globals__ }}"), _sandbox("{% import 'os' as os %}{{ os }}"),
    _sandbox("{% include '/etc/passwd' %}"), _sandbox("{{ self._TemplateReference__context }}"), _sandbox("{% from 'os' import system %}{{ system('id') }}"),
    _sandbox("{{ cycler.__init__.__globals__.os.popen('id').read() }}"), _sandbox("{% extends '/etc/passwd' %}"), _sandbox("{{ open('/etc/passwd').read() }}"),
    TemplateRow("T02", "10^9 rounds", "{% for x in range(10**9) %}{% endfor %}", (400, 500)),
    TemplateRow("T02", "rounds in rounds", "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}", (400, 500)),
    TemplateRow("T02", "200 MB of text", "{{ 'A' * 200000000 }}", (400, 500)),
    TemplateRow("T02", "a macro that calls itself", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", (400, 500)),
    TemplateRow("T02", "a filter that works long", "{{ range(100000) | list | sort | reverse | list | join(',') | replace(',', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') }}", (400, 500)),
    _sixty_times("text that doubles sixty times", "{% set ns.x = ns.x ~ ns.x %}"),
    _sixty_times("text that doubles in a block", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
    _sixty_times("text that replaces itself", "{% set ns.x = ns.x | replace('a', ns.x) %}"),
    _sixty_times("a list that doubles", "{% set ns.x = ns.x + ns.x %}", start="[1]"),
    _sixty_times("a list in itself twice, written", "{% set ns.x = [ns.x, ns.x] %}", "{{ ns.x }}", "[]"),
    _sixty_times("two lists in themselves twice, compared", "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}", "{{ ns.x == ns.y }}", "[]"),
    _sixty_times("4 MiB read again and again", "{% set ns.x = 'ab' * 2097152 %}{% for j in range(4000) %}{% set n = ns.x | length %}{% endfor %}"),
    TemplateRow("T02", "a namespace that holds itself", "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", (500,), "template_failed"),
    TemplateRow("T02", "a constant of 100 MB", "{{ 'A' * 100000000 }}", (400, 500)),
    TemplateRow("T02", "a million empty blocks", "{% for i in range(4000) %}" + "{% with %}{% endwith %}" * 10_000 + "{% endfor %}", (400,), "steps"),
    TemplateRow("T03", "raise_exception", "{{ raise_exception('only even roles, please') }}", (400,), "only even roles, please"),
    TemplateRow("T03", "a filter that does not exist", "{{ messages | no_such_filter }}", (400, 500)),
    TemplateRow("T03", "a function that does not exist", "{{ no_such_function(1) }}", (400, 500)),
]
