from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from app.domain.errors import NotFound
from app.domain.preference import PAPER_PRIOR
from app.domain.profile import Profile
from app.domain.savings import Z_90
from app.services import reporting
from app.services.l0_cost import MIN_L0_REQUESTS, L0Estimate, L0Method
from app.store import profiles, results, windows
from app.store.batches import Batch
from app.store.database import TENANT
from app.store.windows import Window
from tests.support.clock import NOON
from tests.support.factories import MODEL, a_request, a_result, line, store_batch, store_mix
from tests.support.services import Desk, Desks, jsonl

Row = dict[str, Any]


def drawn(level: int, energy_j: float, *, probability: float = 0.5, **changes: Any) -> Row:
    """A result whose level was drawn."""
    return {"level": level, "energy_j": energy_j, "probability": probability, "mix_id": "drawn", **changes}


def pinned(level: int, energy_j: float, **changes: Any) -> Row:
    return {"level": level, "energy_j": energy_j, **changes}


def store(desk: Desk, rows: Sequence[Row], **changes: Any) -> Batch:
    """A batch with these results; a gram for every ten joules, unless a row says otherwise."""
    with desk.context.database.transaction() as connection:
        mix = store_mix(connection)
        workloads = [row.get("workload", "default") for row in rows]
        lines = [a_request(number, workload=workload) for number, workload in enumerate(workloads, 1)]
        batch = store_batch(connection, lines=lines, in_progress_at=NOON, **changes)
        found = []
        for number, row in enumerate(rows, 1):
            values = {"operational_g": row["energy_j"] / 10, "embodied_g": 0.0, **row}
            if "mix_id" in row:
                values["mix_id"] = mix.id
            found.append(a_result(batch, number, **values))
        results.record(connection, found)
    return batch


def profile(
    desk: Desk, *, energy_j: float, sd: float, requests: float, level: int = 0, workload: str = "default"
) -> None:
    entry = Profile(
        workload=workload,
        level=level,
        requests=requests,
        energy_j=energy_j,
        energy_sd_j=sd,
        device_s=1.0,
        device_sd_s=0.0,
        completion_tokens=100.0,
    )
    with desk.context.database.transaction() as connection:
        profiles.put(connection, TENANT, MODEL, [entry], NOON)


def estimate(desk: Desk, rows: Sequence[Row]) -> L0Estimate | None:
    batch = store(desk, rows)
    found = reporting.report(desk.context, TENANT, batch.id).l0
    assert len(found) <= 1
    return found[0] if found else None


def test_totals_are_the_sums_of_the_results(desk: Desk) -> None:
    rows = [
        drawn(level, 7.0 * number, workload=workload, status_code=status, prompt_tokens=number, completion_tokens=level)
        for number, (level, workload, status) in enumerate(
            [(level, workload, status) for level in (0, 1, 2) for workload in ("a", "b") for status in (200, 200, 400)],
            1,
        )
    ]
    batch = store(desk, rows)
    found = reporting.report(desk.context, TENANT, batch.id).levels
    assert [(t.workload, t.level, t.answered, t.requests) for t in found] == [
        (workload, level, answered, 2 if answered else 1)
        for workload in ("a", "b")
        for level in (0, 1, 2)
        for answered in (True, False)
    ]
    for name in ("energy_j", "device_s", "operational_g", "embodied_g", "prompt_tokens", "completion_tokens"):
        assert sum(getattr(t, name) for t in found) == pytest.approx(desk.rows(f"SELECT sum({name}) FROM results")[0])
    (lot,) = [t for t in found if (t.workload, t.level, t.answered) == ("b", 2, True)]
    own = [row for row in rows if (row["workload"], row["level"], row["status_code"]) == ("b", 2, 200)]
    assert lot.energy_j == sum(row["energy_j"] for row in own)
    assert (lot.drawn, lot.pinned_energy_j, lot.pinned_g) == (2, 0.0, 0.0)


def test_pinned_use_is_a_part_of_the_totals(desk: Desk) -> None:
    batch = store(desk, [drawn(1, 10.0), pinned(1, 30.0), pinned(1, 5.0)])
    (total,) = reporting.report(desk.context, TENANT, batch.id).levels
    assert (total.requests, total.drawn, total.energy_j, total.pinned_energy_j) == (3, 1, 45.0, 35.0)
    assert total.pinned_g == pytest.approx(3.5)


@pytest.mark.parametrize(
    "rows", [[drawn(0, 10.0), drawn(0, 20.0)], [pinned(0, 30.0)], [drawn(0, 10.0), pinned(2, 20.0)]]
)
def test_without_a_higher_draw_l0_costs_what_was_spent(desk: Desk, rows: list[Row]) -> None:
    found = estimate(desk, rows)
    assert found is not None
    assert found.method is L0Method.ACTUAL
    assert (found.energy_j, found.energy_j_interval) == (30.0, (30.0, 30.0))
    assert found.footprint_g == pytest.approx(3.0)


