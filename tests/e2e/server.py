"""Starts the real binary on a free port, talks plain HTTP to it, and stops it again."""

import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

LISTENING = re.compile(rb"Brisk is listening on http://([\d.]+):(\d+)")
START_LIMIT_S = 60


class Server:
    """`brisk serve` with the given flags, as a context manager."""

    def __init__(self, binary, *args):
        self.binary = binary
        self.folder = tempfile.TemporaryDirectory(prefix="brisk-e2e-")
        # No variable and no file of whoever runs the tests may change what is tested.
        env = {name: value for name, value in os.environ.items() if not name.startswith("BRISK_")}
        self.process = subprocess.Popen(
            [os.path.abspath(binary), "serve", "--port", "0", *args],
            cwd=self.folder.name, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.said = b""
        self.host, self.port = self._address()
        self.url = f"http://{self.host}:{self.port}"
        # The pipe must not fill up while nobody reads it.
        threading.Thread(target=self._drain, daemon=True).start()

    def _address(self):
        limit = threading.Timer(START_LIMIT_S, self.process.kill)
        limit.start()
        try:
            for line in self.process.stdout:
                self.said += line
                found = LISTENING.search(line)
                if found:
                    return found[1].decode(), int(found[2])
        finally:
            limit.cancel()
        raise RuntimeError(f"the server ended with {self.process.wait()}:\n{self.said.decode(errors='replace')}")

    def _drain(self):
        for line in self.process.stdout:
            self.said = (self.said + line)[-1_000_000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Asks the server to end; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = "killed, for it did not end when told to"
        self.folder.cleanup()
        return status

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))

    def request(self, method, path, body=None, headers=None, timeout=30):
        """One request on a connection of its own: (status, headers, body)."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            headers = dict(headers or {})
            if body is not None:
                headers.setdefault("Content-Type", "application/json")
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def gauge(self, name, headers=None, label=""):
        """The value of the first metric whose name ends in `name`, with this label if one is given."""
        _, _, text = self.request("GET", "/metrics", headers=headers)
        for line in text.decode().splitlines():
            if not line.startswith("#") and re.split(r"[{ ]", line)[0].endswith(name) and label in line:
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(f"/metrics has no {name} {label}")

    def num_ended(self):
        """Choices and generations that ended, however they did."""
        lines = self.request("GET", "/metrics")[2].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:request_success_total{"))

    def num_aborted(self):
        """Generations that ended because nobody listened any more."""
        return self.gauge("request_success_total", label='finished_reason="abort"')


def until(condition, what, limit_s=10):
    """Polls until `condition` holds; there is no other way to see into another process."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit_s} s in vain until {what}")
        time.sleep(0.02)
