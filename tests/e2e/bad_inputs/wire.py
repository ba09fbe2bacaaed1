"""Speaks HTTP/1.1 byte by byte, so that a request can be as wrong as it likes."""

import json
import socket
import time


class Response:
    """What came back: `status` is 0 where the connection ended without an answer."""

    def __init__(self, status, headers, body, rest):
        self.status, self.headers, self.body, self.rest = status, headers, body, rest

    def header(self, name):
        return self.headers.get(name)


def request_bytes(method, path, body=None, headers=(), host="127.0.0.1"):
    """A whole request; `body` is bytes or something to send as JSON."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    names = {name.lower() for name, _ in headers}
    if body is not None:
        if "content-type" not in names:
            lines.append("Content-Type: application/json")
        if not {"content-length", "transfer-encoding"} & names:
            lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    return head + b"\r\n\r\n" + (body or b"")


def connect(server, timeout_s=10):
    connection = socket.create_connection((server.host, server.port), timeout=timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def send_all(connection, data):
    """Sends what the other side takes: it may answer and close before the end, and that is no fault."""
    try:
        connection.sendall(data)
    except OSError:
        pass


def exchange(server, data, timeout_s=10, half_close=False):
    """Sends bytes and reads one response."""
    with connect(server, timeout_s) as connection:
        send_all(connection, data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_response(connection)


def read_response(connection, buffered=b""):
    """Reads one response to its end; `rest` is what follows it."""
    data = _Reader(connection, buffered)
    status, headers = 0, {}
    while True:
        line = data.line()
        if line is None:
            return Response(0, {}, b"", b"")
        status = int(line.split(b" ")[1]) if line.startswith(b"HTTP/1.1 ") else -1
        headers = {}
        while line := data.line():
            name, _, value = line.partition(b":")
            headers[name.decode().lower()] = value.strip().decode(errors="replace")
        if status != 100:
            break
        headers["saw-100-continue"] = "yes"
    if status in (101, 204, 304):
        body = b""
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        body = data.chunks()
    elif "content-length" in headers:
        body = data.exactly(int(headers["content-length"]))
    else:
        body = data.everything()
    return Response(status, headers, body, data.rest)


class _Reader:
    def __init__(self, connection, buffered):
        self.connection, self.rest = connection, buffered

    def _more(self):
        try:
            piece = self.connection.recv(65536)
        except (TimeoutError, OSError):
            piece = b""
        self.rest += piece
        return bool(piece)

    def line(self):
        while b"\r\n" not in self.rest:
            if not self._more():
                return None
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def exactly(self, length):
        while len(self.rest) < length and self._more():
            pass
        taken, self.rest = self.rest[:length], self.rest[length:]
        return taken

    def chunks(self):
        body = b""
        while size := int(self.line() or b"0", 16):
            body += self.exactly(size)
            self.line()
        self.line()
        return body

    def everything(self):
        while self._more():
            pass
        taken, self.rest = self.rest, b""
        return taken


def trickle(server, head, byte, interval_s, limit_s):
    """Sends `head` and then one byte at a time; (response, seconds until it came)."""
    start = time.monotonic()
    with connect(server, interval_s) as connection:
        send_all(connection, head)
        buffered = b""
        while time.monotonic() - start < limit_s:
            try:
                piece = connection.recv(65536)
                buffered += piece
                if not piece or b"\r\n\r\n" in buffered:
                    break
            except TimeoutError:
                send_all(connection, byte)
            except OSError:
                break
        return read_response(connection, buffered), time.monotonic() - start
