"""What PostgreSQL itself refuses, whatever the code above it does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, update
from sqlalchemy.exc import IntegrityError

from app.store import files, intensity, knowledge, mixes, profiles, results, schema, tables, verdicts, windows
from app.store.batches import Batch
from app.store.windows import Window
from tests.support.clock import NOON
from tests.support.factories import MODEL, a_file, a_mix, a_result, a_run, a_verdict, store_batch, store_mix

NAN = float("nan")


@pytest.fixture
def batch(connection: Connection) -> Batch:
    return store_batch(connection, lines=3, ranges=[(1, 3)])


def refused(connection: Connection, constraint: str, action: Callable[[], object]) -> None:
    with pytest.raises(IntegrityError, match=f'"{constraint}"'), connection.begin_nested():
        action()


def test_a_second_result_for_a_request(connection: Connection, batch: Batch) -> None:
    row = {name: value for name, value in vars(a_result(batch, 1)).items() if name in tables.results.c}
    connection.execute(insert(tables.results).values(**row))
    refused(connection, "pk_results", lambda: connection.execute(insert(tables.results).values(**row)))


def test_a_second_body_for_a_result(connection: Connection, batch: Batch) -> None:
    results.record(connection, [a_result(batch, 1)])
    row = {"batch_id": batch.id, "line": 1, "tenant_id": batch.tenant_id, "body": {}}
    refused(connection, "pk_responses", lambda: connection.execute(insert(tables.responses).values(**row)))


def test_a_result_of_no_request(connection: Connection, batch: Batch) -> None:
    refused(connection, "fk_results_batch_id", lambda: results.record(connection, [a_result(batch, 99)]))


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("status_or_error", {"status_code": None}),
        ("status_or_error", {"error_code": "expired"}),
        ("level_not_negative", {"level": -1}),
        ("probability_in_range", {"probability": 0.0}),
        ("probability_in_range", {"probability": -0.1}),
        ("probability_in_range", {"probability": 1.1}),
        ("tokens_not_negative", {"prompt_tokens": -1}),
        ("tokens_not_negative", {"completion_tokens": -1}),
        ("use_not_negative", {"energy_j": -0.1}),
        ("use_not_negative", {"device_s": -0.1}),
        ("use_not_negative", {"operational_g": -0.1}),
        ("use_not_negative", {"embodied_g": -0.1}),
        ("energy_basis_known", {"energy_basis": "guessed"}),
    ],
)
def test_results(connection: Connection, batch: Batch, constraint: str, changes: dict[str, Any]) -> None:
    refused(connection, f"ck_results_{constraint}", lambda: results.record(connection, [a_result(batch, 1, **changes)]))


def test_a_result_of_an_unknown_mix(connection: Connection, batch: Batch) -> None:
    refused(connection, "fk_results_mix_id", lambda: results.record(connection, [a_result(batch, 1, mix_id="mix_0")]))


@pytest.mark.parametrize(
    "probabilities",
    [
        (),
        (0.5, 0.4),
        (0.6, 0.6),
        (1.1, -0.1),
        (-1.0, 2.0),
        (NAN, 1.0),
        (NAN,),
        (float("inf"), 0.0),
        (None,),
    ],
)
def test_mixes_that_are_no_distribution(connection: Connection, probabilities: tuple[Any, ...]) -> None:
    mix = a_mix(probabilities)
    refused(connection, "ck_directive_mixes_sums_to_one", lambda: mixes.add(connection, "default", a_run(), [mix]))


@pytest.mark.parametrize("probabilities", [(1.0,), (0.1,) * 10, (1 / 3, 1 / 3, 1 / 3), (0.0, 1.0, 0.0)])
def test_distributions(connection: Connection, probabilities: tuple[float, ...]) -> None:
    store_mix(connection, probabilities=probabilities)
    assert mixes.current(connection, "default", "WORLD", MODEL)["default"].probabilities == probabilities


def test_two_mixes_of_a_workload_in_one_run(connection: Connection) -> None:
    refused(
        connection,
        "uq_directive_mixes_run_id_workload",
        lambda: mixes.add(connection, "default", a_run(), [a_mix(), a_mix()]),
    )


def test_outcomes_of_runs(connection: Connection) -> None:
    refused(
        connection,
        "ck_optimizer_runs_outcome_known",
        lambda: mixes.add(connection, "default", a_run(outcome="guessed"), []),
    )


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("status_legal", {"status": "paused"}),
        ("status_legal", {"status": ""}),
        ("completed_has_time", {"status": "completed"}),
        ("completed_has_time", {"completed_at": NOON}),
        ("total_not_negative", {"total": -1}),
    ],
)
def test_batches(connection: Connection, batch: Batch, constraint: str, values: dict[str, Any]) -> None:
    refused(connection, f"ck_batches_{constraint}", lambda: connection.execute(update(tables.batches).values(**values)))


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("line_positive", {"line": 0}),
        ("line_positive", {"line": -1}),
        ("pinned_level_not_negative", {"pinned_level": -1}),
    ],
)
def test_requests(connection: Connection, batch: Batch, constraint: str, values: dict[str, Any]) -> None:
    statement = update(tables.requests).where(tables.requests.c.line == 2).values(**values)
    refused(connection, f"ck_requests_{constraint}", lambda: connection.execute(statement))


def test_two_requests_with_one_custom_id(connection: Connection, batch: Batch) -> None:
    statement = update(tables.requests).where(tables.requests.c.line == 2).values(custom_id="request-1")
    refused(connection, "uq_requests_batch_id_custom_id", lambda: connection.execute(statement))


LEASED = {"state": "leased", "lease_id": "lease_1", "lease_expires_at": NOON}


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("state_legal", {"state": "asleep"}),
        ("lines_ordered", {"first_line": 4}),
        ("lines_ordered", {"first_line": 0}),
        ("leased_has_lease", {**LEASED, "lease_id": None, "lease_expires_at": None}),
        ("leased_has_lease", {**LEASED, "state": "pending"}),
        ("leased_has_lease", {**LEASED, "state": "done"}),
        ("lease_expires", {**LEASED, "lease_expires_at": None}),
        ("counts_not_negative", {"losses": -1}),
        ("counts_not_negative", {"completed": -1}),
        ("counts_not_negative", {"failed": -1}),
    ],
)
def test_shards(connection: Connection, batch: Batch, constraint: str, values: dict[str, Any]) -> None:
    refused(connection, f"ck_shards_{constraint}", lambda: connection.execute(update(tables.shards).values(**values)))


def a_window(**changes: Any) -> Window:
    values: dict[str, Any] = {
        "worker": "worker-1",
        "started_at": NOON,
        "ended_at": NOON + timedelta(seconds=10),
        "energy_j": 1000.0,
        "device_s": 10.0,
        "idle_energy_j": 100.0,
        "idle_device_s": 1.0,
        "energy_basis": "measured",
        "zone": "WORLD",
        "model": "test-model",
        "intensity_g_per_kwh": 480.0,
        "intensity_basis": "lifecycle-average",
        "intensity_origin": "measured",
    }
    return Window(**{**values, **changes})


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("times_ordered", {"ended_at": NOON - timedelta(microseconds=1)}),
        ("idle_energy_within", {"idle_energy_j": 1000.1}),
        ("idle_energy_within", {"idle_energy_j": -0.1}),
        ("idle_energy_within", {"energy_j": -1.0, "idle_energy_j": 0.0}),
        ("idle_device_within", {"idle_device_s": 10.1}),
        ("idle_device_within", {"idle_device_s": -0.1}),
        ("energy_basis_known", {"energy_basis": "guessed"}),
    ],
)
def test_windows(connection: Connection, constraint: str, changes: dict[str, Any]) -> None:
    windows.add(connection, a_window())
    refused(connection, f"ck_windows_{constraint}", lambda: windows.add(connection, a_window(**changes)))


@pytest.mark.parametrize(("constraint", "changes"), [("bytes_not_negative", {"bytes": -1}), ("purpose_known", {"purpose": "vision"})])  # fmt: skip  # noqa: E501
def test_files(connection: Connection, constraint: str, changes: dict[str, Any]) -> None:
    refused(connection, f"ck_files_{constraint}", lambda: files.add(connection, a_file(**changes)))


@pytest.mark.parametrize("grams", [-0.1, 10_000.0, NAN])
def test_intensity(connection: Connection, grams: float) -> None:
    row = {
        "zone": "DE",
        "basis": "b",
        "start_at": NOON,
        "provider": "p",
        "intensity_g_per_kwh": grams,
        "fetched_at": NOON,
    }
    statement = insert(knowledge.intensity).values(**row)
    refused(connection, "ck_intensity_intensity_in_range", lambda: connection.execute(statement))
    assert intensity.last_fetch(connection, "DE", "b", NOON) is None


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("requests_positive", {"requests": 0}),
        ("level_not_negative", {"level": -1}),
        ("use_not_negative", {"energy_j": -1.0}),
        ("use_not_negative", {"device_s": -1.0}),
    ],
)
def test_profiles(connection: Connection, constraint: str, changes: dict[str, Any]) -> None:
    row = {
        "tenant_id": "default", "model": "m", "workload": "w", "level": 0, "requests": 1, "energy_j": 1.0,
        "energy_sd_j": 0.0, "device_s": 1.0, "device_sd_s": 0.0, "completion_tokens": 1.0, "updated_at": NOON,
    }  # fmt: skip
    statement = insert(knowledge.profiles).values(**{**row, **changes})
    refused(connection, f"ck_profiles_{constraint}", lambda: connection.execute(statement))
    assert profiles.all_of(connection, "default", "m") == []


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("level_positive", {"level": 0}),
        ("outcome_known", {"outcome": "draw"}),
        ("kind_known", {"kind": "taste"}),
        ("when_first_known", {"when_first": "both"}),
        ("when_second_known", {"when_second": "both"}),
    ],
)
def test_verdicts(connection: Connection, constraint: str, changes: dict[str, Any]) -> None:
    batch = store_batch(connection, lines=1)
    verdict = a_verdict(batch, 1, **changes)
    refused(connection, f"ck_verdicts_{constraint}", lambda: verdicts.add(connection, [verdict]))


def test_every_table_with_user_data_carries_its_tenant() -> None:
    of_the_machine = {"windows", "intensity", "forecasts", "installation", "calibrations", "deployments"}
    tables = schema.metadata.tables
    # A tenant's own row is named by it; and a webhook without a tenant is the operator's.
    assert {name for name, table in tables.items() if "tenant_id" not in table.c} == of_the_machine | {"tenants"}
    owned = {name for name, table in tables.items() if "tenant_id" in table.c and not table.c.tenant_id.nullable}
    assert set(tables) - owned == of_the_machine | {"tenants", "webhook_endpoints"}
