"""Which deadlines can be promised: a batch that comes later must not break a promise that was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.deferral import Placement, plan
from app.domain.work import Floats, Work


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Works that were planned, and what they were promised."""

    placements: Sequence[Placement]
    promised: Sequence[bool]

    @property
    def endangered(self) -> frozenset[int]:
        """Those that were promised to be in time and, at half the capacity, would not be."""
        both = enumerate(zip(self.placements, self.promised, strict=True))
        return frozenset(index for index, (placement, promised) in both if promised and placement.late_h > 0)


def admit(works: Sequence[Work], asked: Iterable[int], capacity: Mapping[str, float], starts_h: Floats) -> Admission:
    """Plan `works`, and promise the deadlines of those that are `asked` for, by index, as far as that is safe.

    A deadline is promised if it is within reach at half the capacity, together with all that is promised already. What
    is not promised is planned to run at once, with the room that promises leave. Where several ask at once, those that
    would be late themselves are refused first, and all of them if others would be late for them.

    Raises:
        InvalidInput: see `plan`.
    """
    everyone = frozenset(asked)
    hoped = everyone
    found = _planned(works, everyone, hoped, capacity, starts_h)
    if not everyone or not found.endangered:
        return found
    refused = _planned(works, everyone, frozenset(), capacity, starts_h)
    while hoped:
        # Some may be endangered whoever is refused: fewer machines work than when they were promised.
        endangered = found.endangered - refused.endangered
        if not endangered:
            return found
        hoped -= (endangered & hoped) or hoped
        found = _planned(works, everyone, hoped, capacity, starts_h)
    return refused


def _planned(
    works: Sequence[Work], asked: frozenset[int], hoped: frozenset[int], capacity: Mapping[str, float], starts_h: Floats
) -> Admission:
    promised = [index in hoped if index in asked else work.promised for index, work in enumerate(works)]
    given = [replace(work, promised=kept) for work, kept in zip(works, promised, strict=True)]
    return Admission(placements=plan(given, capacity, starts_h), promised=promised)
