"""Cases in time rather than in bytes: slow clients, clients that leave, two requests in one go."""

import http.client
import json
import random
import resource
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pace
from rows import CHAT, COMPLETIONS, chat, complete
from wire import connect, exchange, read_response, request_bytes, send_all, trickle

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from server import until  # noqa: E402

MODELS = request_bytes("GET", "/v1/models")
LONG = {"max_tokens": 400, "ignore_eos": True}


def idle(server):
    """Waits until nothing runs and nothing waits: whoever left has taken nothing along."""
    gauges = ("num_requests_running", "num_requests_waiting")
    until(lambda: all(server.gauge(name) == 0 for name in gauges), "nothing runs and nothing waits", limit_s=60)


# ---- two requests in one go ----

def upgrade_is_not_followed(server):
    """H11 an upgrade to websocket with a second request behind it"""
    upgrade = request_bytes("GET", "/health/live", headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")])
    with connect(server) as connection:
        send_all(connection, upgrade + MODELS)
        first = read_response(connection)
        assert first.status == 200, first.status
        second = read_response(connection, first.rest)
        assert second.status in (0, 200), second.status


def pipelined_requests_are_answered_in_order(server):
    """H17 three requests in one piece"""
    with connect(server) as connection:
        send_all(connection, MODELS + request_bytes("POST", CHAT, chat()) + request_bytes("GET", "/nowhere"))
        buffered = b""
        for status, part in ((200, b'"list"'), (200, b"chat.completion"), (404, b"error")):
            response = read_response(connection, buffered)
            assert response.status == status and part in response.body, (response.status, response.body[:200])
            buffered = response.rest


def an_unread_body_is_no_request(server):
    """H17 a body that looks like a request, sent to a route that does not read it"""
    hidden = request_bytes("POST", CHAT, {"smuggled": True})
    for path in ("/nowhere", "/v1/models", "/health/live"):
        with connect(server) as connection:
            send_all(connection, request_bytes("POST", path, hidden) + MODELS)
            first = read_response(connection)
            assert first.status in (404, 405), first.status
            second = read_response(connection, first.rest)
            assert second.status == 0 or b'"list"' in second.body, second.body[:200]


HALF_CLOSE_TRIES = 200


def who_only_stops_sending_gets_its_reply(server):
    """H31 the client closes its sending side after the request, which it sends in one piece or in several"""
    chance = random.Random(31)
    whole, streamed = chat(max_tokens=8), chat(max_tokens=8, stream=True)
    body = json.dumps(whole).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:])) + b"0\r\n\r\n"
    kinds = [
        (request_bytes("POST", CHAT, whole), b'"finish_reason"'), (request_bytes("POST", CHAT, streamed), b"[DONE]"), (MODELS, b'"list"'),
        (request_bytes("POST", CHAT, chunks, [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")]), b'"finish_reason"'),
    ]
    for number in range(HALF_CLOSE_TRIES):
        data, part = kinds[number % len(kinds)]
        with connect(server) as connection:
            cuts = sorted(chance.randrange(len(data)) for _ in range(chance.choice((0, 0, 1, 4))))
            for start, end in zip([0, *cuts], [*cuts, len(data)]):
                connection.sendall(data[start:end])
            time.sleep(chance.choice((0, 0, 0.001)))
            connection.shutdown(socket.SHUT_WR)
            response = read_response(connection)
            assert response.status == 200 and part in response.body, (number, cuts, response.status, response.body[:200])
    idle(server)


def who_stops_sending_too_early_is_told_so(server):
    """H31 the client closes its sending side within the head or the body"""
    request = request_bytes("POST", CHAT, chat())
    for num_sent, code in ((1, "head_broken"), (30, "head_broken"), (len(request) - 1, "body_broken")):
        response = exchange(server, request[:num_sent], half_close=True)
        assert response.status == 400 and json.loads(response.body)["error"]["code"] == code, (num_sent, response.status, response.body)
    assert exchange(server, b"", half_close=True).status == 0
    idle(server)


def a_body_of_24_mb_is_answered(server):
    """H35 clients that send all of a body before they read anything"""
    body = b" " * (24 << 20)
    for _ in range(3):
        connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        connection.request("POST", CHAT, body=body, headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 413 and b"body_too_large" in response.read()
        connection.close()
    for expect in ("Expect:", "Expect: 100-continue"):
        command = ["curl", "-s", "-w", "%{http_code}", "-H", expect, "-H", "Content-Type: application/json", "--data-binary", "@-", server.url + CHAT]
        curl = subprocess.run(command, input=body, capture_output=True, timeout=30)
        assert curl.returncode == 0 and curl.stdout.endswith(b"413"), (expect, curl.returncode, curl.stdout[-300:])


NUM_SILENT = 1100


def silent_connections_do_not_silence_the_server(server):
    """H36 more connections than there are places, which say nothing, or only the beginning of a head"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    silent = []
    try:
        for number in range(NUM_SILENT):
            silent.append(connect(server))
            send_all(silent[-1], MODELS[:number % 3])
        for _ in range(5):
            start = time.monotonic()
            assert exchange(server, request_bytes("GET", "/health/live"), timeout_s=5).status == 200
            assert time.monotonic() - start < 1
        assert exchange(server, request_bytes("POST", CHAT, chat())).status == 200
    finally:
        for connection in silent:
            connection.close()


def the_context_ends_where_it_says(server):
    """P12 prompts of one token less than the context, as many, and one more"""
    limit = json.loads(server.request("GET", "/v1/models")[2])["data"][0]["max_model_len"]
    for num_tokens, wanted in ((limit - 1, (200,)), (limit, (200, 400)), (limit + 1, (400,))):
        response = exchange(server, request_bytes("POST", COMPLETIONS, complete([100] * num_tokens, max_tokens=1)))
        assert response.status in wanted, (num_tokens, response.status, response.body[:300])
        assert response.status == 200 or b"context_length_exceeded" in response.body, response.body[:300]


# ---- slow clients, on a server with short limits ----

LIMIT_S = 2
SLACK_S = 6
# `bench/slow_reader.py` measures the ratio, and it is 1; here it only must not be a wholly other one, on any machine.
PACE_TOKENS, PACE_ROUNDS, PACE_LIMIT, PACE_FLOOR_MS = 700, 5, 2, 2
SHORT_LIMITS = ["--header-timeout", "2s", "--body-timeout", "2s", "--write-timeout", "2s", "--idle-timeout", "2s"]


def slow_head(server):
    """H12 a byte of the head now and then"""
    response, seconds = trickle(server, b"GET / HTTP/1.1\r\nX: ", b"y", 0.2, LIMIT_S + SLACK_S)
    assert response.status == 408 and seconds < LIMIT_S + SLACK_S, (response.status, seconds)


def slow_body(server):
    """H13 a byte of the body now and then"""
    head = request_bytes("POST", CHAT, headers=[("Content-Type", "application/json"), ("Content-Length", "1000")])
    response, seconds = trickle(server, head + b'{"a', b" ", 0.2, LIMIT_S + SLACK_S)
    assert response.status == 408 and seconds < LIMIT_S + SLACK_S, (response.status, seconds)


def an_idle_connection_is_closed(server):
    """H32 a connection that asks nothing more"""
    with connect(server, LIMIT_S + SLACK_S) as connection:
        send_all(connection, MODELS)
        first = read_response(connection)
        assert first.status == 200 and read_response(connection, first.rest).status in (0, 408)


def unread_streams_harm_nobody(server):
    """H14 streams that nobody reads, fewer than there are places"""
    with _unread_streams(server, 4, 1):
        for _ in range(8):
            assert exchange(server, request_bytes("POST", CHAT, chat())).status == 200


def unread_streams_do_not_hold_all_places(server):
    """H14 streams that nobody reads, more than there are places, until the write timeout"""
    with _unread_streams(server, 8, 8):
        assert exchange(server, request_bytes("POST", CHAT, chat()), timeout_s=120).status == 200
        idle(server)


def readers_of_nothing_are_noticed(server):
    """H14 plain events that nobody reads: the system's buffers must not take a whole reply"""
    def num_noticed():
        return server.said.count(b'outcome="client_too_slow"')
    before = num_noticed()
    with _unread_streams(server, 4, 1, COMPLETIONS, complete(pace.PROMPT, n=8, max_tokens=1000)):
        until(lambda: num_noticed() == before + 4, "the write timeout ends all four", limit_s=60)


def neighbours_of_unread_streams_keep_their_pace(server):
    """H14 the time between two tokens, beside streams that were read slowly and stand still now, and beside none"""
    # The best of some rounds on each side: what else the machine does only ever adds.
    def best():
        return min(pace.time_neighbours(server, PACE_TOKENS) for _ in range(PACE_ROUNDS))
    best()
    alone_ms = best()
    with pace.stalled(server):
        beside_ms = best()
        # Their clients hold on; it is the write timeout that ends them.
        idle(server)
    assert beside_ms < PACE_LIMIT * max(alone_ms, PACE_FLOOR_MS), f"p99 {beside_ms:.2f} ms beside them, {alone_ms:.2f} ms alone"


@contextmanager
def _unread_streams(server, num_streams, n, path=CHAT, fields=None):
    # Enough events for every buffer on the way to fill up.
    fields = fields or chat(n=n, logprobs=True, top_logprobs=20, max_tokens=900)
    data = request_bytes("POST", path, {**fields, "stream": True, "ignore_eos": True})
    streams = [connect(server) for _ in range(num_streams)]
    try:
        for stream in streams:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            send_all(stream, data)
        yield
    finally:
        for stream in streams:
            stream.close()
        idle(server)


SLOW_CASES = [
    slow_head, slow_body, an_idle_connection_is_closed, unread_streams_harm_nobody, unread_streams_do_not_hold_all_places,
    readers_of_nothing_are_noticed, neighbours_of_unread_streams_keep_their_pace,
]


# ---- clients that leave ----

def leaving_in_any_phase_frees_everything(server):
    """H29 the client leaves: in the head, in the body, in the queue, in the prefill, at any byte of the stream"""
    request = request_bytes("POST", CHAT, chat(stream=True, **LONG))
    for num_sent in (0, 10, len(request) // 2, len(request) - 1):
        with connect(server) as connection:
            send_all(connection, request[:num_sent])
    for num_read in (0, 1, 200, 500, 1500):
        with connect(server) as connection:
            send_all(connection, request)
            seen = 0
            while seen < num_read and (piece := connection.recv(num_read - seen)):
                seen += len(piece)
    idle(server)


def leaving_a_whole_reply_frees_it(server):
    """H29 the client leaves while a reply that is not streamed is being written"""
    for _ in range(8):
        with connect(server) as connection:
            send_all(connection, request_bytes("POST", CHAT, chat(n=8, **LONG)))
    idle(server)


def many_leave_while_many_wait(server):
    """H29 sixty requests at once, of which every second client leaves"""
    request = request_bytes("POST", COMPLETIONS, complete("Brisk", max_tokens=16))
    alone = json.loads(exchange(server, request).body)["choices"]
    connections = [connect(server, 60) for _ in range(60)]
    for connection in connections:
        send_all(connection, request)
    for connection in connections[::2]:
        connection.close()
    for connection in connections[1::2]:
        response = read_response(connection)
        connection.close()
        assert response.status == 200 and json.loads(response.body)["choices"] == alone, (response.status, response.body[:300])
    idle(server)


def leaving_during_anothers_prefill_harms_nobody(server):
    """H30 a stream is broken off while another prompt is being read"""
    limit = json.loads(server.request("GET", "/v1/models")[2])["data"][0]["max_model_len"]
    long_prompt = request_bytes("POST", COMPLETIONS, complete([100] * (limit - 8), max_tokens=4))
    alone = exchange(server, long_prompt)
    assert alone.status == 200, alone.body[:300]
    for _ in range(5):
        with connect(server) as stream, connect(server, 60) as reader:
            send_all(stream, request_bytes("POST", CHAT, chat(stream=True, **LONG)))
            stream.recv(100)
            send_all(reader, long_prompt)
            stream.close()
            response = read_response(reader)
            assert json.loads(response.body)["choices"] == json.loads(alone.body)["choices"], response.body[:300]
    idle(server)


# ---- streams ----

def streamed_text_is_whole_characters(server):
    """K03 random tokens cut characters anywhere; what streams is UTF-8, and the same as what comes whole"""
    for seed in range(6):
        fields = complete("x", max_tokens=60, temperature=2, seed=seed, ignore_eos=True)
        whole = json.loads(exchange(server, request_bytes("POST", COMPLETIONS, fields)).body)["choices"][0]["text"]
        streamed = ""
        body = exchange(server, request_bytes("POST", COMPLETIONS, {**fields, "stream": True})).body
        for event in body.decode("utf-8").split("\n\n"):
            if event.startswith("data: {"):
                streamed += "".join(choice["text"] for choice in json.loads(event[6:])["choices"])
        assert streamed == whole, (streamed, whole)


def control_texts_are_not_control_tokens(server):
    """K01 a control token's text in a message is read as more than one token"""
    from param_rows import CONTROL_TEXTS
    def num_tokens(content):
        reply = exchange(server, request_bytes("POST", CHAT, chat(messages=[{"role": "user", "content": content}])))
        return json.loads(reply.body)["usage"]["prompt_tokens"]
    plain = num_tokens("a")
    for text in CONTROL_TEXTS:
        # As a control token it would be one token; as text, `<|` alone is one and there is more.
        assert num_tokens("a" + text) >= plain + 2, text


def a_request_for_a_reply_without_permission_to_send(server):
    """H16 `Expect: 100-continue` with a body that never comes"""
    head = request_bytes("POST", "/nowhere", headers=[("Content-Length", "1000"), ("Expect", "100-continue")])
    response = exchange(server, head, timeout_s=5)
    assert response.status == 404 and not response.header("saw-100-continue"), (response.status, response.headers)


CASES = [
    upgrade_is_not_followed, pipelined_requests_are_answered_in_order, an_unread_body_is_no_request, the_context_ends_where_it_says, who_only_stops_sending_gets_its_reply,
    who_stops_sending_too_early_is_told_so, a_body_of_24_mb_is_answered,
    leaving_in_any_phase_frees_everything, leaving_a_whole_reply_frees_it, many_leave_while_many_wait, leaving_during_anothers_prefill_harms_nobody,
    streamed_text_is_whole_characters, control_texts_are_not_control_tokens,
    a_request_for_a_reply_without_permission_to_send,
]


def no_permission_without_a_key(server):
    """H16 `Expect: 100-continue` without a key"""
    head = request_bytes("POST", CHAT, headers=[("Content-Type", "application/json"), ("Content-Length", "1000"), ("Expect", "100-continue")])
    response = exchange(server, head, timeout_s=5)
    assert response.status == 401 and not response.header("saw-100-continue"), (response.status, response.headers)


KEY_CASES = [no_permission_without_a_key]
# A thousand connections are memory that stays, as it should.
CROWD_CASES = [silent_connections_do_not_silence_the_server]