def test_a_batch_whose_levels_were_all_pinned(desk: Desk) -> None:
    found = estimate(desk, [pinned(2, 10.0), pinned(1, 20.0), pinned(0, 5.0)])
    assert found is not None
    assert (found.method, found.requests, found.energy_j) == (L0Method.PINNED, 0, 35.0)


def test_enough_randomised_requests_are_the_best_evidence(desk: Desk) -> None:
    """Two strata: those that kept L0 with 1/2 used 10 J, those with 1/4 used 40 J."""
    profile(desk, energy_j=1000.0, sd=1.0, requests=1000)
    rows = [drawn(0, 10.0)] * 4 + [drawn(0, 40.0, probability=0.25)] * 2 + [drawn(2, 1.0)] * 10 + [pinned(2, 3.0)]
    found = estimate(desk, rows)
    assert found is not None
    assert (found.method, found.requests) == (L0Method.RANDOMISED, 6)
    mean = (4 * 10 / 0.5 + 2 * 40 / 0.25) / (4 / 0.5 + 2 / 0.25)
    spread = 4 * ((10 - mean) / 0.5) ** 2 + 2 * ((40 - mean) / 0.25) ** 2
    margin = 16 * Z_90 * spread**0.5 / (4 / 0.5 + 2 / 0.25)
    assert found.energy_j == pytest.approx(3 + 16 * mean)
    assert found.energy_j_interval == pytest.approx((3 + 16 * mean - margin, 3 + 16 * mean + margin))
    assert found.footprint_g == pytest.approx(found.energy_j / 10)
    assert found.footprint_g_interval == pytest.approx([end / 10 for end in found.energy_j_interval or ()])


def test_failed_requests_are_no_evidence(desk: Desk) -> None:
    rows = [drawn(0, 10.0)] * 5 + [drawn(0, 900.0, status_code=400)] * 5 + [drawn(2, 1.0)] * 5
    found = estimate(desk, rows)
    assert found is not None
    assert (found.requests, found.energy_j) == (5, 100.0)


def test_earlier_requests_stand_in(desk: Desk) -> None:
    profile(desk, energy_j=50.0, sd=8.0, requests=64.3)
    rows = [drawn(0, 10.0)] * (MIN_L0_REQUESTS - 1) + [drawn(2, 2.0)] * 6 + [pinned(1, 7.0)]
    found = estimate(desk, rows)
    assert found is not None
    assert (found.method, found.requests) == (L0Method.PROFILE, 64)
    assert found.energy_j == pytest.approx(7 + 10 * 50)
    margin = 10 * Z_90 * 8 / 63.3**0.5
    assert found.energy_j_interval == pytest.approx((507 - margin, 507 + margin))
    assert found.footprint_g == pytest.approx(50.7)


