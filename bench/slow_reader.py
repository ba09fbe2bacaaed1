#!/usr/bin/env python3
"""Times streams beside others that are read slowly or not at all, interleaved, and prints medians and ratios.

    python3 bench/slow_reader.py --binary target/release/brisk --rounds 12

Four neighbours read greedy replies. Each round has these arms, in an order that turns:

- reading: beside four streams whose clients keep up; slow: beside the same four, read at 10 bytes a
  second. Both run eight sequences in every step. `reading again` is the first arm once more: its ratio is the noise.
- alone: beside nothing; stalled: beside four streams that were read so until all buffers were full, then never, and are
  paused. Both
  run four sequences in every step. `alone again` is the noise. Each of the three has a server of its own, for the streams
  stay where they are from the first round to the last.

A figure is the p99 of the time between two events of one stream, seen by the neighbours; one per arm and round. The server
computes with its plain kernels in one thread, so that a step takes as long as one of a larger model.
"""

import argparse
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/e2e/bad_inputs")]
import pace  # noqa: E402
from server import Server  # noqa: E402

ARMS = ["reading", "slow", "reading again", "alone", "stalled", "alone again"]
RATIOS = [("slow", "reading"), ("reading again", "reading"), ("stalled", "alone"), ("alone again", "alone"), ("alone", "reading")]
NUM_RESAMPLES = 4000


def ratio(rounds, above, below):
    """The ratio of two arms' medians."""
    return statistics.median(it[above] for it in rounds) / statistics.median(it[below] for it in rounds)


def interval(rounds, above, below):
    """Where 95 of 100 such ratios lie when rounds are drawn again from those that were."""
    chance = random.Random(1)
    drawn = sorted(ratio(chance.choices(rounds, k=len(rounds)), above, below) for _ in range(NUM_RESAMPLES))
    return drawn[NUM_RESAMPLES * 25 // 1000], drawn[NUM_RESAMPLES * 975 // 1000 - 1]


def report(args, rounds, rss_bytes):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    lines = [
        f"# Neighbours of slow readers, {datetime.date.today()}", "",
        f"- machine: {cpu}, {os.cpu_count()} processors, shared by server and clients",
        f"- the demonstration model, `{' '.join(pace.FLAGS)}`, commit {git.stdout.strip() or 'unknown'}",
        f"- {len(rounds)} interleaved rounds; resident memory of the server with the stalled streams at most {max(rss_bytes) >> 20} MiB after a round, {rss_bytes[0] >> 20} MiB after the first",
        "", "| arm | median p99, ms | middle half of the rounds |", "| --- | --- | --- |",
    ]
    for arm in ARMS:
        low, middle, high = statistics.quantiles([it[arm] for it in rounds], n=4, method="inclusive")
        lines.append(f"| {arm} | {middle:.3f} | {low:.3f} to {high:.3f} |")
    lines += ["", "| ratio of the medians | | 95 % interval |", "| --- | --- | --- |"]
    for above, below in RATIOS:
        low, high = interval(rounds, above, below)
        lines.append(f"| {above} / {below} | **{ratio(rounds, above, below):.3f}** | {low:.3f} to {high:.3f} |")
    return [*lines, "", f"Command: `python3 bench/slow_reader.py --rounds {len(rounds)} --tokens {args.tokens}`", ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/brisk")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=200, help="tokens of a neighbour's reply")
    parser.add_argument("--out", help="folder for the dated result (.md and .json)")
    args = parser.parse_args()

    rounds, rss_bytes = [], []
    with Server(args.binary, *pace.FLAGS) as busy, Server(args.binary, *pace.FLAGS) as again, Server(args.binary, *pace.FLAGS) as full, pace.stalled(full):
        acts = {
            "reading": lambda: pace.beside_running(busy, args.tokens, pace.read_all),
            "slow": lambda: pace.beside_running(busy, args.tokens, pace.read_slowly),
            "reading again": lambda: pace.beside_running(busy, args.tokens, pace.read_all),
            "alone": lambda: pace.time_neighbours(busy, args.tokens),
            "stalled": lambda: pace.time_neighbours(full, args.tokens),
            "alone again": lambda: pace.time_neighbours(again, args.tokens),
        }
        for act in acts.values():
            act()
        for turn in range(args.rounds):
            order = ARMS[turn % len(ARMS):] + ARMS[:turn % len(ARMS)]
            # Forwards and backwards, so that no arm always follows the same one.
            times = {arm: acts[arm]() for arm in (order if turn % 2 else reversed(order))}
            rounds.append(times)
            rss_bytes.append(full.rss_bytes())
            print(f"round {turn + 1} of {args.rounds}: " + ", ".join(f"{arm} {times[arm]:.2f}" for arm in ARMS), file=sys.stderr, flush=True)
        assert full.gauge("num_requests_running") + full.gauge("num_requests_waiting") > 0, "the write timeout ended the stalled streams before the last round"
    lines = report(args, rounds, rss_bytes)
    print("\n".join(lines))
    if args.out:
        stem = os.path.join(args.out, f"{datetime.date.today()}-slow-reader")
        with open(stem + ".md", "w") as out:
            out.write("\n".join(lines))
        with open(stem + ".json", "w") as out:
            json.dump({"p99_ms": rounds, "rss_bytes": rss_bytes}, out, indent=1)


if __name__ == "__main__":
    main()
