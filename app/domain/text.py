"""Texts out of what users and models send."""

from __future__ import annotations

from collections.abc import Mapping


def text_of(content: object) -> str:
    """A message's content as one text: its own, or that of its parts, line by line."""
    if isinstance(content, list):
        text = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    else:
        text = str(content or "")
    return storable(text)


def storable(text: str) -> str:
    """Without what JSON can spell, but what can be neither stored nor sent: halves of surrogate pairs, and NUL."""
    return text.encode(errors="replace").decode().replace("\0", "?")
