#!/usr/bin/env python3
"""Measures what requests do to each other: long prompts, floods, and what a refused client is told.

    python3 bench/make_model.py --shape qwen2.5-0.5b --type Q4_0 --out model.gguf
    python3 bench/fairness.py --binary target/release/brisk --model model.gguf

Real HTTP against a server of its own for each part:

- long: a short prompt behind two of `--words` words, beside nothing and beside running streams; the p99 and the longest
  of the gaps between the events of these streams, before the long prompts come and while they are read.
- flood: one key sends `--rate` requests a second for `--seconds`, another asks 13 times, one after the other.
- retry: everything is in use; what the refused are told, against the time until all that waited had begun.
- overload: how soon refusals come while `--rate` requests a second do, many times what the server answers.
- memory: the server's resident memory after few and after many short requests.

Prints a table and, with --out, keeps it and the figures.
"""

import argparse
import asyncio
import datetime
import http.client
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))
from server import Server, until  # noqa: E402

KEYS = ["sk-the-first-key", "sk-the-second-key"]
PARTS = ["long", "flood", "retry", "overload", "memory"]
WORDS = "the quick brown fox jumps over a lazy dog while seven wizards mix some very odd potion".split()


def words(num, first=0):
    """A text of so many words."""
    return " ".join(WORDS[(first + i * i) % len(WORDS)] for i in range(num))


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


class Request(threading.Thread):
    """A request on a connection of its own; notes when its head and its events came."""

    def __init__(self, server, prompt, max_tokens, key=KEYS[0], stream=True):
        super().__init__(daemon=True)
        self.server, self.key = server, key
        self.body = {"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, "stream": stream, "temperature": 1, "seed": 1}
        self.status, self.retry_after, self.events, self.error = None, None, [], None
        self.is_over = threading.Event()
        self.start()

    def run(self):
        self.sent = time.monotonic()
        self.connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=600)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            self.connection.request("POST", "/v1/completions", json.dumps(self.body), headers)
            response = self.connection.getresponse()
            self.status, self.retry_after = response.status, response.headers.get("Retry-After")
            self.head_s = time.monotonic() - self.sent
            for line in response:
                if line.startswith(b"data: {") and b'"text"' in line:
                    self.events.append(time.monotonic())
        except OSError as error:
            self.error = repr(error)
        except Exception as error:  # the connection was closed under it
            self.error = repr(error)
        self.ended = time.monotonic()
        self.is_over.set()

    def first_s(self):
        return self.events[0] - self.sent if self.events else None

    def gaps_ms(self, start, end):
        times = [at for at in self.events if start <= at <= end]
        return [1e3 * (after - before) for before, after in zip(times, times[1:])]

    def close(self):
        """Leaves, as a client that has enough."""
        if self.connection.sock:
            self.connection.sock.shutdown(2)


def server(args, *flags):
    model = ["--model", args.model] if args.model else []
    keys = [flag for key in KEYS for flag in ("--api-key", key)]
    return Server(args.binary, *model, *keys, "--response-cache", "off", "--log-level", "warn", *args.flag, *flags)


def gauge(running, name):
    return running.gauge(name, {"Authorization": f"Bearer {KEYS[0]}"})


def long_prompts(args, num_streams):
    """A short prompt behind two long ones, and the streams beside them."""
    with server(args) as running:
        Request(running, words(30), 8).is_over.wait()
        begun = time.monotonic()
        streams = [Request(running, words(20, i), 100_000 if not args.model else 4000) for i in range(num_streams)]
        until(lambda: all(len(it.events) > 60 for it in streams), "the streams run", 120)
        before = time.monotonic()
        longs = [Request(running, words(args.words, 7 * i), 1) for i in range(2)]
        time.sleep(2)
        short = Request(running, "Hi", 1)
        short.is_over.wait(args.patience)
        for it in longs:
            it.is_over.wait(args.patience)
        after = time.monotonic()
        gaps = lambda start, end: [gap for it in streams for gap in it.gaps_ms(start, end)]
        quiet, busy = gaps(begun, before), gaps(before, after)
        result = {
            "streams": num_streams,
            "short_first_token_s": short.first_s(), "status": [it.status for it in longs],
            "long_first_token_s": [it.first_s() for it in longs],
            "gap_p99_ms_before": percentile(quiet, 0.99), "gap_p99_ms_beside": percentile(busy, 0.99),
            "gap_p50_ms_before": percentile(quiet, 0.5), "gap_p50_ms_beside": percentile(busy, 0.5),
            "gap_max_ms_beside": max(busy, default=None),
        }
        for it in [*streams, *longs, short]:
            it.close()
        return result


def alone(args):
    """Seconds to read one long prompt that has the server to itself."""
    with server(args) as running:
        Request(running, words(30), 8).is_over.wait()
        times = []
        for i in range(3):
            it = Request(running, words(args.words, i), 1)
            it.is_over.wait(args.patience)
            times.append(it.first_s())
        return {"first_token_s": times}


