"""J10: what JSON's grammar takes, refuses and leaves open, as whole bodies.

Nothing here is a request, so all of it is 400; the code tells whether the text was read. A sound text is an array and gets
`invalid_type`, a broken one gets `invalid_json`, and where the grammar leaves the choice to the reader either will do.
"""

from rows import CHAT, Row

NUMBERS_BROKEN = (
    "- + +1 ++1 -+1 --1 .5 -.5 +.5 . .-1 1. -2. 0.e1 1.e1 2.e3 2.e+3 2.e-3 0e 0e+ 0e- 0E 0E+ 1e 1e+ 1e- 1eE2 0.3e 0.3e+ 1.0e 1.0e+ "
    "1.0e- 9.e+ 0.1.2 1e1.5 01 -01 -012 00 -00 012.5 0x1 0x42 0X1F 1x -1x 1a 1.2a-3 1.8011670033376514H-308 1_000 1+2 1-2 Inf -Inf +Inf "
    "Infinity -Infinity +Infinity inf nan NaN -NaN -foo -\u0661 \uff11 1\u00a0 0b1 0o7 1f 1d 1n 1e\uff11"
).split(" ")
WORDS_BROKEN = "nul nulll tru truee fals falsee True FALSE Null NULL None undefined nullnull a abc å 'a' `a` @ # $ % ^ & * ( ; = ? < <null> \\ \\u0020 ~".split(" ")
STRINGS_BROKEN = [
    '"', '"a', '"\\', '"\\"', '"\\a"', '"\\x00"', '"\\0"', '"\\\'"', '"\\u"', '"\\u1"', '"\\u12"', '"\\u123"', '"\\u00G1"', '"\\u 041"',
    '"\\u{41}"', '"\\U0041"', '"\\uD800\\"', '"\\uD800\\u"', '"\\uD800\\u1"', '"\\uD800\\u1x"', '"\\é"', '"\\🌀"', '"a" "b"', 'abc"', '"a\nb"',
    '"a\tb"', '"\x00"', '"\x01"', '"\x1f"', '"a\rb"', '"\\\n"', '"\\u-123"', '""a""', '"a""b"',
]
ARRAYS_BROKEN = [
    "[", "[1", "[1,", "[,1]", "[,]", "[,,]", "[1,]", "[1,,]", "[1,,2]", "[1 2]", "[1 true]", '["a" 4]', "[1:2]", '["a":1]', "]", "[]]", "[[]", "[3[4]]",
    "[x", "[x]", "[-", "[;]", "[1;2]", "[*]", '["a"', "[{}", "[}", "[1}", "[(1)]", "[...]", "[1\n,\n2", "[\n", "[\x0c]", "[\x0b1]", "[\u00a01]",
    "[\u20601]", "[\ufeff1]", "[/*c*/1]", "[1//c\n]", "[#c\n1]", "[][]", "[]1", "[] x", "[]{", "[],", ",[]",
]
OBJECTS_BROKEN = [
    "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', '{"a":1,,}', '{"a":1,,"b":2}', '{,"a":1}', "{,}", '{"a" 1}', '{"a"::1}', '{"a":1:2}', "{a:1}",
    "{'a':1}", "{1:1}", "{null:1}", "{true:1}", "{[]:1}", "{{}:1}", "{9E9:1}", '{"a":"b" "c"}', '{"a":1 "b":2}', '{"a":1;"b":2}', '{"a","b"}', '{"a"}',
    "{:1}", '{"a":}', '{"a"=1}', '{"a":1]', "{]", "{}}", '{"a":1}}', '{"a":1}{}', '{"a":1}#', '{"a":1}//c', '{"a":1}/*c*/', '{/**/"a":1}', '{"a":/**/1}',
    '{"a":1 /', "{💩:1}", '{"a":truE}', '{"a":"', '{"a', '{"a\n":1}', '{"a":1,"b"}', '{"a":1,b:2}', '{"a":1,{}}',
]
BYTES_BROKEN = [
    b"\xef\xbb", b"\xef", b"\xe5", b"[\xff]", b'["\xe5"]', b'["\xc3(' + b'"]', b'["\xa0\xa1"]', b'["\xf0\x28\x8c\xbc"]', b'["\xfc\x80\x80\x80\x80\x80"]',
    b'["\\\xe5"]', b'["\\u00A\xe5"]', b"[1\xe5]", b"[0\xe5]", b"[1e1\xe5]", b"[-1\xe5]", b"[a\xe5]", b"\x80", b"[\x00]", b"\x00[]", b"[]\x00",
]
VALUES_SOUND = [
    "0", "-0", "-0.0", "1", "-1", "-123", "123.456789", "0e1", "0e+1", "0E-1", "1E22", "1E-2", "1E+2", "20e1", "123e45", "123e-10", "1.5e+300", "-1e-300",
    "0.000000000000000000000000001", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "null", "true", "false", '""', '"a"', '" "',
    '"\\u0060\\u012a\\u12AB"', '"\\uD801\\udc37"', '"\\ud83d\\ude39\\ud83d\\udc8d"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\\\u0000"', '"\\u0000"', '"\\u0012"',
    '"\\uFFFF"', '"\\uFDD0"', '"\\uDBFF\\uDFFE"', '"\\u2028\\u2029"', '"\\u200B"', '"\\u005C"', '"\\u0022"', '"\x7f"', '"€𝄞"', '"\u2028"', '"\uffff"',
    '"a/*b*/c"', '"π"', '"asd "', "[]", "[[]]", "[[] ]", "[1,null,2]", "{}", '{"":0}', '{"a":[]}', '{"a":{"b":[1,{}]}}', '{"min":-1.0e+28,"max":1.0e+28}',
    '{"\\u0000":1}', '{"title":"\\u041f"}', '{"a":1,"b":1}', "1,2,3", " 1 ", "\t1\r\n", '"' + "x" * 5000 + '"',
]
OPEN = [
    b"[1e9999]", b"[-1e+9999]", b"[0.4e00669999999999999999999]", b"[123456789012345678901234567890]", b"[-123123123123123123123123123123]", b'["\\uDADA"]',
    b'["\\uDFAA"]', b'["\\uD888\\u1234"]', b'["\\uD800\\n"]', b'["\\uDd1e\\uD834"]', b'["\\uD800abc"]', b"\xef\xbb\xbf{}", "[1]".encode("utf-16"),
    "[1]".encode("utf-16-le"), b'["\xed\xa0\x80"]', b'["\xc0\xaf"]', b'["\xf4\xbf\xbf\xbf"]', b"[" * 500 + b"]" * 500, b"[1e-9999]", b"[-237462374673276894279832]",
]


def _rows():
    broken = [f"[{value}]" for value in (*NUMBERS_BROKEN, *WORDS_BROKEN, *STRINGS_BROKEN)] + ARRAYS_BROKEN + OBJECTS_BROKEN
    broken = [text.encode() for text in broken] + BYTES_BROKEN
    sound = [f"[{value}]".encode() for value in VALUES_SOUND] + [b" [] ", b"\n[\r\t]\n"]
    return [
        *(Row("J10", f"refused: {text[:40]!r}", CHAT, text, 400, code="invalid_json") for text in broken),
        *(Row("J10", f"read: {text[:40]!r}", CHAT, text, 400, code="invalid_type") for text in sound),
        *(Row("J10", f"either: {text[:40]!r}", CHAT, text, 400) for text in OPEN),
    ]


ROWS = _rows()
