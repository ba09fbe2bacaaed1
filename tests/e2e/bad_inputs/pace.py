"""How evenly tokens reach the readers of some streams while others read slowly, or not at all: row H14 in figures."""

import math
import multiprocessing
import selectors
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from rows import COMPLETIONS, complete
from wire import connect, request_bytes, send_all

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from server import until  # noqa: E402

NUM_NEIGHBOURS = NUM_OTHERS = 4
# Steps of several milliseconds, as larger models have: what the clients and the system do beside them weighs little.
FLAGS = ["--cpu", "reference", "--threads", "1", "--write-timeout", "600s"]
# Greedy, this prompt goes on for ever: each token is text, and each text an event.
PROMPT = "aaaaaaaa"


def streamed(max_tokens, **fields):
    return request_bytes("POST", COMPLETIONS, complete(PROMPT, stream=True, max_tokens=max_tokens, ignore_eos=True, **fields))


# Plain events, but more of them than all buffers on the way hold: it is paused.
HEAVY = streamed(1000, n=8)
EVENT_END = b"\n\n"


def p99_ms(gaps_s):
    """The smallest gap that 99 of 100 do not exceed, by nearest rank."""
    return sorted(gaps_s)[math.ceil(0.99 * len(gaps_s)) - 1] * 1e3


class _Neighbour:
    """Reads one reply and notes when each event came."""

    def __init__(self, server, request):
        self.connection = connect(server)
        self.gaps_s = []
        self.tail, self.latest = b"", None
        send_all(self.connection, request)

    def read(self):
        """Takes what is there; false once the reply has ended."""
        piece = self.connection.recv(65536)
        now = time.perf_counter()
        assert piece, "the server broke a neighbour's stream off"
        # An event's end may come in two pieces.
        *events, self.tail = (self.tail + piece).split(EVENT_END)
        for _ in events:
            if self.latest is not None:
                self.gaps_s.append(now - self.latest)
            self.latest = now
        return not any(event.endswith(b"data: [DONE]") for event in events)


def time_neighbours(server, num_tokens):
    """Milliseconds of the p99 gap between two events of a stream, over all neighbours."""
    with selectors.DefaultSelector() as selector:
        neighbours = [_Neighbour(server, streamed(num_tokens)) for _ in range(NUM_NEIGHBOURS)]
        for neighbour in neighbours:
            selector.register(neighbour.connection, selectors.EVENT_READ, neighbour)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.read():
                    selector.unregister(key.fileobj)
    for neighbour in neighbours:
        neighbour.connection.close()
    gaps_s = [gap for neighbour in neighbours for gap in neighbour.gaps_s]
    assert len(gaps_s) >= NUM_NEIGHBOURS * num_tokens, f"{len(gaps_s)} gaps"
    return p99_ms(gaps_s)


def read_all(streams, _stop):
    """What clients do that keep up."""
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if not key.fileobj.recv(65536):
                    selector.unregister(key.fileobj)


def read_slowly(streams, stop):
    """Ten bytes a second of each, and none after `stop`."""
    while not stop.wait(0.1):
        for stream in streams:
            stream.recv(1)
    multiprocessing.Event().wait()


class Others:
    """Streams beside the neighbours, read by a process of its own: it must not take time from who holds the watch."""

    def __init__(self, server, request, read):
        self.streams = [socket.socket() for _ in range(NUM_OTHERS)]
        for stream in self.streams:
            if request is HEAVY:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stream.connect((server.host, server.port))
            send_all(stream, request)
        fork = multiprocessing.get_context("fork")
        self.stop = fork.Event()
        self.reader = fork.Process(target=read, args=(self.streams, self.stop), daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.kill()
        self.reader.join()
        for stream in self.streams:
            stream.close()


def beside_running(server, num_tokens, read):
    """The neighbours' p99 beside streams that run longer than theirs. What is not read fits into the system's buffers."""
    with Others(server, streamed(2 * num_tokens), read) as others:
        until(lambda: server.gauge("num_requests_running") == NUM_OTHERS, "the streams run", limit_s=60)
        result = time_neighbours(server, num_tokens)
        others.stop.set()
        num_running = server.gauge("num_requests_running")
    assert num_running >= NUM_OTHERS, f"only {num_running:.0f} streams outlived the neighbours"
    gauges = ("num_requests_running", "num_requests_waiting")
    until(lambda: all(server.gauge(name) == 0 for name in gauges), "nothing runs and nothing waits", limit_s=60)
    return result


@contextmanager
def stalled(server):
    """Beside streams that were read slowly, are not read any more, and are paused: all their buffers are full."""
    with Others(server, HEAVY, read_slowly) as others:
        latest = -1

        def stand_still():
            nonlocal latest
            time.sleep(0.2)
            before, latest = latest, server.gauge("generation_tokens_total")
            return before == latest

        # Not before the first token of theirs: then nothing moves either.
        until(lambda: server.gauge("num_requests_running") > 0, "the streams run", limit_s=60)
        until(stand_still, "the streams that nobody reads are paused", limit_s=120)
        others.stop.set()
        assert server.gauge("num_requests_running") > 0, "no stream is paused: the system's buffers took them all"
        yield
