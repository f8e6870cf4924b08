"""Rows with unremarkable values: a test names only what it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any

from sqlalchemy import Connection, update

from app.domain.batch import BatchStatus
from app.domain.directive import PAPER_DIRECTIVES, Placement, fingerprint
from app.domain.judging import Kind, Outcome
from app.domain.profile import Profile
from app.domain.request import Request
from app.domain.shard import Lines
from app.store import batches, files, mixes, recorded, requests, results, shards, verdicts
from app.store.batches import Batch
from app.store.database import TENANT
from app.store.files import File
from app.store.mixes import DirectiveMix, OptimizerRun
from app.store.results import Result
from app.store.shards import Lease
from app.store.tables import batches as batches_table
from app.store.verdicts import Verdict
from app.store.windows import Window
from tests.support.clock import NOON

MODEL = "test-model"
ENDPOINT = "/v1/chat/completions"

FINGERPRINT = fingerprint("", PAPER_DIRECTIVES, Placement.USER)
"""Of the default directives, while no worker has said what it loaded."""

_numbers = count(1)


def chat(text: str = "Say hello.", **parameters: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **parameters}


def line(custom_id: str = "request-1", *, text: str = "Say hello.", **parameters: Any) -> dict[str, Any]:
    """A line of an input file, before it is written as JSON."""
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": chat(text, **parameters)}


def a_file(**changes: Any) -> File:
    values: dict[str, Any] = {
        "id": f"file-{next(_numbers)}",
        "tenant_id": TENANT,
        "purpose": "batch",
        "filename": "requests.jsonl",
        "bytes": 1000,
        "created_at": NOON,
    }
    return File(**{**values, **changes})


def a_batch(**changes: Any) -> Batch:
    """A batch in progress with a day to go; `input_file_id` must be given."""
    values: dict[str, Any] = {
        "id": f"batch_{next(_numbers)}",
        "tenant_id": TENANT,
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "status": BatchStatus.IN_PROGRESS,
        "model": MODEL,
        "created_at": NOON,
        "expires_at": NOON + timedelta(hours=24),
    }
    return Batch(**{**values, **changes})


def a_request(number: int, **changes: Any) -> Request:
    """The request in line `number`, with a custom_id of that number."""
    values: dict[str, Any] = {
        "line": number,
        "custom_id": f"request-{number}",
        "body": chat(),
        "workload": "default",
        "pinned_level": None,
    }
    return Request(**{**values, **changes})


def a_result(batch: Batch, number: int, **changes: Any) -> Result:
    """An answer to the request in line `number`, with figures that are all different."""
    values: dict[str, Any] = {
        "batch_id": batch.id,
        "line": number,
        "custom_id": f"request-{number}",
        "tenant_id": batch.tenant_id,
        "workload": "default",
        "status_code": 200,
        "error_code": None,
        "model": MODEL,
        "level": 0,
        "probability": 1.0,
        "mix_id": None,
        "prompt_tokens": 20,
        "completion_tokens": 100,
        "energy_j": 36.0,
        "device_s": 0.5,
        "energy_basis": "modelled",
        "zone": "WORLD",
        "intensity_g_per_kwh": 480.0,
        "intensity_basis": "lifecycle-average",
        "intensity_origin": "measured",
        "pue": 1.0,
        "operational_g": 0.0048,
        "embodied_g": 0.00008,
        "finished_at": NOON,
        "body": {"choices": [{"message": {"role": "assistant", "content": "Hello."}}]},
    }
    return Result(**{**values, **changes})


def store_results(connection: Connection, batch: Batch, rows: Sequence[Result]) -> None:
    """As a worker does: written, and said last, so that whoever reads on finds them."""
    written = results.record(connection, rows)
    recorded.add(connection, tenant=batch.tenant_id, batch_id=batch.id, lines=sorted(written))


def a_profile(**changes: Any) -> Profile:
    """Of requests at L0 of which a device runs a hundred an hour, at a kilowatt."""
    values: dict[str, Any] = {
        "workload": "default",
        "level": 0,
        "requests": 100,
        "energy_j": 36_000.0,
        "energy_sd_j": 0.0,
        "device_s": 36.0,
        "device_sd_s": 0.0,
        "completion_tokens": 100.0,
    }
    return Profile(**{**values, **changes})


def a_window(**changes: Any) -> Window:
    """Ten seconds of one device up to noon, without idleness."""
    values: dict[str, Any] = {
        "worker": "worker-1",
        "ended_at": NOON,
        "energy_j": 1000.0,
        "device_s": 10.0,
        "idle_energy_j": 0.0,
        "idle_device_s": 0.0,
        "energy_basis": "modelled",
        "zone": "WORLD",
        "model": MODEL,
        "intensity_g_per_kwh": 480.0,
        "intensity_basis": "lifecycle-average",
        "intensity_origin": "measured",
        **changes,
    }
    return Window(**{"started_at": values["ended_at"] - timedelta(seconds=10), **values})


def a_mix(probabilities: Sequence[float] = (0.5, 0.3, 0.2), **changes: Any) -> DirectiveMix:
    values: dict[str, Any] = {
        "id": f"mix_{next(_numbers)}",
        "workload": "default",
        "probabilities": tuple(probabilities),
        "evidence": "measured",
        "binding": False,
        "created_at": NOON,
        "fingerprint": FINGERPRINT,
    }
    return DirectiveMix(**{**values, **changes})


def a_run(**changes: Any) -> OptimizerRun:
    values: dict[str, Any] = {
        "id": f"run_{next(_numbers)}",
        "zone": "WORLD",
        "model": MODEL,
        "created_at": NOON,
        "outcome": "solved",
        "solver_status": "optimal",
        "reason": "a test",
        "inputs": {},
    }
    return OptimizerRun(**{**values, **changes})


def store_mix(connection: Connection, *, tenant: str = TENANT, **changes: Any) -> DirectiveMix:
    """A stored mix with a run of its own."""
    mix = a_mix(**changes)
    mixes.add(connection, tenant, a_run(created_at=mix.created_at), [mix])
    return mix


def store_batch(
    connection: Connection,
    *,
    lines: int | Iterable[Request] = 0,
    ranges: Sequence[tuple[int, int]] = (),
    **changes: Any,
) -> Batch:
    """A stored batch with its input file, its requests and a pending shard for each of `ranges`."""
    if "input_file_id" not in changes:
        file = a_file(tenant_id=changes.get("tenant_id", TENANT))
        files.add(connection, file)
        changes["input_file_id"] = file.id
    batch = a_batch(**changes)
    entries = list(map(a_request, range(1, lines + 1))) if isinstance(lines, int) else list(lines)
    batches.add(connection, batch)
    requests.copy_in(connection, tenant=batch.tenant_id, batch_id=batch.id, entries=entries)
    full = [Lines(first, last, last - first + 1) for first, last in ranges]
    shards.add(connection, tenant=batch.tenant_id, batch_id=batch.id, ranges=full, now=batch.created_at)
    return batch


def shard_id(batch: Batch, first: int, last: int) -> str:
    return f"{batch.id}:{first}-{last}"


def take(connection: Connection, shard: str, **changes: Any) -> Lease:
    """A lease that must be had."""
    terms: Mapping[str, Any] = {
        "model": MODEL,
        "owner": "worker-1",
        "now": NOON,
        "duration": timedelta(seconds=60),
        **changes,
    }
    lease = shards.lease(connection, shard, **terms)
    assert lease is not None, f"{shard} could not be leased"
    return lease


def set_cells(connection: Connection, batch_id: str, **values: Any) -> None:
    """Put a batch into a state that it would not reach by itself."""
    connection.execute(update(batches_table).where(batches_table.c.id == batch_id).values(**values))


def a_verdict(batch: Batch, number: int, **changes: Any) -> Verdict:
    """A person's, on two answers of the same length to the request in line `number`."""
    values: dict[str, Any] = {
        "tenant_id": batch.tenant_id,
        "model": MODEL,
        "fingerprint": FINGERPRINT,
        "workload": "default",
        "level": 1,
        "batch_id": batch.id,
        "line": number,
        "round_id": None,
        "kind": Kind.PREFERENCE,
        "outcome": Outcome.TIE,
        "judge": "human",
        "judge_model": "",
        "prompt_version": "",
        "when_first": None,
        "when_second": None,
        "length": 100,
        "l0_length": 100,
        "replies": None,
        "created_at": NOON,
    }
    return Verdict(**{**values, **changes})


def store_verdicts(
    connection: Connection, *, wins: int = 0, ties: int = 0, losses: int = 0, **changes: Any
) -> Sequence[Verdict]:
    """So many verdicts, in any order, each on a request of its own; see `a_verdict`."""
    outcomes = [Outcome.WIN] * wins + [Outcome.TIE] * ties + [Outcome.LOSS] * losses
    Random(0).shuffle(outcomes)
    batch = store_batch(connection, lines=len(outcomes), tenant_id=changes.get("tenant_id", TENANT))
    found = [a_verdict(batch, number, outcome=each, **changes) for number, each in enumerate(outcomes, start=1)]
    verdicts.add(connection, found)
    return found
