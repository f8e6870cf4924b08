"""Identifiers in OpenAI's style."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """`prefix` followed by 96 random bits in hexadecimal."""
    return prefix + secrets.token_hex(12)
