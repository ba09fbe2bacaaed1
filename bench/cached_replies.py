#!/usr/bin/env python3
"""Times kept replies over HTTP, and counts generations of a hundred equal requests.

    apt-get install wrk
    python3 bench/cached_replies.py --binary target/release/brisk --out bench/results

The server has a key, metrics and a log, as in service; the log goes to a file. `wrk` asks one question over and over, at
1 and at 16 connections, on each endpoint in turn and that in several rounds. The liveness check is the floor: the same
server and the same road, without key, JSON and cache. That all replies were kept ones is checked by /metrics.
"""

import argparse
import collections
import datetime
import os
import sys

from http_load import QUESTION, Brisk, at_once, brisk_version, commit, machine, median, need_wrk, post, rows, shown_ms, wait_until_quiet, wrk, wrk_version, write

ARMS = {
    "`/v1/chat/completions`, greedy": ("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 64}),
    "`/api/query`": ("/api/query", {"query": QUESTION}),
    "`/api/query`, another spelling": ("/api/query", {"query": " " + QUESTION.replace(" ", "  ", 1)}),
    "`GET /health/live`, the floor": ("/health/live", None),
}
CONNECTIONS = [1, 16]
NUM_AT_ONCE = 100
MAX_P50_US, MIN_RATE, MAX_P99_US = 150, 30_000, 2000


def measure(server, arm, connections, seconds):
    path, body = ARMS[arm]
    before = server.metric("brisk_replies_total", cache="hit") + server.metric("brisk_replies_total", cache="hit-normalized")
    result = wrk(server.url + path, body, connections, seconds)
    if body is not None:
        after = server.metric("brisk_replies_total", cache="hit") + server.metric("brisk_replies_total", cache="hit-normalized")
        # Those on their way when wrk stops are not in its own count.
        assert result["requests"] <= after - before <= result["requests"] + connections, (arm, result, after - before)
    return result


def equal_requests(server, turn):
    """Asks one new question many times at once: how often each cache status came, and how many were generated."""
    question = f"Which of these came first in round {turn}?"
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 64}
    before = server.metric("vllm:request_success_total")
    replies = at_once(NUM_AT_ONCE, lambda: post(server.host, server.port, "/v1/chat/completions", body))
    assert {status for status, _, _ in replies} == {200}, replies
    statuses = collections.Counter(headers["x-brisk-cache"] for _, headers, _ in replies)
    return {"statuses": dict(statuses), "generations": int(server.metric("vllm:request_success_total") - before)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/brisk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--wait", type=int, default=0, help="seconds to wait at most until the machine is quiet")
    parser.add_argument("--out", help="folder for the dated result (.md and .json)")
    args = parser.parse_args()
    need_wrk()

    idle = wait_until_quiet(0.95, args.wait)
    load = os.getloadavg()[0]
    results = {(arm, connections): [] for connections in CONNECTIONS for arm in ARMS}
    with Brisk(args.binary) as server:
        for path, body in ARMS.values():
            status, _, reply = post(server.host, server.port, path, body)
            assert status == 200, reply
        for arm in ARMS:
            measure(server, arm, 16, 1)
        for turn in range(args.rounds):
            for (arm, connections), rounds in results.items():
                rounds.append(measure(server, arm, connections, args.seconds))
            rates = ", ".join(f"{rounds[-1]['per_second']:,.0f}/s" for rounds in results.values())
            print(f"round {turn + 1} of {args.rounds}: {rates}", file=sys.stderr, flush=True)
        equal = [equal_requests(server, turn) for turn in range(args.rounds)]

    lines = [
        f"# Kept replies over HTTP, {datetime.date.today()}", "",
        f"- machine: {machine()}; before the first round {idle:.0%} idle, load average {load:.1f}",
        f"- {brisk_version(args.binary)}, commit {commit()}, the demonstration model; with a key, metrics, and the log as JSON in a file",
        f"- {wrk_version()}, one thread; medians of {args.rounds} interleaved rounds of {args.seconds} s", "",
        *rows((arm, connections, rounds) for (arm, connections), rounds in results.items()), "",
        "| to reach | | measured | |", "| --- | --- | --- | --- |",
    ]
    for arm in [arm for arm, (_, body) in ARMS.items() if body is not None]:
        p50, p99 = median(results[arm, 1], "p50_us"), median(results[arm, 16], "p99_us")
        rate = median(results[arm, 16], "per_second")
        for what, limit, value, is_reached in [
            ("p50 at 1 connection", f"at most {shown_ms(MAX_P50_US)} ms", f"{shown_ms(p50)} ms", p50 <= MAX_P50_US),
            ("rate at 16 connections", f"at least {MIN_RATE:,}/s", f"{rate:,.0f}/s", rate >= MIN_RATE),
            ("p99 at 16 connections", f"at most {shown_ms(MAX_P99_US)} ms", f"{shown_ms(p99)} ms", p99 <= MAX_P99_US),
        ]:
            lines.append(f"| {arm}: {what} | {limit} | {value} | {'yes' if is_reached else '**no**'} |")
    generations = [it["generations"] for it in equal]
    statuses = sum((collections.Counter(it["statuses"]) for it in equal), collections.Counter())
    lines += [
        f"| generations for {NUM_AT_ONCE} equal requests at once | 1 | {max(generations)} at most in {len(equal)} rounds | {'yes' if max(generations) == 1 else '**no**'} |", "",
        f"What the {NUM_AT_ONCE} were answered with, all rounds: " + ", ".join(f"{name} {count}" for name, count in sorted(statuses.items())), "",
        f"Command: `python3 bench/cached_replies.py --rounds {args.rounds} --seconds {args.seconds}`", "",
    ]
    data = {"arms": {f"{arm}, {connections}": rounds for (arm, connections), rounds in results.items()}, "equal_requests": equal}
    write(args.out, f"{datetime.date.today()}-cached-replies", lines, data)


if __name__ == "__main__":
    main()
