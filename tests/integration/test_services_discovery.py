from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from app.domain.batch import BatchStatus
from app.domain.tenant import Limits
from app.domain.workload import floor_of
from app.services import discovery
from app.store import class_models, results, tenants
from app.store.database import TENANT
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL, a_request, a_result, chat, line, store_batch, store_mix
from tests.support.prompts import Example, examples
from tests.support.services import Desk, Desks, jsonl

NAMES = "SELECT workload FROM requests WHERE batch_id = :batch ORDER BY line"
VERSIONS = "SELECT version FROM class_models ORDER BY version"
UNSEEN = examples(80, seed=7)


def answered(
    desk: Desk,
    found: Sequence[Example],
    *,
    tenant: str = TENANT,
    workload: str = "default",
    level: int = 0,
    **changes: Any,
) -> None:
    """A batch of these prompts with answers whose level was drawn."""
    with desk.context.database.transaction() as connection:
        mix = store_mix(connection, tenant=tenant, workload=workload)
        lines = [a_request(n, body=chat(example.prompt), workload=workload) for n, example in enumerate(found, 1)]
        batch = store_batch(connection, lines=lines, tenant_id=tenant)
        rows = [
            a_result(
                batch,
                number,
                **{"workload": workload, "level": level, "energy_j": example.energy_j, "mix_id": mix.id, **changes},
            )
            for number, example in enumerate(found, 1)
        ]
        results.record(connection, rows)


def named(desk: Desk, found: Sequence[Example] = UNSEEN, **options: Any) -> list[str]:
    """The workloads of a new batch of these prompts."""
    content = jsonl(line(f"request-{number}", text=example.prompt) for number, example in enumerate(found))
    batch = desk.validated(content, **options)
    assert batch.status is BatchStatus.IN_PROGRESS, batch.errors
    return list(desk.rows(NAMES, batch=batch.id))


def test_without_a_model_names_stay(desk: Desk) -> None:
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == []
    assert set(named(desk)) == {"default"}
    assert set(named(desk, metadata={"sprout_workload": "mine"})) == {"mine"}


def test_kinds_of_prompts_are_discovered_and_named_from_then_on(desk: Desk) -> None:
    answered(desk, examples(600))
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == [1]
    names = named(desk)
    pairs = set(zip(map(floor_of, names), (example.kind for example in UNSEEN), strict=True))
    assert len(pairs) == len(set(map(floor_of, names))) == 4
    assert Counter(name[-1] in "56" for name, e in zip(names, UNSEEN, strict=True) if e.long)[True] > 20
    with desk.context.database.transaction() as connection:
        model = class_models.newest(connection, TENANT, MODEL)
    assert model is not None
    assert names == model.assign([example.prompt for example in UNSEEN], [None] * len(UNSEEN))


def test_every_name_has_a_mix_at_once(desk: Desk) -> None:
    answered(desk, examples(600))
    discovery.discover(desk.context)
    assert set(named(desk)) <= set(desk.rows("SELECT workload FROM directive_mixes"))


def test_a_declared_workload_keeps_its_name_and_has_strata(desk: Desk, engine: EchoEngine) -> None:
    found = examples(200)
    answered(desk, found, workload="mine")
    discovery.discover(desk.context)
    content = jsonl(
        line(f"request-{number}", text=example.prompt, metadata={"sprout_workload": ["mine", "new"][number % 2]})
        for number, example in enumerate(UNSEEN)
    )
    batch = desk.validated(content)
    names = list(desk.rows(NAMES, batch=batch.id))
    assert [floor_of(name) for name in names] == ["mine", "new"] * 40
    assert {name for name in names if name.startswith("mine")} <= {f"mine~{number}" for number in range(1, 7)}
    assert {name for name in names if name.startswith("new")} == {"new"}
    desk.work(desk.worker(engine))
    shown = {entry["sprout"]["workload"] for entry in desk.lines(desk.batch(batch.id).output_file_id)}
    assert shown == {"mine", "new"}


