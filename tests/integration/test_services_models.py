"""Several models in one installation: each shard reaches a worker of its model, and what no worker serves says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from app.domain.batch import BatchStatus
from app.domain.errors import Conflict
from app.ports import Task
from app.services import deferral, deployment, directives, discovery, generation, quotes, reconciliation
from app.services.capacity import REMEMBERED, SEEN
from app.services.intensity import PAST
from app.store import mixes, profiles
from app.store.database import TENANT
from tests.support.api import Api
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL, a_profile, line
from tests.support.services import Desk, Desks, jsonl

OTHER = "org/Other-7B"


@pytest.fixture
def desk(desks: Desks) -> Desk:
    return desks.desk(shard_size=10)


@pytest.fixture
def other(desks: Desks) -> Desk:
    """What a worker of the other model is given."""
    return desks.desk(shard_size=10, model_name=OTHER, default_model=MODEL)


def requests(number: int, model: str = OTHER) -> bytes:
    return jsonl({**each, "body": {**each["body"], "model": model}} for each in (line(f"r{n}") for n in range(number)))


def rung(desk: Desk, queue: str = "") -> Sequence[str]:
    sent = desk.dispatcher.elsewhere.get(queue, []) if queue else desk.dispatcher.sent
    return [argument for task, argument in sent if task is Task.GENERATE]


def plan_of(desk: Desk, batch_id: str) -> Mapping[str, Any]:
    plan = desk.batch(batch_id).plan
    assert plan is not None
    return plan


def test_a_batch_runs_on_the_model_that_its_lines_name(desk: Desk) -> None:
    batch = desk.validated(requests(3))
    assert (batch.status, batch.model) == (BatchStatus.IN_PROGRESS, OTHER)
    assert desk.validated(requests(3, MODEL)).model == MODEL


def named(*models: str) -> bytes:
    return jsonl({**line(f"r{n}"), "body": {**line()["body"], "model": name}} for n, name in enumerate(models))


def test_a_line_that_names_another_model_is_rejected_with_its_number(desk: Desk, other: Desk) -> None:
    deployment.publish(other.context, "weights")
    batch = desk.validated(named(OTHER, OTHER, MODEL))
    assert (batch.status, batch.model, batch.total, batch.rejected) == (BatchStatus.IN_PROGRESS, OTHER, 3, 1)
    assert batch.errors is not None
    (fault,) = batch.errors
    assert (fault["line"], fault["code"], fault["param"]) == (3, "mismatched_model", "model")
    assert fault["message"] == (
        f'Line 3: the model is "{MODEL}" but this batch runs on "{OTHER}": a batch runs on one model, so give each '
        "its own file."
    )


def test_first_lines_that_are_faulty_or_name_what_nobody_serves_do_not_decide_for_the_others(
    desk: Desk, other: Desk
) -> None:
    faulty = jsonl([{**line("faulty"), "method": "GET", "body": {"model": OTHER}}])
    batch = desk.validated(b"{\n" + faulty + named("typo-7b", MODEL, OTHER, MODEL))
    assert (batch.status, batch.model, batch.rejected) == (BatchStatus.IN_PROGRESS, MODEL, 4)
    faults = [(fault["line"], fault["code"]) for fault in batch.errors or ()]
    # No worker has ever served either of them.
    assert faults == [(1, "invalid_json_line"), (2, "invalid_method"), (3, "model_not_found"), (5, "model_not_found")]
    deployment.publish(other.context, "weights")
    batch = desk.validated(named("typo-7b", OTHER, MODEL))
    assert batch.model == OTHER
    assert [fault["code"] for fault in batch.errors or ()] == ["model_not_found", "mismatched_model"]


def test_lines_that_all_name_what_nobody_serves_wait_on_the_first_model(desk: Desk) -> None:
    batch = desk.validated(named("typo-7b", "typo-8b", "typo-7b"))
    assert (batch.status, batch.model, batch.total, batch.rejected) == (BatchStatus.IN_PROGRESS, "typo-7b", 3, 1)


def test_prompts_are_only_measured_for_the_model_whose_tokenizer_is_here(desk: Desk) -> None:
    long = line(text="word " * 3000)
    assert desk.validated(jsonl([long])).status is BatchStatus.FAILED
    long["body"]["model"] = OTHER
    assert desk.validated(jsonl([long])).status is BatchStatus.IN_PROGRESS


def test_a_remote_engine_that_states_no_model_takes_all(desks: Desks) -> None:
    remote = desks.desk(engine="openai", engine_url="http://127.0.0.1:9/v1", model_name=None)
    batch = remote.validated(requests(1) + jsonl([line("another")]))
    assert (batch.status, batch.model) == (BatchStatus.IN_PROGRESS, "remote")


def test_what_no_worker_serves_waits_and_says_so(desk: Desk) -> None:
    desk.see()
    batch = desk.validated(requests(20))
    reconciliation.reconcile(desk.context)
    assert rung(desk) == rung(desk, f"@{OTHER}") == []
    plan = plan_of(desk, batch.id)
    assert plan["waits_for_worker"] is True
    assert plan["reason"] == (
        f"No worker serves the model {OTHER}; those that are seen serve {MODEL}. It starts by itself once there is "
        f"one: start a worker with SPROUT_MODEL={OTHER}, or cancel the batch."
    )


def test_without_any_worker_too(desk: Desk) -> None:
    batch, own = desk.validated(requests(1)), desk.validated(requests(1, MODEL))
    assert f"No worker serves the model {OTHER}; none is seen at all." in plan_of(desk, batch.id)["reason"]
    plan = plan_of(desk, own.id)
    assert (plan["waits_for_worker"], plan["reason"]) == (
        True, f"No worker that serves {MODEL} is seen yet; one that starts loads the model first. It starts by itself.",
    )  # fmt: skip


def test_a_batch_says_so_to_its_client_until_a_worker_comes(desk: Desk) -> None:
    api = Api(desk.context)
    batch = desk.validated(requests(1))
    waiting = api.get(f"/v1/batches/{batch.id}")
    told = waiting["sprout"]
    assert (waiting["status"], told["model"], told["waits_for_worker"]) == ("in_progress", OTHER, True)
    assert OTHER in told["reason"]
    desk.see(model=OTHER)
    deferral.replan(desk.context)
    assert api.get(f"/v1/batches/{batch.id}")["sprout"]["waits_for_worker"] is False


def test_it_starts_at_the_next_tick_after_a_worker_came(desk: Desk, other: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(requests(20))
    desk.clock.advance(timedelta(hours=1))
    other.worker(engine).accountant.settle(store=True)
    reconciliation.reconcile(desk.context)
    assert rung(desk) == []
    assert rung(desk, f"@{OTHER}") == [f"{batch.id}:1-10", f"{batch.id}:11-20"]


def test_each_shard_runs_on_a_worker_of_its_model(desk: Desk, other: Desk, engine: EchoEngine) -> None:
    desk.see(worker="one")
    desk.see(worker="two", model=OTHER)
    theirs, own = desk.validated(requests(10)), desk.validated(requests(10, MODEL))
    ours, another = desk.worker(engine, name="one"), other.worker(engine, name="two")
    # A message in the wrong queue changes nothing.
    for shard in rung(desk, f"@{OTHER}"):
        generation.run_shard(desk.context, ours, shard)
    for shard in rung(desk):
        generation.run_shard(other.context, another, shard)
    assert desk.rows("SELECT count(*) FROM results") == [0]
    for shard in rung(desk, f"@{OTHER}"):
        generation.run_shard(other.context, another, shard)
    for shard in rung(desk):
        generation.run_shard(desk.context, ours, shard)
    found = desk.rows("SELECT DISTINCT batch_id, model FROM results ORDER BY batch_id")
    assert sorted(found) == sorted([(theirs.id, OTHER), (own.id, MODEL)])
    assert desk.rows("SELECT DISTINCT worker, model FROM windows WHERE worker = 'two'") == [("two", OTHER)]


def test_it_expires_like_any_other(desk: Desk, engine: EchoEngine) -> None:
    batch_id = desk.validated(requests(2), completion_window="1h").id
    desk.clock.advance(timedelta(hours=1))
    reconciliation.reconcile(desk.context)
    desk.work(desk.worker(engine))
    batch = desk.batch(batch_id)
    assert (batch.status, batch.model, batch.failed) == (BatchStatus.EXPIRED, OTHER, 2)


def test_a_worker_that_left_is_told_and_no_longer_rung_for(desk: Desk) -> None:
    desk.see(model=OTHER)
    desk.clock.advance(SEEN + timedelta(seconds=1))
    desk.see()
    batch = desk.validated(requests(10))
    assert rung(desk, f"@{OTHER}") == []
    assert plan_of(desk, batch.id)["waits_for_worker"] is True


def test_a_model_that_is_served_elsewhere_is_waited_for_in_its_zone(desks: Desks) -> None:
    desk = desks.desk(zone="A", zones=("A", "B"), shard_size=10)
    with desk.context.database.transaction() as connection:
        profiles.put(connection, TENANT, OTHER, [a_profile()], NOON)
    desk.see(zone="A")
    desk.see(zone="B", model=OTHER, worker="b")
    home = desk.validated(requests(10))
    assert plan_of(desk, home.id)["reason"] == (
        f"No worker of {OTHER} is seen in zone A: it waits for one, and runs nowhere else."
    )
    anywhere = desk.validated(requests(10), metadata={"sprout_zones": "any"})
    reconciliation.reconcile(desk.context)
    assert rung(desk, f"B@{OTHER}") == [f"{anywhere.id}:1-10"]


def test_one_model_s_backlog_is_not_in_another_s_way(desk: Desk) -> None:
    """A hundred requests an hour on each, and one model has five hours to do."""
    desk.measure()
    with desk.context.database.transaction() as connection:
        profiles.put(connection, TENANT, OTHER, [a_profile()], NOON)
    desk.see(worker="one")
    desk.see(worker="two", model=OTHER)
    busy, idle = desk.validated(requests(500)), desk.validated(requests(100, MODEL))
    assert plan_of(desk, busy.id)["expected_end"] == (NOON + timedelta(hours=5)).isoformat()
    assert plan_of(desk, idle.id)["expected_end"] == (NOON + timedelta(hours=1)).isoformat()
    assert [quote(desk, model) for model in (OTHER, MODEL, None)] == [
        (NOON + timedelta(hours=hours)).isoformat() for hours in (6, 2, 2)
    ]


def quote(desk: Desk, model: str | None) -> str:
    asked: Mapping[str, Any] = {"completion_window": "24h", "zones": None, "level": None, "size": 0}
    return quotes.quote(desk.context, TENANT, requests={"default": 100}, model=model, **asked).options[0].expected_end


def test_nothing_is_said_of_a_model_that_was_never_measured_or_is_not_there(desk: Desk) -> None:
    with pytest.raises(Conflict, match=f"No request of {OTHER} was measured yet"):
        quote(desk, OTHER)
    with desk.context.database.transaction() as connection:
        profiles.put(connection, TENANT, OTHER, [a_profile()], NOON)
    with pytest.raises(Conflict, match=f"No worker of {OTHER} is seen in zone WORLD"):
        quote(desk, OTHER)


def mixes_of(desk: Desk, model: str) -> set[str]:
    with desk.context.database.transaction() as connection:
        return set(mixes.current(connection, TENANT, "WORLD", model))


def test_every_model_has_mixes_of_its_own(desk: Desk) -> None:
    desk.validated(requests(1), metadata={"sprout_workload": "mail"})
    desk.validated(requests(1, MODEL), metadata={"sprout_workload": "news"})
    assert (mixes_of(desk, OTHER), mixes_of(desk, MODEL)) == ({"mail"}, {"news"})
    shown = Api(desk.context).get("/sprout/v1/directives", params={"model": OTHER})
    assert (shown["run"]["model"], [mix["workload"] for mix in shown["mixes"]]) == (OTHER, ["mail"])
    own = Api(desk.context).get("/sprout/v1/directives")
    assert (own["run"]["model"], [mix["workload"] for mix in own["mixes"]]) == (MODEL, ["news"])


def test_mixes_are_computed_for_the_models_that_matter(desk: Desk) -> None:
    def models() -> list[str]:
        return [run.model for run in directives.recompute(desk.context, _Silent())]

    assert models() == [MODEL]
    desk.see(model=OTHER)
    assert models() == [MODEL, OTHER]
    desk.clock.advance(REMEMBERED + timedelta(seconds=1))
    assert models() == [MODEL]
    desk.validated(requests(1, "a"))
    assert models() == [MODEL, "a"]


class _Silent:
    name, basis = "silent", "lifecycle-average"

    def fetch(self, *_: object) -> Sequence[Any]:
        return ()

    def forecast(self, *_: object) -> None:
        return None


def test_what_a_request_used_counts_for_its_model_only(desk: Desk, other: Desk, engine: EchoEngine) -> None:
    desk.see(model=OTHER)
    desk.validated(requests(10))
    for shard in rung(desk, f"@{OTHER}"):
        generation.run_shard(other.context, other.worker(engine), shard)
    directives.recompute(desk.context, _Silent())
    with desk.context.database.transaction() as connection:
        assert [profile.requests for profile in profiles.all_of(connection, TENANT, OTHER)] == [10]
        assert profiles.traffic(connection, TENANT, OTHER, NOON - PAST) == {"default": 10}
        assert profiles.all_of(connection, TENANT, MODEL) == []


def test_classes_of_prompts_are_looked_for_with_every_model(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.see(model=OTHER)
    with caplog.at_level("INFO", logger="app.services.discovery"):
        discovery.discover(desk.context)
    assert [record.args and record.args[1] for record in caplog.records] == [MODEL, OTHER]


def test_clients_see_the_models_that_are_served_and_the_installation_s_own(desk: Desk) -> None:
    api = Api(desk.context)
    assert [model["id"] for model in api.get("/v1/models")["data"]] == [MODEL]
    desk.see(model=OTHER)
    desk.see(model="a")
    listed = api.get("/v1/models")["data"]
    assert [model["id"] for model in listed] == [MODEL, "a", OTHER]
    assert [api.get(f"/v1/models/{model['id']}") for model in listed] == listed
    assert listed[0] == {"id": MODEL, "object": "model", "created": 0, "owned_by": "sprout"}
