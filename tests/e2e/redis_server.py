"""A real Redis on a free port that tests pause, kill, spoil and replace."""

import os
import signal
import socket
import subprocess
import tempfile
import threading

from server import until

HOST = "127.0.0.1"


class Redis:
    """`redis-server` without any file, as a context manager, with further flags. Its port stays the same over restarts."""

    def __init__(self, *flags):
        self.flags = [str(flag) for flag in flags]
        self.folder = tempfile.TemporaryDirectory(prefix="brisk-redis-")
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://{HOST}:{self.port}"
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", self.folder.name, *self.flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers, "Redis answers")

    def _answers(self):
        assert self.process.poll() is None, "redis-server ended: the port may be taken"
        try:
            return self.call("PING") == b"PONG"
        except OSError:
            return False

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restore(self):
        """Runs again, whatever was done to it."""
        if self.process.poll() is None:
            self.resume()
        else:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.folder.cleanup()

    def call(self, *words):
        """One command on a connection of its own; its reply."""
        with socket.create_connection((HOST, self.port), timeout=5) as connection, connection.makefile("rb") as replies:
            connection.sendall(command(*words))
            return read_reply(replies)

    def keys(self, kind="v"):
        """Names of entries (`v`) or of flushes (`e`)."""
        return sorted(self.call("KEYS", f"brisk:{kind}:*"))


def command(*words):
    """The bytes of a command."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def read_reply(replies):
    line = replies.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    match kind:
        case b"+":
            return rest
        case b":":
            return int(rest)
        case b"$" if int(rest) < 0:
            return None
        case b"$":
            return replies.read(int(rest) + 2)[:-2]
        case b"*":
            return [read_reply(replies) for _ in range(int(rest))]
        case _:
            raise OSError(f"Redis says {line!r}")


class Impostor:
    """Listens where Redis was, and answers every read with `nonsense`, or with nothing. A number is how often."""

    def __init__(self, port, nonsense, times=1):
        self.nonsense, self.times = nonsense, times
        self.listener = socket.create_server((HOST, port), backlog=64)
        self.num_connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.num_connections += 1
            threading.Thread(target=self._talk, args=[connection], daemon=True).start()

    def _talk(self, connection):
        with connection:
            try:
                while self.nonsense is not None and connection.recv(1 << 16):
                    for _ in range(self.times):
                        connection.sendall(self.nonsense)
                    if not self.nonsense:
                        return
                while connection.recv(1 << 16):
                    pass
            except OSError:
                pass  # the client left, which is what it should do

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A listener that another thread waits at is only gone once that thread is woken.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def spoil(redis, how):
    """Changes what lies in Redis; how many values it was."""
    names = redis.keys()
    match how:
        case "garbage":
            for name in names:
                redis.call("SET", name, os.urandom(300))
        case "one bit":
            for name in names:
                value = bytearray(redis.call("GET", name) or b"\0")
                value[len(value) // 2] ^= 1
                redis.call("SET", name, bytes(value))
        case "cut":
            for name in names:
                value = redis.call("GET", name) or b""
                redis.call("SET", name, value[:len(value) // 2])
        case "swapped":
            values = [redis.call("GET", name) for name in names]
            for name, value in zip(names, values[1:] + values[:1]):
                if value is not None:
                    redis.call("SET", name, value)
        case "huge":
            for name in names[:8]:
                redis.call("SET", name, bytes(8 << 20))
        case "lists":
            for name in names:
                # In one, or a server under load puts a value in between.
                redis.call("EVAL", "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')", 1, name)
        case _:
            raise KeyError(how)
    return len(names)
