#!/usr/bin/env python3
"""Times kept replies of Brisk against LiteLLM's proxy, interleaved, and prints medians and ratios.

    apt-get install wrk
    python3 bench/vs_litellm.py --binary target/release/brisk --venv target/tools/litellm --out bench/results

LiteLLM comes from PyPI into --venv, unless it is there. It has a key and its in-memory cache, one worker, as it starts
by default, and as its OpenAI server a Brisk that keeps nothing. Both are asked the same question over and over with the
same headers. That LiteLLM answers from its own cache is checked by that Brisk's /metrics: nothing arrives there.
"""

import argparse
import contextlib
import datetime
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

from http_load import KEY, QUESTION, Brisk, at_once, brisk_version, commit, machine, median, need_wrk, post, rows, wait_until_quiet, wrk, wrk_version, write

PATH = "/v1/chat/completions"
CONNECTIONS = [1, 16]
NUM_AT_ONCE = 100
START_LIMIT_S = 180
CONFIG = """\
model_list:
  - model_name: brisk
    litellm_params:
      model: openai/{model}
      api_base: {url}/v1
      api_key: {key}
litellm_settings:
  cache: true
  cache_params:
    type: local
    ttl: 86400
general_settings:
  master_key: {key}
"""


class LiteLLM:
    """The proxy on a free port, its log in a file, as a context manager."""

    def __init__(self, venv, backend, model, workers):
        self.folder = tempfile.TemporaryDirectory(prefix="litellm-bench-")
        with open(os.path.join(self.folder.name, "config.yaml"), "w") as config:
            config.write(CONFIG.format(model=model, url=backend.url, key=KEY))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host, self.port = probe.getsockname()
        self.url = f"http://{self.host}:{self.port}"
        self.log = open(os.path.join(self.folder.name, "log"), "w+b")
        # The price list of models comes with the package instead of from the network.
        env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [os.path.join(venv, "bin/litellm"), "--config", "config.yaml", "--host", self.host, "--port", str(self.port), "--num_workers", str(workers)]
        self.process = subprocess.Popen(command, cwd=self.folder.name, env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise

    def _wait(self):
        end = time.monotonic() + START_LIMIT_S
        while True:
            with contextlib.suppress(OSError):
                if post(self.host, self.port, "/health/liveliness", None)[0] == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                raise SystemExit(f"LiteLLM does not start:\n{self.log.read().decode(errors='replace')[-4000:]}")
            time.sleep(0.5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()


def install(venv):
    """LiteLLM's version in `venv`, which is made where it is missing."""
    python = os.path.join(venv, "bin/python")
    if not os.path.exists(os.path.join(venv, "bin/litellm")):
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "litellm[proxy]"], check=True)
    version = "import importlib.metadata as m; print(m.version('litellm'))"
    return subprocess.run([python, "-c", version], check=True, capture_output=True, text=True).stdout.strip()