def test_answers_at_other_levels_and_under_discovered_names_teach_too(desk: Desk) -> None:
    answered(desk, examples(600))
    discovery.discover(desk.context)
    with desk.context.database.transaction() as connection:
        before = class_models.newest(connection, TENANT, MODEL)
    for name in ("class:1~1", "class:2"):
        answered(desk, examples(300, seed=3), workload=name, level=2)
    desk.clock.advance(days=1)
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == [1, 2]
    with desk.context.database.transaction() as connection:
        after = class_models.newest(connection, TENANT, MODEL)
    assert before is not None
    assert after is not None
    assert set(after.numbers) == set(before.numbers)
    assert all(workload.startswith("class:") for workload in after.strata.workloads)


@pytest.mark.parametrize("changes", [{"mix_id": None}, {"energy_j": 0.0}], ids=["pinned", "no energy"])
def test_what_says_nothing_of_energy_gives_no_strata(desk: Desk, changes: dict[str, Any]) -> None:
    answered(desk, examples(200), **changes)
    discovery.discover(desk.context)
    assert all(name == floor_of(name) for name in named(desk))


def test_failed_answers_and_those_of_another_model_teach_nothing(desk: Desk) -> None:
    answered(desk, examples(200), status_code=400)
    answered(desk, examples(200), model="other-model")
    answered(desk, examples(99))
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == []
    answered(desk, examples(1, seed=1))
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == [1]


def test_classes_are_learned_anew_when_it_is_time(desk: Desk) -> None:
    answered(desk, examples(200))
    discovery.discover(desk.context)
    desk.clock.advance(timedelta(seconds=desk.context.settings.discover_s - 1))
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == [1]
    desk.clock.advance(seconds=1)
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == [1, 2]


def test_a_sample_that_has_doubled_is_learned_from_at_once(desk: Desk) -> None:
    answered(desk, examples(150))
    discovery.discover(desk.context)
    answered(desk, examples(149, seed=1))
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == [1]
    answered(desk, examples(1, seed=2))
    discovery.discover(desk.context)
    assert desk.rows("SELECT prompts FROM class_models ORDER BY version") == [150, 300]


def test_a_sample_that_cannot_grow_is_learned_from_when_it_is_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "SAMPLE", 250)
    answered(desk, examples(150))
    discovery.discover(desk.context)
    answered(desk, examples(400, seed=1))
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == [1]
    desk.clock.advance(days=1)
    discovery.discover(desk.context)
    assert desk.rows("SELECT prompts FROM class_models ORDER BY version") == [150, 250]


def test_switched_off_nothing_is_learned_or_named(desks: Desks) -> None:
    on, off = desks.desk(), desks.desk(discovery=False)
    answered(off, examples(200))
    discovery.discover(off.context)
    assert off.rows(VERSIONS) == []
    discovery.discover(on.context)
    assert on.rows(VERSIONS) == [1]
    assert set(named(off)) == {"default"}


def test_tenants_share_no_model(desk: Desk) -> None:
    answered(desk, examples(300), tenant="other")
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == []
    with desk.context.database.transaction() as connection:
        tenants.add(connection, "other", weight=1, limits=Limits(), now=desk.clock.now())
    discovery.discover(desk.context)
    assert desk.rows("SELECT tenant_id FROM class_models") == ["other"]
    assert set(named(desk)) == {"default"}


def test_a_failing_fit_leaves_the_old_model_and_says_why(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answered(desk, examples(200))
    discovery.discover(desk.context)
    before = named(desk)
    desk.clock.advance(days=2)

    def fail(*_: object, **__: object) -> None:
        raise ValueError("no such luck")

    monkeypatch.setattr(discovery, "fit", fail)
    with caplog.at_level(logging.ERROR):
        discovery.discover(desk.context)
    assert "no such luck" in caplog.text
    assert desk.rows(VERSIONS) == [1]
    assert named(desk) == before


def test_hostile_prompts_are_learned_from_and_named(desk: Desk) -> None:
    odd = [
        Example(kind="odd", prompt=prompt, long=False, energy_j=7.0)
        for prompt in ("\0" * 1000, "a" * 900_000, " \n" * 100_000, "👩‍🌾" * 10_000, "", "?" * 400_000)
    ]
    answered(desk, odd * 20)
    discovery.discover(desk.context)
    assert desk.rows(VERSIONS) == [1]
    assert all(name.startswith("class:") for name in named(desk, odd))
