"""Results: first write wins, and sums over them are those that plain Python gets."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, select, text

from app.domain.preference import faded
from app.domain.savings import mean_at_l0
from app.store import ledger, mixes, profiles, recorded, requests, results, tables
from app.store.batches import Batch
from app.store.database import Database
from app.store.recorded import Place
from app.store.results import Result
from tests.support.clock import NOON
from tests.support.factories import MODEL, a_mix, a_request, a_result, a_run, store_batch, store_mix, store_results
from tests.support.waiting import eventually


def stored(connection: Connection, batch: Batch) -> dict[str, Result]:
    return {result.custom_id: result for result in results.in_line_order(connection, batch.id)}


def test_a_result_comes_back_as_it_was_recorded(connection: Connection) -> None:
    batch = store_batch(connection, lines=1)
    mix = store_mix(connection)
    body = {"choices": [{"message": {"content": "Grüße\n\t\\ \"'\u0000 🌱"}}], "usage": {"total_tokens": 5}}
    result = a_result(batch, 1, mix_id=mix.id, level=2, probability=1 / 3, body=body, energy_j=0.1)
    assert results.record(connection, [result]) == {1}
    assert stored(connection, batch) == {"request-1": result}


def test_the_first_result_of_a_request_stays(connection: Connection) -> None:
    batch = store_batch(connection, lines=3)
    first = [a_result(batch, number, body={"by": "first"}) for number in (1, 2)]
    second = [a_result(batch, number, body={"by": "second"}, energy_j=1.0) for number in (2, 3)]
    assert results.record(connection, first) == {1, 2}
    assert results.record(connection, second) == {3}
    assert results.record(connection, second) == frozenset()
    assert {key: result.body["by"] for key, result in stored(connection, batch).items()} == {
        "request-1": "first",
        "request-2": "first",
        "request-3": "second",
    }
    assert results.record(connection, []) == frozenset()


def test_many_results_at_once(connection: Connection) -> None:
    batch = store_batch(connection, lines=2500)
    written = results.record(connection, [a_result(batch, number) for number in range(1, 2501)])
    assert len(written) == len(stored(connection, batch)) == 2500


def test_of_two_workers_at_once_each_request_is_recorded_by_one(database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, lines=200)
    together = threading.Barrier(2)

    def record(worker: str) -> frozenset[str]:
        together.wait(timeout=20)
        written: frozenset[str] = frozenset()
        for first in range(1, 201, 10):
            rows = [a_result(batch, number, body={"by": worker}) for number in range(first, first + 10)]
            with database.transaction() as connection:
                written |= results.record(connection, rows)
        return written

    with ThreadPoolExecutor(2) as pool:
        both = {name: pool.submit(record, name) for name in ("one", "two")}
        written = {name: future.result(timeout=60) for name, future in both.items()}
    assert not written["one"] & written["two"]
    with database.transaction() as connection:
        found = stored(connection, batch)
    assert len(found) == 200
    assert {result.line: result.body["by"] for result in found.values()} == {
        key: name for name, keys in written.items() for key in keys
    }


@pytest.mark.parametrize("first_commits", [True, False])
def test_the_second_writer_waits_for_the_first(database: Database, first_commits: bool) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, lines=1)

    def second() -> frozenset[str]:
        with database.transaction() as connection:
            return results.record(connection, [a_result(batch, 1, body={"by": "second"})])

    with ThreadPoolExecutor(1) as pool, database.transaction() as watcher:
        with database.transaction() as first:
            assert results.record(first, [a_result(batch, 1, body={"by": "first"})]) == {1}
            waiting = pool.submit(second)
            eventually(lambda: watcher.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())
            if not first_commits:
                first.rollback()
        written = waiting.result(timeout=20)
    winner = "first" if first_commits else "second"
    assert written == (frozenset() if first_commits else {1})
    with database.transaction() as connection:
        assert stored(connection, batch)["request-1"].body == {"by": winner}


def test_results_come_in_line_order(connection: Connection) -> None:
    numbers = list(range(1, 1201))
    batch = store_batch(connection, lines=map(a_request, numbers))
    store_batch(connection, lines=3)
    shuffled = random.Random(1).sample(numbers, len(numbers))
    results.record(connection, [a_result(batch, number) for number in shuffled])
    found = [(result.line, result.custom_id) for result in results.in_line_order(connection, batch.id)]
    assert found == [(number, f"request-{number}") for number in numbers]


def fail(connection: Connection, batch: Batch, **changes: Any) -> int:
    return results.fail_unanswered(connection, batch.id, code="batch_expired", message="Too late.", now=NOON, **changes)


def test_what_has_no_answer_gets_an_error(connection: Connection) -> None:
    batch, other = store_batch(connection, lines=5), store_batch(connection, lines=2)
    answered = a_result(batch, 2)
    results.record(connection, [answered])
    assert fail(connection, batch) == 4
    found = stored(connection, batch)
    assert found["request-2"] == answered
    failed = found["request-1"]
    assert (failed.status_code, failed.error_code) == (None, "batch_expired")
    assert failed.body == {"code": "batch_expired", "message": "Too late."}
    assert (failed.energy_j, failed.operational_g, failed.mix_id) == (0.0, 0.0, None)
    assert stored(connection, other) == {}
    assert fail(connection, batch) == 0


def test_errors_for_some_lines_only(connection: Connection) -> None:
    batch = store_batch(connection, lines=5)
    assert fail(connection, batch, lines=(2, 3)) == 2
    assert set(stored(connection, batch)) == {"request-2", "request-3"}


def test_errors_keep_tenant_and_workload(connection: Connection) -> None:
    batch = store_batch(connection, lines=[a_request(1, workload="news")], tenant_id="ours")
    fail(connection, batch)
    found = stored(connection, batch)["request-1"]
    assert (found.tenant_id, found.workload) == ("ours", "news")


def test_a_late_answer_does_not_replace_an_error(connection: Connection) -> None:
    batch = store_batch(connection, lines=1)
    fail(connection, batch)
    assert results.record(connection, [a_result(batch, 1)]) == frozenset()


def a_ledger(connection: Connection, seed: int = 1) -> tuple[Batch, Sequence[Result]]:
    """A batch with 300 results of two workloads, drawn and pinned, answered and failed, in every mixture."""
    rng = random.Random(seed)
    batch = store_batch(connection, lines=300)
    drawn = {name: a_mix(workload=name) for name in ("default", "news")}
    mixes.add(connection, "default", a_run(), list(drawn.values()))
    rows = []
    for number in range(1, 301):
        level, workload = rng.randrange(3), rng.choice(list(drawn))
        was_drawn, answered = rng.random() < 0.7, rng.random() < 0.9
        row = a_result(
            batch,
            number,
            workload=workload,
            level=level,
            mix_id=drawn[workload].id if was_drawn else None,
            probability=rng.choice([0.01, 0.5, 0.9]) if was_drawn else 1.0,
            status_code=200 if answered else rng.choice([400, 408]),
            prompt_tokens=rng.randrange(100),
            completion_tokens=rng.randrange(100),
            energy_j=rng.random() * 100,
            device_s=rng.random(),
            operational_g=rng.random() / 100,
            embodied_g=rng.random() / 1000,
        )
        rows.append(row)
    expired = replace(rows[-1], status_code=None, error_code="batch_expired", mix_id=None)
    rows[-1] = expired
    results.record(connection, rows)
    return batch, rows


def test_totals_are_those_of_plain_python(connection: Connection) -> None:
    batch, rows = a_ledger(connection)
    a_ledger(connection, seed=2)
    found = ledger.totals(connection, batch.id)
    keys = [(total.workload, total.level, total.answered) for total in found]
    assert keys == sorted(keys, key=lambda key: (key[0], key[1], not key[2]))
    assert len(keys) == 12
    assert sum(total.requests for total in found) == 300
    for total in found:
        own = [
            row
            for row in rows
            if (row.workload, row.level, row.status_code == 200) == (total.workload, total.level, total.answered)
        ]
        pinned = [row for row in own if row.mix_id is None]
        assert total.requests == len(own)
        assert total.drawn == len(own) - len(pinned)
        for name in ("prompt_tokens", "completion_tokens", "energy_j", "device_s", "operational_g", "embodied_g"):
            assert getattr(total, name) == pytest.approx(sum(getattr(row, name) for row in own), rel=1e-12)
        assert total.pinned_energy_j == pytest.approx(sum(row.energy_j for row in pinned), rel=1e-12)
        assert total.pinned_g == pytest.approx(sum(row.operational_g + row.embodied_g for row in pinned), rel=1e-12)


def test_a_batch_without_results_has_no_totals(connection: Connection) -> None:
    batch = store_batch(connection, lines=1)
    assert ledger.totals(connection, batch.id) == []
    for sums in ledger.l0_sums(connection, batch.id, "default"):
        assert sums.requests == 0
        assert mean_at_l0(sums) is None
    assert ledger.energy_bases(connection, batch.id) == []
    assert ledger.origins(connection, batch.id) == []


def test_l0_sums_are_those_of_plain_python(connection: Connection) -> None:
    batch, rows = a_ledger(connection)
    a_ledger(connection, seed=2)
    own = [
        row
        for row in rows
        if row.workload == "news" and row.level == 0 and row.mix_id is not None and row.status_code == 200
    ]
    assert len(own) > 10
    energy = [row.energy_j for row in own]
    grams = [row.operational_g + row.embodied_g for row in own]
    p = [row.probability for row in own]
    for sums, figures in zip(ledger.l0_sums(connection, batch.id, "news"), (energy, grams), strict=True):
        pairs = list(zip(figures, p, strict=True))
        assert sums.requests == len(own)
        assert sums.weight == pytest.approx(sum(1 / b for b in p), rel=1e-12)
        assert sums.weight_squared == pytest.approx(sum(1 / b**2 for b in p), rel=1e-12)
        assert sums.weighted == pytest.approx(sum(a / b for a, b in pairs), rel=1e-12)
        assert sums.cross == pytest.approx(sum(a / b**2 for a, b in pairs), rel=1e-12)
        assert sums.weighted_squared == pytest.approx(sum(a**2 / b**2 for a, b in pairs), rel=1e-12)


@pytest.mark.parametrize("half_life_s", [60.0, 1e9])
def test_measured_profiles_are_those_of_plain_python(connection: Connection, half_life_s: float) -> None:
    _, rows = a_ledger(connection)
    now = max(row.finished_at for row in rows) + timedelta(seconds=30)
    found = profiles.measured(connection, "default", MODEL, now=now, half_life_s=half_life_s)
    assert len(found) == 6
    for profile in found:
        own = [
            row
            for row in rows
            if (row.workload, row.level, row.status_code) == (profile.workload, profile.level, 200) and row.mix_id
        ]
        ages_s = [(now - row.finished_at).total_seconds() for row in own]
        weights = np.array([faded(age_s=age_s, half_life_s=half_life_s) for age_s in ages_s])
        assert profile.requests == pytest.approx(weights.sum())
        for name, sd in (("energy_j", "energy_sd_j"), ("device_s", "device_sd_s"), ("completion_tokens", None)):
            figures = np.array([getattr(row, name) for row in own], dtype=float)
            mean = np.average(figures, weights=weights)
            assert getattr(profile, name) == pytest.approx(mean)
            if sd is not None:
                deviation = np.average((figures - mean) ** 2, weights=weights) ** 0.5
                assert getattr(profile, sd) == pytest.approx(deviation)


def test_profiles_leave_out_other_tenants_models_times_and_failures(connection: Connection) -> None:
    ours = store_batch(connection, lines=4, tenant_id="ours")
    theirs = store_batch(connection, lines=1, tenant_id="theirs")
    drawn = store_mix(connection, tenant="ours").id
    rows = [
        a_result(ours, 1, energy_j=5.0, mix_id=drawn),
        a_result(ours, 2, energy_j=99.0, mix_id=drawn, finished_at=NOON - timedelta(microseconds=1)),
        a_result(ours, 3, energy_j=99.0, mix_id=drawn, model="another"),
        a_result(ours, 4, energy_j=99.0, mix_id=drawn, status_code=408),
    ]
    results.record(connection, rows)
    results.record(connection, [a_result(theirs, 1, energy_j=99.0, mix_id=drawn)])
    (profile,) = profiles.measured(connection, "ours", MODEL, now=NOON + timedelta(seconds=10), half_life_s=1.0)
    assert (profile.requests, profile.energy_j, profile.energy_sd_j) == pytest.approx((2.0**-10, 5.0, 0.0))


def test_bases_of_what_was_answered(connection: Connection) -> None:
    batch = store_batch(connection, lines=5)
    rows = [
        a_result(batch, 1, energy_basis="measured", intensity_basis="direct-average"),
        a_result(batch, 2, energy_basis="modelled", intensity_basis="direct-average"),
        a_result(batch, 3, energy_basis="modelled", intensity_basis="lifecycle-average"),
        a_result(batch, 4, energy_basis="modelled", intensity_origin="forecast"),
    ]
    results.record(connection, rows)
    fail(connection, batch)
    assert ledger.energy_bases(connection, batch.id) == ["measured", "modelled"]
    assert [(count.basis, count.origin, count.requests) for count in ledger.origins(connection, batch.id)] == [
        ("direct-average", "measured", 2),
        ("lifecycle-average", "forecast", 1),
        ("lifecycle-average", "measured", 1),
    ]


def record(connection: Connection, batch: Batch, *lines: int) -> None:
    store_results(connection, batch, [a_result(batch, number) for number in lines])


def test_results_are_read_in_the_order_in_which_they_were_recorded(connection: Connection) -> None:
    batch, other = store_batch(connection, lines=9), store_batch(connection, lines=1)
    record(connection, batch, 8, 3)
    record(connection, other, 1)
    record(connection, batch, 3, 1, 9)
    fail(connection, batch)
    found = results.recorded_after(connection, batch.id, Place(), 100)
    assert [result.line for _, result in found] == [3, 8, 1, 9, 2, 4, 5, 6, 7]
    assert [place for place, _ in found] == sorted({place for place, _ in found})
    assert [result.body for _, result in found[4:]] == [{"code": "batch_expired", "message": "Too late."}] * 5
    for number, (place, _) in enumerate(found, 1):
        assert results.recorded_after(connection, batch.id, place, 2) == found[number : number + 2]


def test_many_groups_and_large_ones_are_read_in_pieces(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "LARGEST", 3)
    monkeypatch.setattr(recorded, "AT_ONCE", 2)
    batch = store_batch(connection, lines=40)
    for number in (9, 2, 30, 4, 17):
        record(connection, batch, number)
    assert fail(connection, batch) == 35
    seen: list[int] = []
    place = Place()
    while found := results.recorded_after(connection, batch.id, place, 4):
        place = found[-1][0]
        seen += [result.line for _, result in found]
    assert seen[:5] == [9, 2, 30, 4, 17]
    assert sorted(seen) == list(range(1, 41))
    assert max(map(len, connection.execute(select(tables.recorded_groups.c.lines)).scalars())) == 3


def test_whoever_reads_misses_nothing_that_is_committed_out_of_order(database: Database) -> None:
    """Two workers record, the second one waits for the first one's commit, and a reader looks in between."""
    with database.transaction() as connection:
        batch = store_batch(connection, lines=4)

    def seen() -> list[int]:
        with database.transaction() as connection:
            return [result.line for _, result in results.recorded_after(connection, batch.id, Place(), 10)]

    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    def second() -> list[int]:
        with database.transaction() as connection:
            record(connection, batch, 1, 2)
        return seen()

    with ThreadPoolExecutor() as pool, database.transaction() as first:
        record(first, batch, 3, 4)
        later = pool.submit(second)
        eventually(lambda: first.execute(text(waiting)).first())
        assert seen() == []
        first.commit()
        assert later.result() == [3, 4, 1, 2]


def test_time_grows_with_the_lines_of_a_batch_that_statistics_do_not_know(connection: Connection) -> None:
    number = 300
    for _ in range(2):
        batch = store_batch(connection, lines=number)
        results.record(connection, [a_result(batch, line) for line in range(1, number + 1)])
        # The second one is not in them.
        known = connection.execute(text("SELECT reltuples FROM pg_class WHERE relname = 'results'")).scalar_one()
        if known <= 0:
            connection.execute(text("ANALYZE requests, results, responses"))
    before = _rows_looked_at(connection)
    assert len(list(results.in_line_order(connection, batch.id))) == number
    assert requests.unanswered(connection, batch.id, 1, number) == []
    assert _rows_looked_at(connection) - before < 20 * number


def _rows_looked_at(connection: Connection) -> int:
    query = """SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables
        WHERE relname IN ('requests', 'results', 'responses')"""
    return int(connection.execute(text(query)).scalar_one())
