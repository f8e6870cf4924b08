from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from app.domain.intensity import HOUR
from app.services import intensity, reporting
from app.services.settlement import SETTLED, settle
from app.store import intensity as stored
from app.store import results, windows
from app.store.batches import Batch
from app.store.database import TENANT
from app.store.windows import Window
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL, a_result, line, store_batch
from tests.support.grid import BASIS, ScriptedProvider, a_point
from tests.support.services import Desk, Desks, jsonl

KWH_J = 3.6e6


def spent(desk: Desk, *rows: dict[str, Any]) -> Batch:
    """A batch of results of a kilowatt-hour each, with PUE 1.5 and 100 g/kWh, unless they say otherwise."""
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=len(rows))
        common = {"energy_j": KWH_J, "pue": 1.5, "intensity_g_per_kwh": 100.0, "operational_g": 150.0}
        found = [a_result(batch, number, **{**common, **row}) for number, row in enumerate(rows, 1)]
        results.record(connection, found)
    return batch


def window(desk: Desk, **changes: Any) -> None:
    values: dict[str, Any] = {
        "worker": "w", "started_at": NOON - HOUR, "ended_at": NOON, "energy_j": 1.0, "device_s": 1.0,
        "idle_energy_j": 0.0, "idle_device_s": 0.0, "energy_basis": "modelled", "zone": "WORLD", "model": MODEL,
        "intensity_g_per_kwh": 100.0, "intensity_basis": BASIS, "intensity_origin": "last good",
    }  # fmt: skip
    with desk.context.database.transaction() as connection:
        windows.add(connection, Window(**{**values, **changes}))


def arrives(desk: Desk, hours: float, grams: float, **changes: Any) -> None:
    """A figure is delivered, and the ledger settled with it."""
    intensity.store(desk.context.database, [a_point(hours, grams, **changes)], desk.clock.now())


def ledger(desk: Desk, table: str = "results") -> Sequence[Any]:
    priced = "intensity_g_per_kwh, intensity_origin, first_intensity_g_per_kwh"
    rest = ", operational_g, first_operational_g" if table == "results" else ""
    return desk.rows(f"SELECT {priced}{rest} FROM {table} ORDER BY {'line' if rest else 'id'}")


def test_a_row_is_priced_anew_when_its_hour_s_own_figure_comes(desk: Desk) -> None:
    spent(desk, {"intensity_origin": "forecast"})
    window(desk)
    arrives(desk, 0, 200.0)
    assert ledger(desk) == [(200.0, "measured", 100.0, 300.0, 150.0)]
    assert ledger(desk, "windows") == [(200.0, "measured", 100.0)]


def test_the_first_figure_is_kept_through_every_revision(desk: Desk) -> None:
    spent(desk, {"intensity_origin": "last good"})
    window(desk)
    arrives(desk, 0, 200.0, is_estimated=True)
    assert ledger(desk) == [(200.0, "estimated", 100.0, 300.0, 150.0)]
    arrives(desk, 0, 240.0, is_estimated=True)
    arrives(desk, 0, 260.0)
    assert ledger(desk) == [(260.0, "measured", 100.0, 390.0, 150.0)]
    assert ledger(desk, "windows") == [(260.0, "measured", 100.0)]


def test_an_estimate_that_is_confirmed_changes_no_grams(desk: Desk) -> None:
    spent(desk, {"intensity_origin": "estimated"})
    arrives(desk, 0, 100.0, is_estimated=True)
    assert ledger(desk) == [(100.0, "estimated", None, 150.0, None)]
    arrives(desk, 0, 100.0)
    assert ledger(desk) == [(100.0, "measured", None, 150.0, None)]


def test_rows_of_other_hours_zones_and_bases_stay(desk: Desk) -> None:
    spent(
        desk,
        {"finished_at": NOON - timedelta(microseconds=1)},
        {"finished_at": NOON + HOUR},
        {"zone": "DE"},
        {"intensity_basis": "direct-average"},
        {"zone": "", "intensity_basis": "", "intensity_origin": ""},
        {"finished_at": NOON + HOUR - timedelta(microseconds=1)},
    )
    arrives(desk, 0, 200.0)
    before = (100.0, "measured", None, 150.0, None)
    assert ledger(desk)[:4] == [before] * 4
    assert ledger(desk)[4:] == [(100.0, "", None, 150.0, None), (200.0, "measured", 100.0, 300.0, 150.0)]


