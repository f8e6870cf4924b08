from __future__ import annotations

import itertools

import pytest

from app.domain.shard import Cutter
from tests.support.factories import a_request


def tally(lines: list[int], size: int) -> Cutter:
    found = Cutter(size)
    assert [entry.line for entry in found.passing(map(a_request, lines))] == lines
    return found


@pytest.mark.parametrize(
    ("lines", "size", "expected"),
    [
        ([], 2, []),
        ([1], 2, [(1, 1)]),
        ([1, 2, 3, 4], 2, [(1, 2), (3, 4)]),
        ([1, 2, 3, 4, 5], 2, [(1, 2), (3, 4), (5, 5)]),
        ([2, 5, 9, 10, 400], 2, [(2, 5), (9, 10), (400, 400)]),
        ([7, 8, 9], 64, [(7, 9)]),
        ([3, 6], 1, [(3, 3), (6, 6)]),
    ],
)
def test_ranges_hold_equally_many_requests_whatever_lines_are_blank(
    lines: list[int], size: int, expected: list[tuple[int, int]]
) -> None:
    found = tally(lines, size)
    assert [(part.first, part.last) for part in found.ranges] == expected
    assert [part.requests for part in found.ranges[:-1]] == [size] * (len(found.ranges) - 1 if found.ranges else 0)
    assert sum(part.requests for part in found.ranges) == found.requests == len(lines)


def test_ranges_cover_every_request_once() -> None:
    lines = [number for number in range(1, 1000) if number % 7 and number % 10]
    inside = [[number for number in lines if first <= number <= last] for first, last, _ in tally(lines, 64).ranges]
    assert list(itertools.chain(*inside)) == lines
    assert [len(part) for part in inside[:-1]] == [64] * (len(inside) - 1)


def test_alike_requests_are_counted() -> None:
    kinds = [("mail", None), ("chat", 1), ("mail", 0), ("mail", None), ("chat", 1), ("mail", 2)]
    found = Cutter(64)
    entries = [a_request(n, workload=name, pinned_level=level) for n, (name, level) in enumerate(kinds, 1)]
    list(found.passing(entries))
    assert [tuple(share.values()) for share in found.composition] == [
        ("chat", 1, 2),
        ("mail", 0, 1),
        ("mail", 2, 1),
        ("mail", None, 2),
    ]
    assert Cutter(64).composition == []
