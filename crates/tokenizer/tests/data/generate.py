"""Trains the small vocabularies of this folder and writes what Hugging Face's `tokenizers` makes of texts.

    python generate.py        # needs: pip install tokenizers==0.23.3
"""

import json, pathlib, pydoc_data.topics
from tokenizers import (Tokenizer, AddedToken, models, trainers, pre_tokenizers, normalizers, decoders,
                        processors, Regex)

HERE = pathlib.Path(__file__).parent
LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXTS = [
    "", " ", "  ", "\n", "\t\n ", "a", "Hello world", " Hello  world ", "Hello, y'all! How's it?\n\n\nFine.",
    "1234567 89 0", "x = {'a': [1, 2.5]}  # note\r\n\treturn x", "naïve café ÀÉÎ ß", "e\u0301 vs \u00e9, ﬁ ②",
    "東京は夜の七時。日本語", "Привет, мир", "مرحبا بالعالم", "👩‍👩‍👧 family 🇺🇳 🙂", "\u200b\u202ertl\u2066",
    "a\u0300\u0301\u0302\u0303", "▁already▁marked ▁", "<s>not special<|eot|>", "   leading and trailing   ",
    "the the the the the", "ABCabcXYZ fooBarBaz", "tokens\u00a0with\u3000odd\u2003spaces", "\ue000\U000f0000",
    "In the beginning the import statement was created.", "++--==**//", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]
CORPUS = list(pydoc_data.topics.topics.values())[:30] + TEXTS


def byte_level():
    """Byte-level BPE as Llama 3 has it, with NFC as Qwen 2 has it."""
    tok = Tokenizer(models.BPE(ignore_merges=False))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA_3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=520, initial_alphabet=alphabet,
                                                        show_progress=False))
    return tok


def sentencepiece(metaspace):
    """BPE over characters with byte fallback, as Llama 2 and Gemma have it."""
    tok = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if metaspace:
        tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    else:
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    ascii_only = ["".join(c for c in text if c.isascii()) for text in CORPUS]
    tok.train_from_iterator(ascii_only, trainers.BpeTrainer(vocab_size=620, special_tokens=specials,
                                                            show_progress=False))
    # The trainer calls the byte tokens special; in a real file they are pieces.
    state = json.loads(tok.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    state["post_processor"] = {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    return Tokenizer.from_str(json.dumps(state))


def unigram():
    """Unigram with Metaspace, as T5 has it."""
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tok.decoder = decoders.Metaspace()
    tok.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>",
                                                            special_tokens=["<unk>", "</s>"], show_progress=False))
    return tok


def write(name, tok):
    state = json.loads(tok.to_str())
    (HERE / f"{name}.json").write_text(json.dumps(state, ensure_ascii=False))
    rows = []
    for text in TEXTS:
        # What users write is text: nothing in it is a special token.
        plain = Tokenizer.from_str(json.dumps({**state, "added_tokens": []})) if state["added_tokens"] else tok
        ids = plain.encode(text, add_special_tokens=False).ids
        rows.append({"text": text, "ids": ids, "decoded": tok.decode(ids, skip_special_tokens=True)})
    (HERE / f"{name}.expected.json").write_text(json.dumps(rows, ensure_ascii=False, indent=0))


write("byte-level", byte_level())
write("sentencepiece", sentencepiece(metaspace=False))
write("metaspace", sentencepiece(metaspace=True))
write("unigram", unigram())