class Flood(threading.Thread):
    """So many requests a second, whatever becomes of them, each on a connection of its own."""

    def __init__(self, running, rate, max_tokens):
        super().__init__(daemon=True)
        self.running, self.rate, self.max_tokens = running, rate, max_tokens
        # Status, seconds to the head, and `Retry-After`, of each that was answered.
        self.answers, self.is_over, self.pauses = [], threading.Event(), threading.Event()
        self.start()

    def run(self):
        asyncio.run(self.send_all())

    async def send_all(self):
        begun, sent = time.monotonic(), []
        while not self.is_over.is_set():
            await asyncio.sleep(0.5 / self.rate)
            if not self.pauses.is_set() and time.monotonic() >= begun + len(sent) / self.rate:
                sent.append(asyncio.create_task(self.send(len(sent))))
        for task in sent:
            task.cancel()

    async def send(self, number):
        body = json.dumps({"prompt": words(20, number), "max_tokens": self.max_tokens, "ignore_eos": True, "seed": number})
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEYS[0]}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        reader, writer = await asyncio.open_connection(self.running.host, self.running.port)
        begun = time.monotonic()
        try:
            writer.write(f"{head}{body}".encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            found = re.search(r"retry-after: (\d+)", answer)
            self.answers.append((int(answer.split()[1]), time.monotonic() - begun, found and int(found[1])))
            await reader.read()
        finally:
            writer.close()

    def refusals(self):
        return [answer for answer in self.answers if answer[0] in (429, 503)]


def flood(args):
    """One key floods, the other asks 13 times."""
    with server(args) as running:
        Request(running, words(30), 8).is_over.wait()
        first = Flood(running, args.rate, 32)
        time.sleep(5)
        begun = time.monotonic()
        second = []
        for i in range(13):
            it = Request(running, words(20, i), 32, KEYS[1])
            it.is_over.wait(args.patience)
            second.append(it)
            time.sleep(max(0, begun + (i + 1) * 0.5 - time.monotonic()))
        first.is_over.set()
        statuses = [status for status, _, _ in first.answers]
        answered = [it.first_s() for it in second if it.status == 200]
        refused = [1e3 * head_s for _, head_s, _ in first.refusals()]
        return {
            "answered_of_13": len(answered), "statuses": [it.status for it in second],
            "first_token_s_p50": percentile(answered, 0.5), "first_token_s_max": max(answered, default=None),
            "flood_statuses": {status: statuses.count(status) for status in sorted(set(statuses))},
            "refusal_p99_ms": percentile(refused, 0.99),
        }


def retry(args):
    """What the refused are told, and how long what waited then took to begin."""
    with server(args) as running:
        first = Flood(running, args.rate, 32)
        time.sleep(args.seconds)
        # Those that wait stay, and the last who were refused heard how long that will be.
        first.pauses.set()
        told = [retry_after for _, _, retry_after in first.refusals()[-20:]]
        begun = time.monotonic()
        until(lambda: gauge(running, "num_requests_waiting") == 0, "nothing waits", args.patience)
        drained_s = time.monotonic() - begun
        first.is_over.set()
        said = statistics.median(told) if told else None
        return {"told_s": said, "drained_s": drained_s, "ratio": said / drained_s if said else None}


def overload(args):
    """How long the refused wait for their refusal while all places are in use for long."""
    with server(args) as running:
        load = Flood(running, args.rate, 2000)
        time.sleep(args.seconds)
        load.is_over.set()
        times = [1e3 * head_s for _, head_s, _ in load.refusals()]
        return {"refusals": len(times), "answered": len(load.answers) - len(times), "p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99), "max_ms": max(times, default=None)}


def memory(args):
    """Resident memory before, after few and after many short requests, one after the other."""
    with server(args) as running:
        figures = {"start": running.rss_bytes() >> 20}
        for number in range(1, args.requests + 1):
            Request(running, words(20, number), 8).is_over.wait()
            if number in (20, args.requests):
                figures[f"after {number}"] = running.rss_bytes() >> 20
        return {"rss_mib": figures}


def shown(value):
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(it) for it in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(it)}" for name, it in value.items())
    return "none came" if value is None else str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/brisk")
    parser.add_argument("--model", help="a GGUF file; without, the demonstration model, whose context is short")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--words", type=int, default=6000, help="of a long prompt")
    parser.add_argument("--rate", type=float, default=100, help="requests a second of a flood")
    parser.add_argument("--seconds", type=float, default=20, help="of a flood")
    parser.add_argument("--requests", type=int, default=300, help="short ones, for the memory")
    parser.add_argument("--patience", type=float, default=300, help="seconds after which nothing is waited for")
    parser.add_argument("--flag", action="append", default=[], help="for the server, may be repeated: --flag=--threads=1")
    parser.add_argument("--out", help="folder for the dated result (.md and .json)")
    args = parser.parse_args()

    acts = {
        "long": [("a long prompt alone", lambda: alone(args)), ("short behind two long", lambda: long_prompts(args, 0)), ("the same beside two streams", lambda: long_prompts(args, 2))],
        "flood": [("two keys, one floods", lambda: flood(args))],
        "retry": [("Retry-After", lambda: retry(args))],
        "overload": [("refusals", lambda: overload(args))],
        "memory": [("memory", lambda: memory(args))],
    }
    results = {}
    for part in args.parts:
        for name, act in acts[part]:
            results[name] = act()
            print(f"{name}: {shown(results[name])}", file=sys.stderr, flush=True)
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True).stdout.strip()
    lines = [
        f"# What requests do to each other, {datetime.date.today()}", "",
        f"- machine: {cpu}, {os.cpu_count()} processors, shared by server and clients",
        f"- {version}, {Path(args.model).name if args.model else 'the demonstration model'}, flags: {' '.join(args.flag) or 'none'}",
        "", "| trial | figure | value |", "| --- | --- | --- |",
    ]
    lines += [f"| {name} | {figure} | {shown(value)} |" for name, result in results.items() for figure, value in result.items() if value is not None]
    lines += ["", f"Command: `python3 bench/fairness.py {' '.join(sys.argv[1:])}`", ""]
    print("\n".join(lines))
    print(json.dumps(results))
    if args.out:
        os.makedirs(args.out, exist_ok=True)
        stem = os.path.join(args.out, f"{datetime.date.today()}-fairness")
        Path(stem + ".md").write_text("\n".join(lines))
        Path(stem + ".json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
