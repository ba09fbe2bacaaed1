"""HTTP itself: rows H01 to H36, as bytes."""

import json
from dataclasses import dataclass
from typing import Callable

from rows import CHAT, chat

BODY = json.dumps(chat()).encode()
LIMIT = 8 << 20


@dataclass
class HttpRow:
    number: str
    what: str
    data: bytes | Callable  # the bytes, or a function from "host:port" to them
    status: tuple  # 0: the connection ends without an answer
    code: str = ""
    header: tuple = ()  # (name, wanted value or None for "not there")
    closes: bool = False  # whether the connection must end afterwards


def post(path=CHAT, body=BODY, extra=b"", length=True, host=b"127.0.0.1", version=b"1.1"):
    head = b"POST " + path.encode() + b" HTTP/" + version + b"\r\nHost: " + host + b"\r\nContent-Type: application/json\r\n"
    if length:
        head += b"Content-Length: %d\r\n" % len(body)
    return head + extra + b"\r\n" + body


def get(target, extra=b"", method=b"GET", host=b"127.0.0.1"):
    return method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + extra + b"\r\n"


def chunked(*chunks):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


TE = b"Transfer-Encoding: chunked\r\n"

ROWS = [
    HttpRow("H01", "a header of 64 KiB", get(b"/health/live", b"X-Forwarded-For: " + b"1" * 65536 + b"\r\n"), (431,), closes=True),
    HttpRow("H01", "64 KiB of headers", get(b"/health/live", b"".join(b"X-%d: %s\r\n" % (n, b"y" * 8000) for n in range(9))), (431,), closes=True),
    HttpRow("H02", "200 headers", get(b"/health/live", b"".join(b"X-%d: y\r\n" % n for n in range(200))), (431,), closes=True),
    HttpRow("H03", "a URI of 64 KiB", get(b"/" + b"a" * 65536), (414,), closes=True),
    HttpRow("H04", "Content-Length above the limit, no body sent", post(body=b"", length=False, extra=b"Content-Length: %d\r\n" % (LIMIT + 1)), (413,), "body_too_large"),
    HttpRow("H04", "Content-Length of 1 TB", post(body=b"", length=False, extra=b"Content-Length: 1000000000000\r\n"), (413,), "body_too_large"),
    HttpRow("H05", "chunks beyond the limit", post(body=chunked(*[b" " * 65536] * 130), length=False, extra=TE), (413,), "body_too_large"),
    HttpRow("H06", "length and chunks", post(extra=TE), (400,), closes=True),
    HttpRow("H06", "chunks and length", post(length=False, body=chunked(BODY), extra=TE + b"Content-Length: 5\r\n"), (400,), closes=True),
    *(HttpRow("H07", f"Content-Length: {value.decode()}", post(length=False, extra=b"Content-Length: " + value + b"\r\n"), (400, 413), closes=True)
      for value in (b"+5", b"5, 5", b"5, 6", b"-1", b"0x10", b"5 5", b"", b"18446744073709551616", b"5.0", b"\xd9\xa5")),
    HttpRow("H07", "two different lengths", post(extra=b"Content-Length: 1\r\n"), (400,), closes=True),
    HttpRow("H07", "the same length twice", post(extra=b"Content-Length: %d\r\n" % len(BODY)), (400,), closes=True),
    *(HttpRow("H08", f"Transfer-Encoding: {value.decode()}", post(length=False, body=chunked(BODY), extra=b"Transfer-Encoding: " + value + b"\r\n"), (400,), closes=True)
      for value in (b"xchunked", b"chunked, identity", b"identity", b"gzip", b"chunked\x0b")),
    HttpRow("H08", "Transfer-Encoding twice", post(length=False, body=chunked(BODY), extra=TE + TE), (400,), closes=True),
    HttpRow("H08", "chunks over HTTP/1.0", post(length=False, body=chunked(BODY), extra=TE, version=b"1.0"), (400,), closes=True),
    HttpRow("H09", "a chunk size beyond 64 bits", post(length=False, body=b"FFFFFFFFFFFFFFFFF\r\n", extra=TE), (400, 413), closes=True),
    HttpRow("H09", "a chunk size that is no number", post(length=False, body=b"xyz\r\n{}\r\n0\r\n\r\n", extra=TE), (400,), closes=True),
    HttpRow("H09", "a negative chunk size", post(length=False, body=b"-1\r\n", extra=TE), (400,), closes=True),
    HttpRow("H09", "a chunk extension of 1 MiB", post(length=False, body=b"2;" + b"x" * 2**20 + b"\r\n{}\r\n0\r\n\r\n", extra=TE), (400, 413, 431), closes=True),
    HttpRow("H09", "trailers of 1 MiB", post(length=False, body=b"2\r\n{}\r\n0\r\nX: " + b"y" * 2**20 + b"\r\n\r\n", extra=TE), (400, 413, 431), closes=True),
    HttpRow("H10", "bare line feeds", get(b"/health/live").replace(b"\r\n", b"\n"), (400,), closes=True),
    HttpRow("H10", "a folded header", get(b"/health/live", b"X-A: b\r\n c\r\n"), (400,), closes=True),
    HttpRow("H10", "NUL in a header", get(b"/health/live", b"X-A: b\0c\r\n"), (400,), closes=True),
    HttpRow("H10", "carriage return in a header", get(b"/health/live", b"X-A: b\rc\r\n"), (400,), closes=True),
    HttpRow("H10", "a space before the colon", get(b"/health/live", b"X-A : b\r\n"), (400,), closes=True),
    HttpRow("H10", "no colon", get(b"/health/live", b"X-A\r\n"), (400,), closes=True),
    *(HttpRow("H10", f"the request line {line!r}", line + b"\r\n\r\n", (400,), "malformed_head", closes=True)
      for line in (b"GET", b"GET /", b"GET /  HTTP/1.1", b"GET / HTTP/1.1 ", b"GET / http/1.1", b"GET /a b HTTP/1.1", b" GET / HTTP/1.1", b"GET / FTP/1.1", b"\xff\xfe / HTTP/1.1", b"hello")),
    HttpRow("H10", "an empty name", get(b"/health/live", b": b\r\n"), (400,), closes=True),
    HttpRow("H15", "HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", (505,), "http2", closes=True),
    HttpRow("H15", "HTTP/9.9", b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", (505,), "http2", closes=True),
    HttpRow("H15", "a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", (400,), closes=True),
    *(HttpRow("H18", f"Content-Type: {value.decode()}", post().replace(b"application/json", value), (415,), "not_json")
      for value in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"application/jsonx", b"")),
    HttpRow("H18", "no Content-Type", post().replace(b"Content-Type: application/json\r\n", b""), (415,), "not_json"),
    HttpRow("H19", "gzip", post(extra=b"Content-Encoding: gzip\r\n"), (415,), "encoded_body"),
    HttpRow("H20", "a million dashes", post(body=b"-" * 10**6).replace(b"application/json", b"multipart/form-data; boundary=-"), (415,)),
    HttpRow("H21", "PUT", get(CHAT.encode(), method=b"PUT"), (405,), "method_not_allowed", ("allow", "POST")),
    HttpRow("H21", "TRACE", get(CHAT.encode(), method=b"TRACE"), (405,), header=("allow", "POST")),
    HttpRow("H21", "DELETE of a model", get(b"/v1/models/x", method=b"DELETE"), (405,), header=("allow", "GET,HEAD")),
    HttpRow("H21", "CONNECT", get(b"evil.com:443", method=b"CONNECT"), (400, 404, 405, 421)),
    HttpRow("H21", "a method with a space", get(b"/", method=b"GE T"), (400,), closes=True),
    HttpRow("H21", "a method of 1 KiB", get(b"/", method=b"G" * 1024), (400, 405)),
    *(HttpRow("H22", f"the path {target.decode()}", get(target), (400, 404))
      for target in (b"//v1/models", b"/v1/%2e%2e/admin", b"/v1/..;/admin", b"/admin", b"/v1//models", b"/v1/models%00", b"/V1/models", b"/./v1/models", b"/v1/../v1/models", b"/metrics/", b"*")),
    HttpRow("H22", "an absolute URI with another host", get(b"http://evil.com/v1/models"), (400, 421)),
    HttpRow("H22", "a fragment", get(b"/v1/models#x"), (200, 400)),
    *(HttpRow("H23", f"Host: {host.decode()}", get(b"/v1/models", host=host), (400, 421), "wrong_host" if host else "")
      for host in (b"evil.com", b"", b"127.0.0.1.evil.com", b"localhost.evil.com", b"localhost..", b"evil.com.", b"0.0.0.0", b"evil.com@127.0.0.1")),
    HttpRow("H23", "two hosts", get(b"/v1/models", b"Host: 127.0.0.1\r\n"), (400, 421)),
    HttpRow("H23", "no host", b"GET /v1/models HTTP/1.1\r\n\r\n", (400, 421)),
    *(HttpRow("H23", f"our own host {host.decode()}", get(b"/v1/models", host=host), (200,))
      for host in (b"localhost", b"localhost.", b"LocalHost.:80", b"127.0.0.1:80", b"127.0.0.1.", b"[::1]", b"[::ffff:127.0.0.1]:80")),
    *(HttpRow("H24", f"Origin: {origin.decode()}", get(b"/v1/models", b"Origin: " + origin + b"\r\n"), (200, 403), header=("access-control-allow-origin", None))
      for origin in (b"http://evil.com", b"http://localhost.evil.com", b"null")),
    HttpRow("H25", "a preflight", get(CHAT.encode(), b"Origin: http://evil.com\r\nAccess-Control-Request-Method: POST\r\n", b"OPTIONS"), (405, 403, 204), header=("access-control-allow-origin", None)),
    HttpRow("H25", "a preflight and credentials", get(CHAT.encode(), b"Origin: http://evil.com\r\nAccess-Control-Request-Method: POST\r\n", b"OPTIONS"), (405, 403, 204), header=("access-control-allow-credentials", None)),
    HttpRow("P19", "a request id with terminal codes", get(b"/health/live", b"X-Request-Id: \x1b[2J\r\n"), (200, 400)),
    HttpRow("H28", "a forwarded loopback address", get(b"/v1/models", b"X-Forwarded-For: 127.0.0.1\r\nX-Real-Ip: 127.0.0.1\r\n"), (200,)),
]

