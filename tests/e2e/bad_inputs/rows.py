"""A case is a row: its number, what it is, what is sent, and what must come back."""

from dataclasses import dataclass, field
from typing import Any

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MODELS = "/v1/models"
ANY = object()


@dataclass
class Row:
    number: str
    what: str
    path: str
    body: Any  # bytes as they are, anything else as JSON
    status: int | tuple
    param: Any = ANY
    code: Any = ANY  # or a tuple of those that will do
    text: str = ""  # part of the answer
    headers: list = field(default_factory=list)
    method: str = "POST"


def chat(**fields):
    """A sound request, but for `fields`; a kept reply would say nothing of the engine."""
    return {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 2, "cache_control": "bypass", **fields}


def chat_text(content, **fields):
    return chat(messages=[{"role": "user", "content": content}], **fields)


def complete(prompt, **fields):
    return {"prompt": prompt, "temperature": 0, "max_tokens": 2, "cache_control": "bypass", **fields}