def test_to_settle_again_changes_nothing(desk: Desk) -> None:
    spent(desk, {"intensity_origin": "static"}, {"intensity_origin": "measured"})
    window(desk)
    with desk.context.database.transaction() as connection:
        stored.put(connection, [a_point(0, 200.0)], NOON)
        again = [settle(connection, "WORLD", BASIS, since=NOON - HOUR, now=NOON) for _ in range(3)]
    assert again == [3, 0, 0]


def test_a_declared_figure_stays_a_declared_one(desk: Desk) -> None:
    spent(desk, {"intensity_origin": "static"})
    arrives(desk, 0, 100.0, provider="static")
    assert ledger(desk) == [(100.0, "static", None, 150.0, None)]


def test_what_is_older_than_a_month_stays(desk: Desk) -> None:
    spent(desk, {})
    desk.clock.advance(SETTLED)
    arrives(desk, 0, 200.0)
    assert ledger(desk)[0][0] == 200.0
    desk.clock.advance(seconds=1)
    arrives(desk, 0, 300.0)
    assert ledger(desk)[0][0] == 200.0


def test_a_refresh_settles_what_was_priced_without_it(desks: Desks, engine: EchoEngine) -> None:
    """A whole batch runs while the source is late; its figure, and a revision of it, come afterwards."""
    desk = desks.desk(pue=1.2)
    provider = ScriptedProvider(250.0)
    provider.missing.add(NOON)
    intensity.refresh(desk.context, provider)
    batch = desk.validated(jsonl([line("a"), line("b", text="[refuse]")]))
    desk.work(desk.worker(engine))
    first = desk.rows("SELECT sum(operational_g) FROM results")[0]
    assert desk.rows("SELECT DISTINCT intensity_origin FROM results") == ["last good"]
    output = desk.lines(desk.batch(batch.id).output_file_id)[0]["sprout"]
    assert (output["intensity_origin"], output["intensity_g_per_kwh"]) == ("last good", 250.0)

    provider.missing.clear()
    for minutes, grams in ((10, 500.0), (60, 750.0)):
        desk.clock.advance(minutes=minutes)
        provider.figures[NOON] = grams
        intensity.refresh(desk.context, provider)
    assert desk.rows("SELECT DISTINCT intensity_origin, intensity_g_per_kwh, pue FROM results") == [
        ("measured", 750.0, 1.2)
    ]
    assert desk.rows("SELECT sum(operational_g) FROM results")[0] == pytest.approx(3 * first)
    assert desk.rows("SELECT count(*) FROM windows WHERE intensity_origin <> 'measured'") == [0]
    found = reporting.report(desk.context, TENANT, batch.id)
    answered, failed = found.levels
    assert answered.first_operational_g is not None
    assert answered.operational_g == pytest.approx(3 * answered.first_operational_g)
    assert failed.operational_g == pytest.approx(3 * (failed.first_operational_g or 0))
    assert [(count.basis, count.origin, count.requests) for count in found.intensity_origins] == [
        (BASIS, "measured", 2)
    ]
    assert desk.lines(desk.batch(batch.id).output_file_id)[0]["sprout"] == output, "the file keeps the first figures"


def test_figures_on_two_bases_have_no_estimate_and_no_sum(desk: Desk) -> None:
    batch = spent(desk, {}, {"intensity_basis": "direct-average", "operational_g": 60.0})
    found = reporting.report(desk.context, TENANT, batch.id)
    assert [(total.intensity_basis, total.operational_g) for total in found.levels] == [
        ("direct-average", 60.0),
        ("lifecycle-average", 150.0),
    ]
    assert found.l0 == []
    assert found.l0_refused is not None
    assert "bases direct-average and lifecycle-average cannot be summed" in found.l0_refused
    assert found.intensity_bases == ["direct-average", "lifecycle-average"]


def test_an_error_that_never_ran_has_no_basis_to_mix(desk: Desk) -> None:
    batch = spent(desk, {})
    with desk.context.database.transaction() as connection:
        other = store_batch(connection, lines=1)
        results.fail_unanswered(connection, other.id, code="batch_expired", message="Late.", now=NOON)
    assert reporting.report(desk.context, TENANT, batch.id).l0_refused is None
    (level,) = reporting.report(desk.context, TENANT, other.id).levels
    assert level.intensity_basis == ""