KEY = "Sesame-Street-123"
AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"

# On a server with a key; what is not 200 must be one and the same answer.
KEY_ROWS = [
    HttpRow("H26", "the right key", get(b"/v1/models", AUTH), (200,)),
    *(HttpRow("H26", f"the right key after {scheme.decode()!r}", get(b"/v1/models", b"Authorization: " + scheme + KEY.encode() + b"\r\n"), (200,))
      for scheme in (b"bearer ", b"BEARER ", b"bEARER ", b"Bearer   ")),
    HttpRow("H26", "the right key in X-Api-Key", get(b"/v1/models", b"X-Api-Key: " + KEY.encode() + b"\r\n"), (200,)),
    HttpRow("H26", "no key", get(b"/v1/models"), (401,)),
    *(HttpRow("H26", f"Authorization: {value[:40]!r}", get(b"/v1/models", b"Authorization: " + value + b"\r\n"), (401,))
      for value in (b"", b"Bearer", b"Bearer ", KEY.encode(), b"Basic " + KEY.encode(), b"Bearer wrong", b"Bearer " + KEY.lower().encode(), b"Bearer " + KEY.upper().encode(),
                    b"Bearer " + KEY[:-1].encode(), b"Bearer " + KEY.encode() + b"x", b"Bearer " + KEY.encode() + b" x", b"Bearer ' OR 1=1--", b"Bearer " + b"k" * 10240,
                    b"Bearer\t" + KEY.encode(), b"Bearer" + KEY.encode(), b"Bearer \xff\xfe", b"Bearer Bearer " + KEY.encode())),
    HttpRow("H26", "NUL after the key", get(b"/v1/models", b"Authorization: Bearer " + KEY.encode() + b"\0\r\n"), (400, 401)),
    HttpRow("H26", "two keys", get(b"/v1/models", AUTH + b"Authorization: Bearer x\r\n"), (400, 401)),
    HttpRow("H27", "two headers that disagree", get(b"/v1/models", AUTH + b"X-Api-Key: other\r\n"), (400,), "keys_disagree"),
    HttpRow("H27", "two headers that agree", get(b"/v1/models", AUTH + b"X-Api-Key: " + KEY.encode() + b"\r\n"), (200,)),
    HttpRow("H28", "a forwarded loopback address is no key", get(b"/v1/models", b"X-Forwarded-For: 127.0.0.1\r\n"), (401,)),
    *(HttpRow("H33", f"{path.decode()} without a key", get(path), (401,)) for path in (b"/metrics", b"/v1/models", b"/v1/models/x", b"/openapi.json", b"/admin")),
    HttpRow("H33", "a chat without a key", post(), (401,)),
    HttpRow("H33", "Markdown without a key", post("/api/markdown", b'{"text":"x"}'), (401,)),
    *(HttpRow("H33", f"{path.decode()} is open", get(path), (200,)) for path in (b"/health/live", b"/health/ready", b"/", b"/style.css")),
    HttpRow("H22", "//v1/models without a key", get(b"//v1/models"), (401, 404, 400)),
    HttpRow("H04", "a large body without a key", post(body=b"", length=False, extra=b"Content-Length: 1000000000000\r\n"), (401,)),
]
