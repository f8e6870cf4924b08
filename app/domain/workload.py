"""Workloads: classes of alike prompts, named by their user or discovered from their text."""

from __future__ import annotations

import re

from app.domain.errors import InvalidInput

DEFAULT_WORKLOAD = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def parse_workload(text: str, *, param: str) -> str:
    """A declared workload name.

    Raises:
        InvalidInput: not 1 to 64 letters, digits, dots, hyphens or underscores.
    """
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"{text[:80]!r} is not a workload name: use 1 to 64 letters, digits, '.', '-' or '_', starting with a "
            "letter or digit.",
            param=param,
            code="invalid_workload",
        )
    return text


DISCOVERED = "class:"
"""How the names of discovered workloads begin; no declared name has a colon."""


def discovered_name(number: int) -> str:
    return f"{DISCOVERED}{number}"


STRATUM = "~"
"""Between a workload and the number of its stratum; neither declared nor discovered workloads have it in their name."""


def stratum_name(workload: str, number: int) -> str:
    """The name under which a stratum of a workload has its mix, its profiles and its verdicts."""
    return f"{workload}{STRATUM}{number}"


def floor_of(name: str) -> str:
    """The workload whose quality floor covers `name`: a stratum's workload, otherwise the workload itself."""
    return name.partition(STRATUM)[0]


def declared_in(name: str) -> str | None:
    """The workload that the user declared, of a mix name; None if it was discovered, or not told apart at all."""
    workload = floor_of(name)
    return None if workload == DEFAULT_WORKLOAD or workload.startswith(DISCOVERED) else workload
