"""What must hold after every case, whatever was sent: the server lives, answers the same, and tells nothing."""

import json
import re
from urllib.parse import unquote_to_bytes

from wire import exchange, request_bytes

MAX_RSS_GROWTH_BYTES = 8 << 20
MAX_TOTAL_GROWTH_BYTES = 192 << 20
MAX_ERROR_BYTES = 2048
HEALTH_LIMIT_S = 1
# Paths, addresses, source positions and panics: nothing of the machine shows in a reply.
TELLTALE = re.compile(rb"/(?:root|home|tmp|usr|etc|work|proc|var)/[\w./-]*|0x[0-9a-f]{6,}|\.rs:\d|panicked|stack backtrace|RUST_BACKTRACE")
# A kept reply would say nothing of the engine.
CANARY = {"messages": [{"role": "user", "content": "What is Brisk?"}], "temperature": 0, "max_tokens": 12, "cache_control": "bypass"}


class Watch:
    """One server under test."""

    def __init__(self, server, key=None):
        self.server = server
        self.headers = [("Authorization", f"Bearer {key}")] if key else []
        self.secret = key.encode() if key else None
        self.golden = self._canary()
        # The first requests fill pools and buffers that stay, and the KV cache is memory once it is used.
        fill = {**CANARY, "n": 8, "max_tokens": 900, "ignore_eos": True}
        filled = exchange(server, request_bytes("POST", "/v1/chat/completions", fill, self.headers), timeout_s=120)
        assert filled.status == 200, filled.body[:300]
        for _ in range(20):
            assert self._canary() == self.golden, "the canary is not deterministic"
        self.first_rss_bytes = self.rss_bytes = server.rss_bytes()

    def _canary(self):
        response = exchange(self.server, request_bytes("POST", "/v1/chat/completions", CANARY, self.headers))
        assert response.status == 200, f"the canary got {response.status}: {response.body[:300]}"
        reply = json.loads(response.body)
        return json.dumps([reply["choices"], reply["usage"]["completion_tokens"]])

    def check(self, again=None):
        """Raises where an invariant is broken; `again` repeats the case."""
        status = self.server.process.poll()
        assert status is None, f"the server ended with {status}"
        health = exchange(self.server, request_bytes("GET", "/health/live"), timeout_s=HEALTH_LIMIT_S)
        assert health.status == 200, f"/health/live gave {health.status}"
        canary = self._canary()
        assert canary == self.golden, f"the canary changed to {canary}"
        growth = self._growth()
        if growth >= MAX_RSS_GROWTH_BYTES and again:
            # Memory is given back in the moment after the response. Once may be that moment.
            again()
            growth += self._growth()
        assert growth < MAX_RSS_GROWTH_BYTES, f"the server grew by {growth >> 10} KiB"
        total = self.rss_bytes - self.first_rss_bytes
        assert total < MAX_TOTAL_GROWTH_BYTES, f"the server grew by {total >> 10} KiB since its start"

    def _growth(self):
        before, self.rss_bytes = self.rss_bytes, self.server.rss_bytes()
        return self.rss_bytes - before

    def check_error(self, response, sent=b""):
        """An error is OpenAI's, short, and says nothing of the machine that the client did not say first."""
        body = response.body
        assert len(body) <= MAX_ERROR_BYTES, f"the error has {len(body)} bytes"
        for found in TELLTALE.findall(body):
            assert found in sent or found in unquote_to_bytes(sent), f"the error tells {found!r}"
        assert not self.secret or self.secret not in body, "the error tells the key"
        error = json.loads(body)["error"]
        assert isinstance(error["message"], str) and error["message"], body
        assert isinstance(error["type"], str) and {"param", "code"} <= error.keys(), body
        return error
