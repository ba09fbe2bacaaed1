"""Uses the assistant endpoints of the real binary, and every curl line of the README: python3 assistant.py --binary target/release/brisk"""

import argparse
import concurrent.futures
import gzip
import http.client
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from urllib.parse import quote

from server import Server, until

ROOT = Path(__file__).resolve().parent.parent.parent
KEYS = ("key-of-the-first", "key-of-the-second")
CASES = []


def case(function):
    """A rule that must hold; its name says which."""
    CASES.append(function)
    return function


class Fixture:
    """A running server and the shortest ways to ask it."""

    def __init__(self, server, key=None):
        self.server = server
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, method, path, body=None, status=200, **headers):
        """Headers and JSON of one reply."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        got, reply_headers, text = self.server.request(method, path, body, {**self.headers, **headers}, timeout=120)
        assert got == status, f"{method} {path}: {got}, wanted {status}: {text[:400]}"
        return reply_headers, json.loads(text)

    def query(self, query, **fields):
        return self.ask("POST", "/api/query", {"query": query, **fields})[1]

    def stream(self, path, body):
        """Pieces and last event of a streamed reply."""
        status, headers, text = self.server.request("POST", path, body, self.headers, timeout=120)
        assert status == 200 and headers["Content-Type"].startswith("text/event-stream"), (status, text[:400])
        events = [json.loads(event.removeprefix("data: ")) for event in text.decode().split("\n\n") if event and event[0] != ":"]
        assert all(set(event) == {"token"} and event["token"] for event in events[:-1]), events
        return [event["token"] for event in events[:-1]], events[-1]

    def turn(self, message, user_id, **fields):
        return self.ask("POST", "/api/chat", {"message": message, "user_id": user_id, "stream": False, **fields})[1]

    def refused(self, path, body, status, param, code):
        error = self.ask("POST", path, body, status)[1]["error"]
        assert (error["param"], error["code"]) == (param, code), error
        return error["message"]


# ---- questions ----

@case
def a_question_is_answered_and_then_kept(f):
    headers, first = f.ask("POST", "/api/query", {"query": "What is Brisk?"})
    assert first["response"].strip() and first["cached"] is False and first["cache"] == "miss", first
    assert first["model"] and first["finish_reason"] in ("stop", "length"), first
    assert first["usage"]["completion_tokens"] > 0 and first["timings"]["predicted_n"] > 0, first
    assert headers["X-Brisk-Cache"] == "miss" and re.fullmatch("[0-9a-f]{64}", headers["X-Brisk-Cache-Key"]), headers
    headers, again = f.ask("POST", "/api/query", {"query": "What is Brisk?"})
    assert again["cached"] is True and again["cache"] == "hit" and int(headers["Age"]) >= 0, (again, headers)
    assert (again["response"], again["usage"]) == (first["response"], first["usage"])
    spelled = f.query("what  is Brisk？")
    assert spelled["cache"] == "hit-normalized" and spelled["response"] == first["response"], spelled
    pieces, end = f.stream("/api/query/stream", {"query": "What is Brisk?"})
    assert "".join(pieces) == first["response"] and len(pieces) > 1, pieces
    assert end["done"] is True and end["cache"] == "hit" and end["usage"] == first["usage"], end


@case
def a_streamed_question_is_kept_for_both(f):
    body = {"query": "Is Brisk free?", "temperature": 0.7, "top_k": 20, "max_tokens": 40}
    pieces, end = f.stream("/api/query/stream", body)
    assert end["cache"] == "miss" and pieces, end
    whole = f.query(body.pop("query"), **body)
    assert whole["cached"] and whole["response"] == "".join(pieces), (whole, pieces)


@case
def a_request_changes_how_the_reply_is_made(f):
    short = f.query("Tell me about streaming.", max_tokens=3, soft_max_tokens=3)
    assert short["usage"]["completion_tokens"] <= 3, short
    greedy = f.query("How do I load a model?", temperature=0.1)["response"]
    assert f.query("How do I load a model?", temperature=0, cache_control="bypass")["response"] == greedy
    fast = f.query("How do I load a model?", speed_mode=True, cache_control="no-cache")
    plain = f.query("How do I load a model?", temperature=0, repetition_penalty=1, no_repeat_ngram_size=0, cache_control="bypass")
    assert fast["response"] == plain["response"], (fast, plain)
    seeded = [f.query("Who made Brisk?", temperature=1.5, seed=3, cache_control="bypass")["response"] for _ in range(2)]
    assert seeded[0] == seeded[1], seeded


@case
def a_reply_does_not_end_within_a_sentence(f):
    num_cut = 0
    for max_tokens in range(14, 30, 2):
        text = f.query("What is Brisk?", temperature=0, max_tokens=max_tokens)["response"]
        # A text without one whole sentence is better than none.
        is_one_part = not re.search(r"[.!?] ", text)
        assert text.rstrip()[-1:] in ".!?:)`\"" or is_one_part, (max_tokens, text)
        # The same tokens from OpenAI's endpoint, which cleans nothing, where the limit cuts them.
        body = {"messages": [{"role": "user", "content": "What is Brisk?"}], "temperature": 0, "max_tokens": max_tokens,
                "no_repeat_ngram_size": 3, "repetition_penalty": 1.1}
        plain = f.ask("POST", "/v1/chat/completions", body)[1]["choices"][0]["message"]["content"]
        assert plain.startswith(text), (plain, text)
        num_cut += plain.rstrip()[-1:] not in ".!?" and len(plain) > len(text) + 1
    assert num_cut > 1, "no reply would have ended within a sentence"


@case
def equal_questions_at_once_are_generated_once(f):
    body = {"query": "How do I set the port of the server?", "seed": 5, "max_tokens": 200}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = [it.result() for it in [pool.submit(f.query, **body) for _ in range(8)]]
    states = sorted(reply["cache"] for reply in replies)
    assert states.count("miss") == 1 and set(states) <= {"miss", "hit", "coalesced"}, states
    assert "coalesced" in states, states
    assert len({reply["response"] for reply in replies}) == 1


@case
def who_leaves_a_shared_generation_does_not_end_it_and_the_last_one_does(f):
    def begin(question):
        # So hot that it does not end by itself in the meantime.
        body = json.dumps({"query": question, "temperature": 2, "top_k": 0, "top_p": 1, "seed": 7, "max_tokens": 500, "soft_max_tokens": 500})
        connection = http.client.HTTPConnection(f.server.host, f.server.port, timeout=60)
        connection.request("POST", "/api/query/stream", body, {"Content-Type": "application/json"})
        return connection, connection.getresponse()
    before = f.server.num_aborted()
    (first, one), (second, two) = begin("What does the server do with memory?"), begin("What does the server do with memory?")
    one.read(40)
    first.close()
    text = two.read()
    assert b'"done":true' in text, text[-300:]
    second.close()
    assert f.server.num_aborted() == before, "one of the two stayed"
    # A busy machine may be slower to leave than the model is to answer; then the next pair tries.
    for number in range(20):
        ended = f.server.num_ended()
        for connection, _ in [begin(f"And with disk {number}?") for _ in range(2)]:
            connection.close()
        until(lambda: f.server.num_ended() > ended, "the generation has ended")
        if f.server.num_aborted() > before:
            break
    assert f.server.num_aborted() > before, "a generation that nobody waits for is aborted"
    assert f.query("What is Brisk?")["response"].strip()


# ---- what the cache may do ----

@case
def the_client_controls_the_cache(f):
    def state(question, **headers):
        return f.ask("POST", "/api/query", {"query": question, "max_tokens": 4}, **headers)[0]["X-Brisk-Cache"]
    assert state("Who stores nothing?", X_Brisk_Cache_Control="no-store") == "miss"
    assert state("Who stores nothing?", X_Brisk_Cache_Control="bypass") == "bypass"
    assert state("Who stores nothing?") == "miss"
    assert state("Who stores nothing?", X_Brisk_Cache_Control="no-cache") == "miss"
    assert state("Who stores nothing?", X_Brisk_Cache_Control="max-age=3600, no-store") == "hit"
    f.refused("/api/query", {"query": "x", "cache_control": "private"}, 400, "cache_control", "invalid_value")


@case
def openai_requests_are_kept_only_where_they_are_reproducible(f):
    def state(**fields):
        body = {"messages": [{"role": "user", "content": "What is a token?"}], "max_tokens": 8, **fields}
        headers, reply = f.ask("POST", "/v1/chat/completions", body)
        return headers["X-Brisk-Cache"], reply["choices"], reply["usage"]
    first, second = state(temperature=0), state(temperature=0)
    assert (first[0], second[0]) == ("miss", "hit") and first[1:] == second[1:], (first, second)
    assert [state(seed=1)[0] for _ in range(2)] == ["miss", "hit"]
    assert [state()[0] for _ in range(2)] == ["bypass", "bypass"]


@case
def kept_replies_are_listed_removed_reported_and_flushed(f):
    headers, _ = f.ask("POST", "/api/query", {"query": "Which entry comes first?", "max_tokens": 4})
    key = headers["X-Brisk-Cache-Key"]
    entries = f.ask("GET", "/api/cache?limit=1000")[1]["entries"]
    entry = next(entry for entry in entries if entry["key"] == key)
    assert entry["label"] == "Which entry comes first?" and entry["bytes"] > 0 and entry["expires"] > entry["created"], entry
    assert f.ask("DELETE", f"/api/cache/{key}")[1]["done"] == "deleted"
    f.ask("DELETE", f"/api/cache/{key}", status=404)
    assert f.query("Which entry comes first?", max_tokens=4)["cache"] == "miss"
    assert f.ask("POST", f"/api/cache/{key}/report", {"reason": "e2e"})[1]["done"] == "reported"
    f.query("Which entry comes first?", max_tokens=4)
    assert f.query("which  entry comes first？", max_tokens=4)["cache"] == "miss", "a reported place serves its own spelling alone"
    assert f.ask("DELETE", "/api/cache")[1] == {"flushed": True}
    assert f.ask("GET", "/api/cache")[1]["entries"] == []


# ---- conversations ----

@case
def the_server_keeps_a_conversation(f):
    pieces, end = f.stream("/api/chat", {"message": "What is Brisk?", "user_id": "zo\u00eb/1"})
    assert end["done"] and end["history"] == {"messages_left_out": 0, "tokens_left_out": 0}, end
    second = f.turn("Is it free?", "zo\u00eb/1")
    assert second["usage"]["prompt_tokens"] > end["usage"]["prompt_tokens"], "the first turn is in the second prompt"
    path = "/api/conversations/" + quote("zo\u00eb/1", safe="")
    messages = f.ask("GET", path)[1]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2, messages
    assert messages[1]["content"] == "".join(pieces) and messages[3]["content"] == second["response"], messages
    listed = f.ask("GET", "/api/conversations")[1]["conversations"]
    assert any(it["user_id"] == "zo\u00eb/1" and it["messages"] == 4 for it in listed), listed
    page = f.ask("GET", path + "?limit=1")[1]
    assert page["messages"] == messages[3:] and page["next"] == 4, page
    assert f.ask("DELETE", path)[1]["deleted"] is True
    f.ask("GET", path, status=404)


@case
def a_long_conversation_says_what_was_left_out(f):
    left_out = 0
    for number in range(40):
        reply = f.turn(f"{number}: " + "Brisk is a server. " * 12, "long", speed_mode=True, max_tokens=4)
        assert reply["usage"]["prompt_tokens"] <= 1024, reply
        left_out = reply["history"]["messages_left_out"]
    assert left_out > 0, reply


@case
def wrong_requests_say_what_to_send(f):
    message = f.refused("/api/chat", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}, 400, "messages", "unsupported_parameter")
    assert "user_id" in message and "/v1/chat/completions" in message, message
    f.refused("/api/query", {"query": ""}, 400, "query", "invalid_value")
    f.refused("/api/chat", {"message": "hi", "user_id": "a\nb"}, 400, "user_id", "invalid_value")
    f.refused("/api/query", {"query": "hi", "temperature": 9}, 400, "temperature", "invalid_value")


# ---- servers of their own ----

@case
def what_is_in_files_outlives_the_process(f):
    with tempfile.TemporaryDirectory(prefix="brisk-e2e-") as folder:
        files = ["--cache-file", f"{folder}/replies.db", "--conversations-file", f"{folder}/talks.db"]
        with Server(f.server.binary, *files) as server:
            before = Fixture(server)
            first = before.query("What is Brisk?")
            before.turn("What is Brisk?", "u")
            assert server.stop() == 0
        with Server(f.server.binary, *files) as server:
            after = Fixture(server)
            again = after.query("What is Brisk?")
            assert again["cache"] == "hit" and again["response"] == first["response"], again
            assert len(after.ask("GET", "/api/conversations/u")[1]["messages"]) == 2
            after.turn("Is it free?", "u")
            assert len(after.ask("GET", "/api/conversations/u")[1]["messages"]) == 4
    assert all(it["user_id"] != "u" for it in f.ask("GET", "/api/conversations")[1]["conversations"]), "each server has its own"


@case
def nobody_sees_what_belongs_to_another_key(f):
    with Server(f.server.binary, "--api-key", KEYS[0], "--api-key", KEYS[1]) as server:
        one, two = (Fixture(server, key) for key in KEYS)
        headers, _ = one.ask("POST", "/api/query", {"query": "What is Brisk?"})
        one.turn("My name is Ada.", "u")
        assert two.query("What is Brisk?")["cache"] == "miss"
        two.ask("GET", "/api/conversations/u", status=404)
        two.ask("DELETE", f"/api/cache/{headers['X-Brisk-Cache-Key']}", status=404)
        two.ask("DELETE", "/api/cache")
        assert one.query("What is Brisk?")["cache"] == "hit"
        assert len(one.ask("GET", "/api/conversations/u")[1]["messages"]) == 2
        for path in ("/api/cache", "/api/conversations"):
            Fixture(server).ask("GET", path, status=401)
        assert not any(key.encode() in server.said for key in KEYS)


@case
def the_time_of_a_reply_does_not_tell_what_others_asked(f):
    """The share of pairs in which a question that another key has asked is the slower one, against one that nobody asked."""
    with Server(f.server.binary, "--api-key", KEYS[0], "--api-key", KEYS[1]) as server:
        first, second = (Fixture(server, key) for key in KEYS)
        # With so many of both, chance alone moves the share by 0.012 (one standard deviation).
        questions = [f"Which word comes after {word}{number}?" for number in range(1200) for word in ("north", "south")]
        for question in questions[::2]:
            first.query(question, temperature=0, max_tokens=1)
        asked, new = [], []
        for index in random.Random(9).sample(range(len(questions)), len(questions)):
            start = time.perf_counter()
            reply = second.query(questions[index], temperature=0, max_tokens=1)
            (new if index % 2 else asked).append(time.perf_counter() - start)
            assert reply["cache"] == "miss", reply
    share = sum(a > b for a in asked for b in new) / (len(asked) * len(new))
    print(f"    share of pairs in which the asked question is the slower one: {share:.3f}")
    assert 0.45 <= share <= 0.55, share


@case
def the_settings_count(f):
    settings = ["--response-cache", "off", "--default-max-new-tokens", "5", "--assistant-temperature", "0"]
    with Server(f.server.binary, *settings) as server:
        off = Fixture(server)
        replies = [off.query("What is Brisk?") for _ in range(2)]
        assert [reply["cache"] for reply in replies] == ["bypass"] * 2 and replies[0]["response"] == replies[1]["response"], replies
        assert replies[0]["usage"]["completion_tokens"] <= 5, replies
        assert off.ask("GET", "/api/cache")[1] == {"enabled": False, "entries": []}


# ---- the wire ----

@case
def whole_replies_are_compressed_and_streams_come_as_they_are_made(f):
    status, headers, body = f.server.request("GET", "/openapi.json", headers={"Accept-Encoding": "gzip"})
    plain = f.server.request("GET", "/openapi.json")[2]
    assert status == 200 and headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == plain
    assert len(body) * 4 < len(plain) and "accept-encoding" in headers["Vary"].lower(), (len(body), headers.items())
    body = {"query": "What is Brisk?", "cache_control": "bypass"}
    _, headers, text = f.server.request("POST", "/api/query/stream", body, {"Accept-Encoding": "gzip, br, zstd"})
    assert headers["Content-Encoding"] is None and text.startswith(b'data: {"token":'), text[:100]


@case
def every_curl_line_of_the_readme_works(f):
    """Each block is one script, as a reader would paste it; `$ ` begins a command."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    scripts = ["\n".join(line.removeprefix("$ ") for line in block.splitlines()) for block in blocks if "curl " in block]
    assert scripts, "the README has no curl line"
    shown = set()
    for script in scripts:
        shown |= {path.split("?")[0].rstrip("'\"") for path in re.findall(r"127\.0\.0\.1:8080(/(?:\$\(\w+\)|[^ \n|)])*)", script)}
        script = script.replace("http://127.0.0.1:8080", f.server.url).replace("curl ", "curl --fail-with-body -sS --max-time 60 ")
        with tempfile.TemporaryDirectory(prefix="brisk-e2e-") as folder:
            done = subprocess.run(["bash", "-euc", script], cwd=folder, capture_output=True, timeout=300, check=False)
        # A reader such as `head` that has seen enough is no failure.
        complaints = [line for line in done.stderr.splitlines() if not line.startswith(b"curl: (23)")]
        assert done.returncode == 0 and done.stdout and not complaints, (script, done.stdout[-500:], done.stderr[-500:])
    described = json.loads(f.server.request("GET", "/openapi.json")[2])["paths"]
    def pattern(path):
        return re.compile(re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(path)))
    missing = [path for path in described if not any(pattern(path).fullmatch(it) for it in shown)]
    assert not missing, f"the README shows no curl line for {missing}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    options = parser.parse_args()
    cases = [function for function in CASES if options.only in function.__name__]
    num_failed = 0
    server = Server(options.binary)
    try:
        fixture = Fixture(server)
        for function in cases:
            try:
                function(fixture)
            except Exception:  # A case may fail in any way; the others still say something.
                num_failed += 1
                print(f"FAILED {function.__name__}\n{traceback.format_exc(limit=-3)}")
    finally:
        status = server.stop()
    if status != 0:
        num_failed += 1
        print(f"FAILED the server ends with status 0 when it is told to stop: it ended with {status}")
    print(f"{len(cases) + 1 - num_failed} passed, {num_failed} failed")
    sys.exit(1 if num_failed else 0)


if __name__ == "__main__":
    main()
