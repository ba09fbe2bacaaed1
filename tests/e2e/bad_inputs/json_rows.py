"""JSON and parameter types: rows J01 to J12."""

from rows import CHAT, COMPLETIONS, Row, chat, chat_text

DEEP = 7_000_000


def _bytes_rows():
    """(id, what, body): none of these is a request."""
    sound = b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}'
    rows = [
        ("J01", "empty", b""), ("J01", "blank", b" \r\n\t "), ("J01", "null", b"null"), ("J01", "array", b"[]"),
        ("J01", "string", b'"x"'), ("J01", "number", b"17"), ("J01", "true", b"true"),
        ("J02", "truncated", sound[:-1]), ("J02", "truncated string", sound[:30]), ("J02", "trailing garbage", sound + b"x"),
        ("J02", "two documents", sound + sound), ("J02", "line comment", b"// hi\n" + sound), ("J02", "block comment", b"/**/" + sound),
        ("J02", "byte order mark", b"\xef\xbb\xbf" + sound), ("J02", "UTF-16", sound.decode().encode("utf-16")),
        ("J02", "trailing comma", sound[:-1] + b",}"), ("J02", "single quotes", sound.replace(b'"', b"'")),
        ("J03", "invalid UTF-8", sound.replace(b"Hi", b"\xff\xfe")), ("J03", "overlong slash", sound.replace(b"Hi", b"\xc0\xaf")),
        ("J03", "overlong NUL", sound.replace(b"Hi", b"\xe0\x80\x80")), ("J03", "encoded surrogate", sound.replace(b"Hi", b"\xed\xa0\x80")),
        ("J03", "truncated character", sound.replace(b"Hi", b"\xe2\x82")), ("J03", "beyond Unicode", sound.replace(b"Hi", b"\xf4\x90\x80\x80")),
        ("J03", "lone high surrogate", sound.replace(b"Hi", rb"\ud800")), ("J03", "lone low surrogate", sound.replace(b"Hi", rb"\udc00")),
        ("J03", "two high surrogates", sound.replace(b"Hi", rb"\ud800\ud800")), ("J03", "raw control character", sound.replace(b"Hi", b"\x01")),
        ("J03", "unknown escape", sound.replace(b"Hi", rb"\x41")), ("J03", "short escape", sound.replace(b"Hi", rb"\u12")),
        ("J04", "200 arrays", b"[" * 200 + b"]" * 200), ("J04", "10^5 arrays", b"[" * 10**5), ("J04", "7 million arrays", b"[" * DEEP),
        ("J04", "10^5 objects", b'{"a":' * 10**5), ("J04", "deep inside", sound[:-1] + b',"metadata":' + b"[" * 200 + b"]" * 200 + b"}"),
        ("J04", "2 million values", b"[" + b"0," * 2_000_000 + b"0]"),
        ("J05", "model twice", sound[:-1] + b',"model":"a","model":"b"}'), ("J05", "temperature twice", sound[:-1] + b',"temperature":0,"temperature":1}'),
        ("J05", "role twice", sound.replace(b'"role":"user"', b'"role":"user","role":"system"')), ("J05", "escaped key twice", sound[:-1] + rb',"n":1,"\u006e":2}'),
        ("J06", "NaN", sound[:-1] + b',"temperature":NaN}'), ("J06", "Infinity", sound[:-1] + b',"temperature":Infinity}'),
        ("J06", "-Infinity", sound[:-1] + b',"temperature":-Infinity}'), ("J06", "1e999", sound[:-1] + b',"temperature":1e999}'),
        ("J06", "-1e999", sound[:-1] + b',"temperature":-1e999}'), ("J06", "hexadecimal", sound[:-1] + b',"seed":0x10}'),
        ("J06", "leading zero", sound[:-1] + b',"seed":01}'), ("J06", "plus", sound[:-1] + b',"seed":+1}'), ("J06", "no digit after the point", sound[:-1] + b',"top_p":1.}'),
        ("J10", "unclosed array", b'{"a":[1,2}'), ("J10", "colon in an array", b'["a":1]'), ("J10", "missing colon", b'{"a" 1}'),
        ("J10", "missing value", b'{"a":}'), ("J10", "double comma", b'{"a":1,,"b":2}'), ("J10", "number key", b'{1:1}'), ("J10", "capital TRUE", b'{"a":TRUE}'),
        ("J10", "undefined", b'{"a":undefined}'), ("J10", "star inside", b'[*]'), ("J10", "NUL byte", b"\x00"), ("J10", "form feed", b"[\x0c]"),
        ("J10", "backslash alone", b'["\\"]'), ("J10", "1eE2", b"[1eE2]"), ("J10", "two minus", b"[--2.]"), ("J10", "only a quote", b'"'), ("J10", "extra bracket", b"[1]]"),
    ]
    return [Row(number, what, CHAT, body, 400) for number, what, body in rows]


