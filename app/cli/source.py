"""What an input file says of its batch, before it is uploaded."""

from __future__ import annotations

import json
from pathlib import Path

from app.domain.endpoints import CHAT, ENDPOINTS
from app.domain.request import named_model


def first_model(source: Path) -> str | None:
    """The model on which the batch would run: all lines name the same."""
    with source.open("rb") as lines:
        return next((named_model(line) for line in lines if line.strip()), None)


def endpoint_of(source: Path) -> str:
    """That of the first line which names one that there is; that of chats where none does, and validation says so."""
    with source.open("rb") as lines:
        return next((url for url in map(_url, lines) if url in ENDPOINTS), CHAT.path)


def _url(line: bytes) -> str:
    try:
        return str(json.loads(line)["url"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