def equal_requests(target, model, backend, turn):
    """Asks one new question many times at once; how many requests arrived at `backend`."""
    question = f"Which of these came first in round {turn}?"
    body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 64}
    before = backend.metric("vllm:request_success_total")
    replies = at_once(NUM_AT_ONCE, lambda: post(target.host, target.port, PATH, body)[0])
    return {"ok": replies.count(200), "generations": int(backend.metric("vllm:request_success_total") - before)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/brisk")
    parser.add_argument("--venv", default="target/tools/litellm", help="virtual environment with LiteLLM, made where it is missing")
    parser.add_argument("--workers", type=int, default=1, help="processes of LiteLLM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--wait", type=int, default=0, help="seconds to wait at most until the machine is quiet")
    parser.add_argument("--out", help="folder for the dated result (.md and .json)")
    args = parser.parse_args()
    need_wrk()
    version = install(args.venv)

    idle = wait_until_quiet(0.95, args.wait)
    load = os.getloadavg()[0]
    results = {(name, connections): [] for connections in CONNECTIONS for name in ("Brisk", "LiteLLM")}
    equal = {"Brisk": [], "LiteLLM": []}
    # Room for all of LiteLLM's requests in the queue: it sends each of them on.
    with Brisk(args.binary) as brisk, Brisk(args.binary, "--response-cache", "off", "--max-queued-requests", "1024") as backend:
        model = json.loads(post(brisk.host, brisk.port, "/v1/models", None)[2])["data"][0]["id"]
        with LiteLLM(args.venv, backend, model, args.workers) as litellm:
            targets = {"Brisk": (brisk, model), "LiteLLM": (litellm, "brisk")}
            bodies = {name: {"model": model, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 64} for name, (_, model) in targets.items()}
            texts = set()
            for name, (target, _) in targets.items():
                status, _, reply = post(target.host, target.port, PATH, bodies[name])
                assert status == 200, reply
                texts.add(json.loads(reply)["choices"][0]["message"]["content"])
                # Each of several workers keeps its own.
                wrk(target.url + PATH, bodies[name], 16, 2)
            assert len(texts) == 1, texts
            for turn in range(args.rounds):
                for (name, connections), rounds in results.items():
                    before = backend.requests()
                    rounds.append(wrk(targets[name][0].url + PATH, bodies[name], connections, args.seconds))
                    assert backend.requests() == before, "LiteLLM did not answer from its cache"
                rates = ", ".join(f"{name} {rounds[-1]['per_second']:,.0f}/s" for (name, _), rounds in results.items())
                print(f"round {turn + 1} of {args.rounds}: {rates}", file=sys.stderr, flush=True)
            for turn in range(args.rounds):
                equal["Brisk"].append(equal_requests(brisk, model, brisk, turn))
                equal["LiteLLM"].append(equal_requests(litellm, "brisk", backend, turn))

    lines = [
        f"# Kept replies: Brisk against LiteLLM, {datetime.date.today()}", "",
        f"- machine: {machine()}; before the first round {idle:.0%} idle, load average {load:.1f}",
        f"- {brisk_version(args.binary)}, commit {commit()}, the demonstration model; with a key, metrics, and the log as JSON in a file",
        f"- LiteLLM {version} from PyPI, {args.workers} worker{'s' if args.workers > 1 else ''}, in-memory cache, with a key; its log in a file",
        f"- {wrk_version()}, one thread; `{PATH}`, greedy, the same question; medians of {args.rounds} interleaved rounds of {args.seconds} s", "",
        *rows((name, connections, rounds) for (name, connections), rounds in results.items()), "",
        "| LiteLLM / Brisk | 1 connection | 16 connections |", "| --- | --- | --- |",
    ]
    for what, figure in [("p50", "p50_us"), ("p99", "p99_us")]:
        ratios = [median(results["LiteLLM", connections], figure) / median(results["Brisk", connections], figure) for connections in CONNECTIONS]
        lines.append(f"| {what} | " + " | ".join(f"**{ratio:.0f}**" for ratio in ratios) + " |")
    ratios = [median(results["Brisk", connections], "per_second") / median(results["LiteLLM", connections], "per_second") for connections in CONNECTIONS]
    lines.append("| requests/s, Brisk / LiteLLM | " + " | ".join(f"**{ratio:.0f}**" for ratio in ratios) + " |")
    lines += ["", f"| {NUM_AT_ONCE} equal requests at once | generations, each round | answered 200, fewest |", "| --- | --- | --- |"]
    for name, turns in equal.items():
        lines.append(f"| {name} | {', '.join(str(it['generations']) for it in turns)} | {min(it['ok'] for it in turns)} |")
    lines += ["", f"Command: `python3 bench/vs_litellm.py --workers {args.workers} --rounds {args.rounds} --seconds {args.seconds}`", ""]
    data = {"arms": {f"{name}, {connections}": rounds for (name, connections), rounds in results.items()}, "equal_requests": equal, "litellm": version}
    write(args.out, f"{datetime.date.today()}-vs-litellm", lines, data)


if __name__ == "__main__":
    main()
