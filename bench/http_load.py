"""Runs `wrk` against servers on this machine, and says what the machine was: shared by the benches of cached replies."""

import contextlib
import http.client
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-the-key-of-the-bench"
QUESTION = "What is Brisk and who would want to use it?"
LISTENING = re.compile(r"listening on http://([\d.]+):(\d+)")

# What wrk prints at its end: one line of JSON, times in microseconds.
DONE = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests":%d,"duration_us":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"p999_us":%d,"max_us":%d,"errors":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), latency.max, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Brisk:
    """`brisk serve` with a key, metrics, and its log in a file, as a context manager."""

    def __init__(self, binary, *args):
        self.folder = tempfile.TemporaryDirectory(prefix="brisk-bench-")
        self.log = open(os.path.join(self.folder.name, "log"), "wb")
        # No variable and no file of whoever runs this may change what is measured.
        env = {name: value for name, value in os.environ.items() if not name.startswith("BRISK_")}
        self.process = subprocess.Popen(
            [os.path.abspath(binary), "serve", "--port", "0", "--api-key", KEY, "--log-format", "json", *args],
            cwd=self.folder.name, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            found = LISTENING.search(line)
            if found:
                self.host, self.port = found[1], int(found[2])
                break
        else:
            raise SystemExit(f"{binary} ended without printing its address")
        self.url = f"http://{self.host}:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        _, _, text = post(self.host, self.port, "/metrics", None)
        lines = [line for line in text.decode().splitlines() if re.split(r"[{ ]", line)[0] == name]
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in wanted))

    def hits(self):
        return self.metric("brisk_replies_total", cache="hit")

    def requests(self):
        return self.metric("brisk_requests_total")


def post(host, port, path, body, timeout=120):
    """One request with the key (a GET where there is no body): status, headers, body."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body=None if body is None else json.dumps(body).encode(), headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def wrk(url, body, connections, seconds):
    """Asks the same over and over, with the key; rate, percentiles and errors."""
    script = DONE
    if body is not None:
        script += f"wrk.method = 'POST'\nwrk.body = [==[{json.dumps(body)}]==]\n"
        script += f"wrk.headers['Content-Type'] = 'application/json'\nwrk.headers['Authorization'] = 'Bearer {KEY}'\n"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        # One thread of wrk is far from busy at these rates and leaves the server what there is of processors.
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", file.name, url]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = json.loads(next(line for line in said.splitlines() if line.startswith("RESULT"))[len("RESULT "):])
    assert result["errors"] == 0, f"{url}: {said}"
    return {**result, "per_second": result["requests"] / result["duration_us"] * 1e6}


def at_once(num, ask):
    """What `ask` gives to `num` threads that start together."""
    barrier, results = threading.Barrier(num), [None] * num

    def run(i):
        barrier.wait()
        results[i] = ask()

    threads = [threading.Thread(target=run, args=[i]) for i in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def quiet_s():
    """Processor seconds of this machine so far in which it did nothing, and all of them."""
    times = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    return (times[3] + times[4]) / ticks, sum(times) / ticks


def wait_until_quiet(least_idle, limit_s):
    """Waits until the processors are idle for this share of a second; the share at the end."""
    end = time.monotonic() + limit_s
    while True:
        idle, total = quiet_s()
        time.sleep(1)
        idle_after, total_after = quiet_s()
        share = (idle_after - idle) / max(total_after - total, 1e-9)
        if share >= least_idle or time.monotonic() > end:
            return share


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return f"{cpu}, {os.cpu_count()} processors, shared by servers and wrk; Linux {platform.release()}"


def commit():
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return git.stdout.strip() or "unknown"


def wrk_version():
    # wrk ends with 1 when it is asked for its version.
    return subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split(" Copyright")[0].strip()


def brisk_version(binary):
    return subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.strip()


def need_wrk():
    if not shutil.which("wrk"):
        raise SystemExit("this bench needs wrk: apt-get install wrk")


def median(rounds, figure):
    return statistics.median(it[figure] for it in rounds)


def shown_ms(microseconds):
    return f"{microseconds / 1e3:.3f}"


def rows(arms):
    """A table of arms; each has a name, a number of connections and its rounds."""
    lines = ["| what | connections | p50, ms | p90, ms | p99, ms | p99.9, ms | requests/s | requests/s, all rounds |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for name, connections, rounds in arms:
        times = " | ".join(shown_ms(median(rounds, f"{p}_us")) for p in ("p50", "p90", "p99", "p999"))
        rates = [it["per_second"] for it in rounds]
        lines.append(f"| {name} | {connections} | {times} | {statistics.median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} |")
    return lines


def write(folder, stem, lines, data):
    """Prints the result, and keeps it where a folder is named."""
    print("\n".join(lines))
    if folder:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{stem}.md"), "w") as out:
            out.write("\n".join(lines))
        with open(os.path.join(folder, f"{stem}.json"), "w") as out:
            json.dump(data, out, indent=1)