# field: (is a whole number, lowest, highest); the bounds themselves are allowed unless `open_low`.
NUMBERS = {
    "n": (True, 1, 8), "max_tokens": (True, 1, 2**32 - 1), "max_completion_tokens": (True, 1, 2**32 - 1), "top_k": (True, -1, 2**32 - 1),
    "seed": (True, -2**63, 2**64 - 1), "no_repeat_ngram_size": (True, 0, 1024), "temperature": (False, 0, 2), "top_p": (False, 1e-9, 1),
    "min_p": (False, 0, 1), "typical_p": (False, 1e-9, 1), "repetition_penalty": (False, 1e-9, 10), "presence_penalty": (False, -2, 2),
    "frequency_penalty": (False, -2, 2),
}
VALUES = [1e20, 2**63, 2**64, 2**64 - 1, 2**31, -1, -2**63, 1.5, 0, 1, 1e-310, 1e308, "10", "a", True, False, [], [1], {}, {"a": 1}]
OTHERS = {"stream": bool, "logprobs": bool, "ignore_eos": bool, "stop": (str, list), "logit_bias": dict, "messages": list, "model": str, "user": str}


def _fits(value, field):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    whole, lowest, highest = NUMBERS[field]
    if whole and isinstance(value, float):
        return False
    # A whole number beyond 64 bits is read as a fraction.
    if whole and not -2**63 <= value < 2**64:
        return False
    return lowest <= value <= highest


def _typed_rows():
    rows = []
    for field in NUMBERS:
        for value in VALUES:
            if _fits(value, field):
                continue  # What is allowed is tested by the clients' tests.
            rows.append(Row("J07", f"{field} = {value!r}", CHAT, chat(**{field: value}), 400, param=field))
    for field, right in OTHERS.items():
        for value in (True, 7, 1.5, "x", ["x"], {"x": 1}):
            if isinstance(value, right) and not (isinstance(value, bool) and right is not bool):
                continue
            rows.append(Row("J08", f"{field} = {value!r}", CHAT, chat(**{field: value}), 400, param=field))
    for value in (None, 7, True, {}, [None], [True], [[]], [[], []], [{}], ["x", 7], [1, "x"], [[1], 2], [1.5], [[1.5]]):
        rows.append(Row("J08", f"prompt = {value!r}", COMPLETIONS, {"prompt": value}, 400, text="prompt"))
    return rows


ROWS = [
    *_bytes_rows(),
    *_typed_rows(),
    Row("J06", "minus zero is zero", CHAT, chat(temperature=-0.0), 200),
    Row("J09", "an unknown field", CHAT, chat(frobnicate=1), 400, param="frobnicate", code="unknown_parameter"),
    Row("J09", "10^5 unknown fields", CHAT, chat(**{f"x{number}": 1 for number in range(10**5)}), 400, code="unknown_parameter"),
    Row("J09", "a key of 1 MiB", CHAT, chat(**{"k" * 2**20: 1}), 400, code="unknown_parameter"),
    Row("J09", "an unknown field in a message", CHAT, chat(messages=[{"role": "user", "content": "x", "frob": 1}]), 400, param="messages[0].frob"),
    Row("J11", "NUL, C0, C1 and terminal codes in a message", CHAT, chat_text("a\0b\x01\x1b[31mred\x1b]0;t\x07\x9b\x85\x7f"), 200),
    Row("J11", "terminal codes in user", CHAT, chat(user="\x1b[2J\r\nINFO forged\0"), 200),
    Row("J12", "a role of 1 MiB", CHAT, chat(messages=[{"role": "r" * 2**20, "content": "x"}]), 400, param="messages[0].role"),
    Row("J12", "a value of 1 MiB", CHAT, chat(temperature="9" * 2**20), 400, param="temperature"),
    Row("J12", "a bad response_format of 1 MiB", CHAT, chat(response_format={"type": "x" * 2**20}), 400, param="response_format"),
]
