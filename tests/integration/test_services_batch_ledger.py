"""What batches and lines say they used, what L0 would have cost, and what that saved."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from app.domain.batch import BatchStatus
from app.services import batch_ledger, finalization, intensity, reconciliation
from app.store.batches import Batch
from tests.support.api import Api
from tests.support.clock import NOON
from tests.support.factories import a_request, a_result, store_batch, store_mix, store_results
from tests.support.grid import a_point
from tests.support.services import Desk

Row = dict[str, Any]
KWH_J = 3.6e6
SUMS = {
    "levels", "energy_j", "energy_basis", "device_s", "intensity_g_per_kwh", "intensity_basis", "operational_g",
    "embodied_g", "footprint_g", "l0_energy_j", "l0_footprint_g", "l0_footprint_g_interval", "l0_method", "saved_g",
    "saved_g_interval", "pricing",
}  # fmt: skip


def ended(desk: Desk, *rows: Row) -> Batch:
    """An ended batch of results of 10 J and a gram, at L1 that was drawn, unless they say otherwise."""
    with desk.context.database.transaction() as connection:
        mix = store_mix(connection)
        entries = [a_request(number, workload=row.get("workload", "default")) for number, row in enumerate(rows, 1)]
        batch = store_batch(connection, lines=entries, status=BatchStatus.FINALIZING, in_progress_at=NOON)
        drawn = {
            "level": 1, "mix_id": mix.id, "probability": 0.5, "energy_j": 10.0, "operational_g": 0.75,
            "embodied_g": 0.25,
        }  # fmt: skip
        found = [a_result(batch, number, **{**drawn, **row}) for number, row in enumerate(rows, 1)]
        store_results(connection, batch, found)
    finalization.finalize(desk.context, batch.id)
    return desk.batch(batch.id)


def sprout_of(desk: Desk, batch: Batch, line: int) -> Row:
    found: Row = next(e for e in desk.lines(batch.output_file_id) if e["custom_id"] == f"request-{line}")["sprout"]
    return found


def test_a_batch_sums_up_what_it_used_and_saved(desk: Desk) -> None:
    desk.measure(energy_j=20.0, requests=10, energy_sd_j=3.0)
    batch = ended(desk, {}, {}, {"level": 0}, {"status_code": 400, "energy_j": 4.0, "device_s": 0.1})
    ledger = batch.ledger
    assert ledger is not None
    assert set(ledger) == SUMS
    assert ledger["levels"] == {"L0": 1, "L1": 2}
    assert (ledger["energy_j"], ledger["energy_basis"], ledger["device_s"]) == (34.0, "modelled", 1.6)
    assert (ledger["operational_g"], ledger["embodied_g"], ledger["footprint_g"]) == (3.0, 1.0, 4.0)
    assert (ledger["intensity_g_per_kwh"], ledger["intensity_basis"]) == (480.0, "lifecycle-average")
    # Three at 20 J and a tenth of a gram each joule, and what failed.
    assert (ledger["l0_energy_j"], ledger["l0_footprint_g"], ledger["saved_g"]) == (64.0, 7.0, 3.0)
    assert ledger["l0_method"] == "mean of this workload's earlier requests at L0"
    low, high = ledger["saved_g_interval"]
    assert low < 3.0 < high
    assert (low + high) / 2 == pytest.approx(3.0)
    assert [end - 4.0 for end in ledger["l0_footprint_g_interval"]] == [low, high]
    assert ledger["pricing"] == "settled"


def test_a_line_says_what_l0_would_have_cost_where_that_is_known(desk: Desk) -> None:
    desk.measure(energy_j=20.0, requests=10)
    desk.measure(energy_j=20.0, requests=3, workload="rare")
    batch = ended(
        desk, {}, {"level": 0, "energy_j": 7.0}, {"mix_id": None, "probability": 1.0}, {"workload": "rare"},
        {"energy_j": 0.0, "operational_g": 0.0},
    )  # fmt: skip
    figures = [sprout_of(desk, batch, number) for number in range(1, 6)]
    assert [(line["l0_energy_j"], line["l0_footprint_g"], line["saved_g"]) for line in figures] == [
        (20.0, 2.0, 1.0),
        (7.0, 1.0, 0.0),
        (None, None, None),
        (None, None, None),
        (None, None, None),
    ]
    # Of one workload nothing is known, so nothing can be said of all.
    assert batch.ledger is not None
    assert [batch.ledger[name] for name in ("l0_footprint_g", "saved_g", "l0_method")] == [None] * 3
    assert batch.ledger["footprint_g"] == 4.25


def test_grams_on_two_bases_are_not_summed(desk: Desk) -> None:
    ledger = ended(desk, {}, {"intensity_basis": "direct-average"}).ledger
    assert ledger is not None
    assert ledger["energy_j"] == 20.0
    assert {name for name, value in ledger.items() if value is None} == {
        "intensity_g_per_kwh", "intensity_basis", "operational_g", "embodied_g", "footprint_g", "l0_energy_j",
        "l0_footprint_g", "l0_footprint_g_interval", "l0_method", "saved_g", "saved_g_interval",
    }  # fmt: skip


def test_a_batch_of_which_nothing_ran(desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=2, status=BatchStatus.CANCELLING)
    finalization.finalize(desk.context, batch.id)
    ledger = desk.batch(batch.id).ledger
    assert ledger is not None
    assert (ledger["levels"], ledger["footprint_g"], ledger["saved_g"], ledger["pricing"]) == ({}, 0.0, 0.0, None)


def test_sums_are_made_anew_when_an_hour_gets_its_own_figure(desk: Desk) -> None:
    estimated = {"energy_j": KWH_J, "operational_g": 480.0, "embodied_g": 0.0, "level": 0}
    batch = ended(desk, {**estimated, "intensity_origin": "forecast"}, estimated)
    other = ended(desk, {"zone": "ELSEWHERE"})
    assert (batch.ledger or {})["pricing"] == "estimated"
    assert sprout_of(desk, batch, 1)["pricing"] == "estimated"
    intensity.store(desk.context.database, [a_point(0, 200.0)], desk.clock.now())
    assert desk.rows("SELECT id FROM batches WHERE ledger_is_stale") == [batch.id]
    reconciliation.reconcile(desk.context)
    ledger = desk.batch(batch.id).ledger
    assert ledger is not None
    assert (ledger["operational_g"], ledger["intensity_g_per_kwh"], ledger["pricing"]) == (400.0, 200.0, "settled")
    assert desk.batch(other.id) == other
    assert desk.rows("SELECT id FROM batches WHERE ledger_is_stale") == []
    # What the stream says is settled too, what the file says is what was known at the end.
    (line, _) = Api(desk.context)("GET", f"/v1/batches/{batch.id}/results").text.splitlines()
    assert '"operational_g":200.0' in line


def test_a_running_batch_that_is_priced_anew_is_summed_up_when_it_ends(desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=1, status=BatchStatus.FINALIZING)
        store_results(connection, batch, [a_result(batch, 1)])
    intensity.store(desk.context.database, [a_point(0, 200.0)], desk.clock.now())
    batch_ledger.refresh(desk.context)
    assert desk.batch(batch.id).ledger is None
    finalization.finalize(desk.context, batch.id)
    before = desk.batch(batch.id)
    batch_ledger.refresh(desk.context)
    assert desk.batch(batch.id) == before
    assert (before.ledger or {})["intensity_g_per_kwh"] == 200.0


def test_a_list_of_batches_asks_the_database_as_often_as_one(desk: Desk) -> None:
    api, asked = Api(desk.context), [0]

    def count(*_: object) -> None:
        asked[0] += 1

    # Whoever calls first is looked up.
    api.get("/v1/batches")
    numbers = []
    for _ in range(2):
        for _ in range(3):
            ended(desk, {})
        asked[0] = 0
        event.listen(desk.context.database.raw(), "before_cursor_execute", count)
        try:
            shown = api.get("/v1/batches")["data"]
        finally:
            event.remove(desk.context.database.raw(), "before_cursor_execute", count)
        assert {batch["sprout"]["ledger"]["footprint_g"] for batch in shown} == {1.0}
        numbers.append((len(shown), asked[0]))
    assert numbers[0] == (3, numbers[1][1])
    assert numbers[1][0] == 6