def test_a_declared_prior_is_the_last_resort(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    profile(desk, energy_j=50.0, sd=8.0, requests=MIN_L0_REQUESTS - 1)
    found = estimate(desk, [drawn(0, 10.0), drawn(1, 4.0), drawn(2, 2.0), pinned(2, 5.0)])
    assert found is not None
    assert (found.method, found.requests, found.energy_j_interval) == (L0Method.PRIOR, 0, None)
    relative = PAPER_PRIOR.relative_energy
    assert found.energy_j == pytest.approx(5 + 10 + 4 / relative[1] + 2 / relative[2])
    assert found.footprint_g == pytest.approx(found.energy_j / 10)


def test_where_nothing_is_known_nothing_is_said(desk: Desk) -> None:
    assert estimate(desk, [drawn(0, 10.0), drawn(2, 4.0)]) is None


def test_every_workload_has_an_estimate_of_its_own(desk: Desk) -> None:
    batch = store(desk, [drawn(0, 5.0, workload="b"), drawn(0, 7.0, workload="a"), drawn(2, 1.0, workload="c")])
    found = reporting.report(desk.context, TENANT, batch.id)
    assert [(entry.workload, entry.energy_j) for entry in found.l0] == [("a", 7.0), ("b", 5.0)]


def test_strata_are_reported_as_their_workload(desk: Desk) -> None:
    rows = [drawn(0, 10.0, workload="mail~1")] * 3 + [drawn(0, 40.0, workload="mail~2", probability=0.25)] * 2
    rows += [drawn(2, 1.0, workload="mail~2")] * 5 + [drawn(2, 3.0, workload="mail"), drawn(0, 7.0, workload="mailing")]
    batch = store(desk, rows)
    with desk.context.database.transaction() as connection:
        store_mix(connection, workload="mail~1", probabilities=(1.0, 0.0, 0.0))
        store_mix(connection, workload="mail~2", probabilities=(0.1, 0.2, 0.7), evidence="prior, not measured")
        store_mix(connection, workload="mail~3", probabilities=(0.0, 0.0, 1.0))
        store_mix(connection, workload="mail", probabilities=(0.5, 0.5))
        store_mix(connection, workload="mailing", probabilities=(0.0, 1.0, 0.0))
    found = reporting.report(desk.context, TENANT, batch.id)
    assert [(total.workload, total.level, total.requests, total.energy_j) for total in found.levels] == [
        ("mail", 0, 5, 110.0),
        ("mail", 2, 6, 8.0),
        ("mailing", 0, 1, 7.0),
    ]
    estimate, other = found.l0
    mean = (3 * 10 / 0.5 + 2 * 40 / 0.25) / (3 / 0.5 + 2 / 0.25)
    assert (estimate.workload, estimate.method, estimate.requests) == ("mail", L0Method.RANDOMISED, 5)
    assert estimate.energy_j == pytest.approx(11 * mean)
    assert (other.workload, other.energy_j) == ("mailing", 7.0)
    mail = found.mixes["mail"]
    assert mail.probabilities == pytest.approx([0.37, 0.14, 0.49])
    assert (mail.evidence, mail.mixes) == ("prior, not measured", 2)
    assert (found.mixes.keys(), found.mixes["mailing"].mixes) == ({"mail", "mailing"}, 1)


def test_earlier_requests_of_all_strata_stand_in(desk: Desk) -> None:
    profile(desk, energy_j=20.0, sd=0.0, requests=3, workload="mail~1")
    profile(desk, energy_j=60.0, sd=0.0, requests=1, workload="mail~2")
    profile(desk, energy_j=900.0, sd=0.0, requests=50, workload="mailing")
    rows = [drawn(2, 2.0, workload="mail~1"), drawn(2, 2.0, workload="mail~2")]
    assert estimate(desk, rows) is None
    profile(desk, energy_j=60.0, sd=0.0, requests=3, workload="mail~2")
    found = estimate(desk, rows)
    assert found is not None
    assert (found.workload, found.method, found.requests) == ("mail", L0Method.PROFILE, 6)
    assert found.energy_j == pytest.approx(2 * 40)
    margin = 2 * Z_90 * (6 * 20**2 / 5 / 6) ** 0.5
    assert found.energy_j_interval == pytest.approx((80 - margin, 80 + margin))


def test_machines_are_those_of_the_batch_s_time(desk: Desk) -> None:
    def window(ended: int, energy_j: float) -> Window:
        return Window(
            worker="w",
            started_at=NOON - timedelta(days=1),
            ended_at=NOON + timedelta(seconds=ended),
            energy_j=energy_j,
            device_s=1.0,
            idle_energy_j=energy_j / 2,
            idle_device_s=0.5,
            energy_basis="modelled",
            zone="WORLD",
            model=MODEL,
            intensity_g_per_kwh=1.0,
            intensity_basis="x",
            intensity_origin="measured",
        )

    batch = store(desk, [drawn(0, 5.0)], finalizing_at=NOON + timedelta(seconds=100))
    with desk.context.database.transaction() as connection:
        for entry in (window(-1, 1.0), window(0, 2.0), window(50, 4.0), window(100, 8.0), window(101, 16.0)):
            windows.add(connection, entry)
    found = reporting.report(desk.context, TENANT, batch.id)
    assert found.machines.energy_j == 14.0
    assert found.machines.idle_energy_j == 7.0
    assert found.machines.idle_device_s == 1.5


def test_a_report_names_its_bases_and_mixes(desk: Desk) -> None:
    rows = [drawn(0, 1.0), drawn(0, 1.0, energy_basis="measured", intensity_basis="direct-average")]
    found = reporting.report(desk.context, TENANT, store(desk, rows).id)
    assert found.energy_bases == ["measured", "modelled"]
    assert found.intensity_bases == ["direct-average", "lifecycle-average"]
    assert set(found.mixes) == {"default"}


def test_a_report_of_a_batch_without_results(desk: Desk) -> None:
    found = reporting.report(desk.context, TENANT, desk.submit(jsonl([line()])))
    assert (list(found.levels), list(found.l0), found.energy_bases, dict(found.mixes)) == ([], [], [], {})


def test_a_report_of_a_batch_of_errors(desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=3)
        results.fail_unanswered(connection, batch.id, code="batch_expired", message="Late.", now=NOON)
    found = reporting.report(desk.context, TENANT, batch.id)
    assert [(total.answered, total.requests) for total in found.levels] == [(False, 3)]
    assert found.energy_bases == []


@pytest.mark.parametrize("tenant", [TENANT, "somebody"])
def test_an_unknown_batch_has_no_report(desk: Desk, tenant: str) -> None:
    batch_id = "batch_unknown" if tenant == TENANT else desk.submit(jsonl([line()]))
    with pytest.raises(NotFound):
        reporting.report(desk.context, tenant, batch_id)
