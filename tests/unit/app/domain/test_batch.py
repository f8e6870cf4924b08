from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.batch import (
    COMPLETION_WINDOWS,
    MOVES,
    BatchStatus,
    Schedule,
    parse_completion_window,
    parse_schedule,
    parse_zones,
    zone_within,
)
from app.domain.errors import InvalidInput

FINAL = {BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}


def test_the_statuses_are_openais_eight() -> None:
    assert {str(status) for status in BatchStatus} == {
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled",
    }  # fmt: skip


def test_every_status_says_where_it_may_go() -> None:
    assert set(MOVES) == set(BatchStatus)


def test_a_final_status_is_left_no_more() -> None:
    assert {status for status in BatchStatus if status.is_final} == FINAL


@pytest.mark.parametrize("start", BatchStatus)
def test_every_status_leads_to_an_end_and_never_back(start: BatchStatus) -> None:
    reached: set[BatchStatus] = set()
    front = set(MOVES[start])
    while front:
        reached |= front
        front = {target for status in front for target in MOVES[status]} - reached
    assert start not in reached
    assert start.is_final or reached & FINAL


def test_only_a_batch_that_is_finalized_completes() -> None:
    assert [status for status in BatchStatus if BatchStatus.COMPLETED in MOVES[status]] == [BatchStatus.FINALIZING]


def test_a_batch_that_has_its_answers_can_no_longer_be_cancelled() -> None:
    cancellable = {status for status in BatchStatus if BatchStatus.CANCELLING in MOVES[status]}
    assert cancellable == {BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS}


@pytest.mark.parametrize(
    ("text", "hours"), [("24h", 24), ("1h", 1), ("168h", 168), ("1d", 24), ("7d", 168), ("90h", 90)]
)
def test_completion_windows(text: str, hours: int) -> None:
    assert parse_completion_window(text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text",
    ["", "24", "h", "0h", "01h", "169h", "8d", "0d", "1.5h", "24H", " 24h", "24h\n", "1d12h", "60m", "٢٤h", "9999h"],
)  # fmt: skip
def test_other_completion_windows_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"from '1h' to '7d', such as '24h'") as refusal:
        parse_completion_window(text)
    assert refusal.value.param == "completion_window"


@given(st.text() | st.from_regex(r"\d{1,4}[hd]", fullmatch=True))
def test_a_completion_window_is_within_its_limits_or_refused(text: str) -> None:
    try:
        window = parse_completion_window(text)
    except InvalidInput:
        return
    shortest, longest = COMPLETION_WINDOWS
    assert shortest <= window <= longest


@pytest.mark.parametrize("schedule", Schedule)
def test_schedules(schedule: Schedule) -> None:
    assert parse_schedule(str(schedule)) is schedule


@pytest.mark.parametrize("text", ["", "ASAP", "carbon ", "later", "x" * 5000])
def test_other_schedules_are_refused(text: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"^Invalid value: .{0,90}\. Supported schedules are 'asap' and 'carbon'\.$"
    ) as refusal:
        parse_schedule(text)
    assert refusal.value.param == "metadata.sprout_schedule"


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        (None, ()), ("any", ("DE", "GB", "FR")), (" any ", ("DE", "GB", "FR")), ("DE", ("DE",)),
        ("FR, DE", ("FR", "DE")), ("GB,GB", ("GB",)),
    ],
)  # fmt: skip
def test_zones_in_which_a_batch_may_run(text: str | None, zones: tuple[str, ...]) -> None:
    assert parse_zones(text, ("DE", "GB", "FR")) == zones


@pytest.mark.parametrize("text", ["", ",", "DE,", "de", "DE GB", "DE,any", "any,any,DE", "\0", "x" * 5000])
def test_zones_without_workers_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"There are no workers in the zone .{0,90}: choose among DE, GB") as refusal:
        parse_zones(text, ("DE", "GB"))
    assert refusal.value.param == "metadata.sprout_zones"


@pytest.mark.parametrize(
    ("allowed", "zone", "found"),
    [((), "A", "A"), ((), "B", "A"), (("A", "B"), "B", "B"), (("B",), "A", "B"), (("C", "B"), "A", "C")],
)
def test_a_batch_runs_only_where_it_may(allowed: tuple[str, ...], zone: str, found: str) -> None:
    assert zone_within(allowed, zone, "A") == found
