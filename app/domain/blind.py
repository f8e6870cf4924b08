"""Asking a person which of two answers is better without letting on which is which.

Everything that could give it away hangs on the sample's seed, a random secret that never leaves the database: the name
of a pair, from which its level cannot be told, and the place in which the level's answer is shown.
"""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from hashlib import blake2b

from app.domain.errors import InvalidInput
from app.domain.judging import Vote, vote

LONGEST_NAME = 64
"""Characters of a voter's name."""

_PAIR = re.compile(r"pair_([0-9a-f]{32})([0-9a-f]{32})")


class Choice(StrEnum):
    """What a voter says of a pair as it is shown."""

    FIRST = "first"
    SECOND = "second"
    NEITHER = "neither"


def voter_name(text: str) -> str:
    """The name under which somebody votes.

    Raises:
        InvalidInput: it is empty, too long or cannot be printed.
    """
    name = text.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"`voter` must be a name of 1 to {LONGEST_NAME} printable characters.", param="voter")
    return name


def pair_id(ticket: str, seed: str, voter: str, level: int) -> str:
    """The name of a pair for one voter: the sample's `ticket`, 32 hexadecimal digits, and a signature."""
    return f"pair_{ticket}{_signature(seed, voter, level)}"


def ticket_of(pair: str) -> str | None:
    """The ticket in the name of a pair; None if this is none."""
    found = _PAIR.fullmatch(pair)
    return found[1] if found else None


def level_of(pair: str, seed: str, voter: str, levels: int) -> int | None:
    """The level that the name of a pair was given for, one of `levels`; None if it was not given to this voter."""
    found = _PAIR.fullmatch(pair)
    if found is None:
        return None
    among = (level for level in range(1, levels) if hmac.compare_digest(found[2], _signature(seed, voter, level)))
    return next(among, None)


def level_at(seed: str, voter: str, level: int) -> int:
    """The place, 0 or 1, in which a voter is shown the level's answer: a coin that always falls alike."""
    return _keyed(seed, voter, level, purpose=b"place", size=1)[0] & 1


def said(choice: Choice, *, level_at: int) -> Vote:
    """What a choice says about the level whose answer was shown in place `level_at`."""
    preferred = {Choice.FIRST: 0, Choice.SECOND: 1, Choice.NEITHER: None}[choice]
    return vote(preferred, level_at=level_at)


def _signature(seed: str, voter: str, level: int) -> str:
    return _keyed(seed, voter, level, purpose=b"name", size=16).hex()


def _keyed(seed: str, voter: str, level: int, *, purpose: bytes, size: int) -> bytes:
    return blake2b(f"{level} {voter}".encode(), key=seed.encode(), person=purpose, digest_size=size).digest()
