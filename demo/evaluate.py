"""Asks a running Brisk the held-out questions: `python3 evaluate.py --url http://127.0.0.1:8080`.

Needs only the standard library. Each question of heldout.jsonl goes to /v1/chat/completions at temperature 0; the
answer is right when one of the row's `must_contain` patterns occurs in it. Exits 1 below `--least` right answers.
"""

import argparse
import json
import re
import sys
import urllib.request
from pathlib import Path


def call(url, key, body=None):
    """The JSON reply to a GET, or to a POST of `body`."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=120) as reply:
        return json.load(reply)


def main():
    """Asks, prints the misses and the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--questions", type=Path, default=Path(__file__).parent / "heldout.jsonl")
    parser.add_argument("--least", type=int, default=85)
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.questions.read_text().splitlines() if line.strip()]
    url = options.url.rstrip("/")
    model = call(f"{url}/v1/models", options.api_key)["data"][0]["id"]
    right = 0
    for row in rows:
        messages = row.get("messages") or [{"role": "user", "content": row["question"]}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 120}
        answer = call(f"{url}/v1/chat/completions", options.api_key, body)["choices"][0]["message"]["content"]
        if any(re.search(pattern, answer) for pattern in row["must_contain"]):
            right += 1
        else:
            print(f"miss: {messages[-1]['content']}\n      {answer}")
    print(f"demo model: {right} of {len(rows)} held-out questions answered with the right fact")
    sys.exit(right < options.least)


if __name__ == "__main__":
    main()
