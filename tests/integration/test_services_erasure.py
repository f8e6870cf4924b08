"""Erasing: a marker that was everywhere is nowhere afterwards."""

from __future__ import annotations

import pytest

from app.domain.completion import Completion, EngineRequest
from app.domain.errors import Conflict, NotFound
from app.domain.retention import Kept
from app.ports import Task
from app.services import batches, directives, discovery, erasure, files, retention
from app.services.files import Described
from app.store import batches as stored_batches
from app.store import events
from app.store.database import TENANT
from tests.support.api import Api, error_of
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, line, store_verdicts
from tests.support.grid import ScriptedProvider
from tests.support.judge import ScriptedJudge
from tests.support.rounds import HOURS, ended
from tests.support.search import files_with, tables_with
from tests.support.services import Desk, Desks, ScriptedMeter, jsonl

MARKER = "zanzibarquux"
"""A word, so that it is learned as one of the vocabulary."""


class TalkativeJudge(ScriptedJudge):
    """Whose replies cite what it was asked."""

    def judge(self, comparisons):  # type: ignore[no-untyped-def]
        for group in super().judge(comparisons):
            yield [type(one)(**{**vars(one), "reply": f"{MARKER} {one.reply}"}) for one in group]


@pytest.fixture
def desk(desks: Desks) -> Desk:
    """An installation with a judge, whose budget is as large as what it serves."""
    desk = desks.desk(judge="engine", evaluation_budget=1.0, kept_at_l0=0.1)
    with desk.context.database.transaction() as connection:
        for level in (1, 2):
            store_verdicts(connection, wins=20, losses=20, level=level, created_at=desk.clock.now())
    return desk


def upload(desk: Desk, content: bytes, name: str = f"{MARKER}.jsonl") -> str:
    return files.upload(desk.context, TENANT, chunks=[content], describe=lambda: Described(name, "batch")).id


def create(desk: Desk, file_id: str, **metadata: str) -> str:
    return batches.create(
        desk.context,
        TENANT,
        input_file_id=file_id,
        endpoint=ENDPOINT,
        completion_window="24h",
        metadata=metadata or None,
    ).id


def marked(desk: Desk) -> str:
    """The id of a batch that has left the marker wherever a batch can leave it, in a round of evaluation too."""
    content = jsonl(
        line(
            f"{MARKER}-{number}",
            text=f"Tell me of {MARKER} and of the number {number}",
            metadata={"note": MARKER},
            **({"temperature": 0} if number % 2 else {}),
        )
        for number in range(120)
    )
    desk.expect(HOURS)
    meter = ScriptedMeter()
    worker = desk.worker(EchoEngine(), meter)
    batch_id = create(desk, upload(desk, content), note=MARKER, sprout_cache="on")
    desk.work(worker)
    directives.recompute(desk.context, ScriptedProvider(400.0))
    discovery.discover(desk.context)
    desk.clock.advance(hours=8)
    desk.expect(HOURS)
    meter.step_j = 0.1
    ended(desk, worker, [TalkativeJudge()])
    return batch_id


EXPECTED = {
    "batches.metadata",
    "class_models.vocabulary",
    "evaluation_samples.answers",
    "evaluation_samples.body",
    "files.filename",
    "requests.body",
    "requests.custom_id",
    "responses.body",
    "verdicts.replies",
}


def test_a_batch_leaves_nothing(desk: Desk) -> None:
    batch_id = marked(desk)
    database, home = desk.context.database, desk.context.settings.home
    assert tables_with(database, MARKER) >= EXPECTED
    assert len(files_with(home, MARKER)) == 2
    desk.dispatcher.take_all()
    found = erasure.erase_batch(desk.context, TENANT, batch_id)
    assert (found.complete, found.kept_input) == (True, None)
    # The words that it taught are asked to be learned anew, at once.
    assert (Task.DISCOVER, "erased") in desk.dispatcher.take_all()
    assert tables_with(database, MARKER) <= {"class_models.vocabulary"}
    discovery.discover(desk.context)
    assert tables_with(database, MARKER) == set()
    assert files_with(home, MARKER) == set()
    with pytest.raises(NotFound):
        batches.get(desk.context, TENANT, batch_id)


def test_a_tenant_leaves_nothing_and_others_keep_theirs(desk: Desk) -> None:
    marked(desk)
    database, home = desk.context.database, desk.context.settings.home
    with database.transaction() as connection:
        for tenant in (TENANT, "other"):
            events.add(
                connection, tenant=tenant, kind="k", message=MARKER, details={"workload": MARKER}, now=desk.clock.now()
            )
    retention.set_time(desk.context, TENANT, Kept.PROMPTS, 1e9)
    # One that waits, one that is read, and one whose file nobody has used.
    create(desk, upload(desk, jsonl([line(MARKER)])))
    assert tables_with(database, MARKER) >= {*EXPECTED, "events.message", "events.details"}
    erasure.erase_tenant(desk.context, TENANT)
    assert tables_with(database, MARKER) == {"events.message", "events.details"}
    assert desk.rows("SELECT tenant_id FROM events") == ["other"]
    assert files_with(home, MARKER) == set()
    named = desk.rows(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'tenant_id'"
    )
    assert len(named) > 12
    left = {table: desk.rows(f"SELECT count(*) FROM {table} WHERE tenant_id = :t", t=TENANT)[0] for table in named}
    assert set(left.values()) == {0}, left
    with pytest.raises(NotFound, match="nothing of a tenant 'default'"):
        erasure.erase_tenant(desk.context, TENANT)
    erasure.erase_tenant(desk.context, "other")
    assert tables_with(database, MARKER) == set()


def test_words_are_learned_anew_from_what_is_left(desk: Desk) -> None:
    worker = desk.worker(EchoEngine())
    ids = [
        create(
            desk, upload(desk, jsonl(line(f"r-{number}", text=f"Tell me of {word} {number}") for number in range(110)))
        )
        for word in (MARKER, "flowers")
    ]
    desk.work(worker)
    desk.see()
    discovery.discover(desk.context)
    assert desk.rows("SELECT version FROM class_models WHERE :w = ANY(vocabulary)", w=MARKER) == [1]
    erasure.erase_batch(desk.context, TENANT, ids[0])
    discovery.discover(desk.context)
    # The names of classes go on: the new version comes from the old one, which is gone.
    assert desk.rows("SELECT version, :w = ANY(vocabulary), stale FROM class_models", w=MARKER) == [(2, False, False)]


def test_what_is_learned_while_a_batch_is_erased_is_not_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = desk.worker(EchoEngine())
    batch_id = create(desk, upload(desk, jsonl(line(f"r-{n}", text=f"Tell me of {MARKER} {n}") for n in range(110))))
    desk.work(worker)
    desk.see()
    learn = discovery.fit

    def fit(*given, **more):  # type: ignore[no-untyped-def]
        erasure.erase_batch(desk.context, TENANT, batch_id)
        return learn(*given, **more)

    monkeypatch.setattr(discovery, "fit", fit)
    discovery.discover(desk.context)
    assert desk.rows("SELECT version FROM class_models") == []


def test_a_running_batch_is_stopped(desk: Desk) -> None:
    """Its worker finds the lease gone, and writes nothing more."""
    erased: list[str] = []

    def on_request(request: EngineRequest) -> Completion | None:
        if not erased:
            erased.append(batch_id)
            erasure.erase_batch(desk.context, TENANT, batch_id)
        return None

    worker = desk.worker(EchoEngine(on_request))
    batch_id = create(desk, upload(desk, jsonl(line(f"{MARKER}-{n}", text=MARKER) for n in range(3))))
    desk.work(worker)
    assert erased == [batch_id]
    assert tables_with(desk.context.database, MARKER) == set()
    assert files_with(desk.context.settings.home, MARKER) == set()


def test_a_shared_input_stays_until_its_last_batch_is_erased(desk: Desk) -> None:
    served = Api(desk.context)
    file_id = upload(desk, jsonl([line(MARKER)]))
    first, second = create(desk, file_id), create(desk, file_id)
    desk.work(desk.worker(EchoEngine()))
    said = served("DELETE", f"/sprout/v1/batches/{first}").json()
    assert said == {
        "id": first,
        "object": "batch",
        "deleted": True,
        "complete": True,
        "kept_input": f"Batch '{second}' has the input file '{file_id}' too: it stays until that is erased.",
    }
    shown = [batch["id"] for batch in served.get("/v1/batches")["data"]]
    assert (first in shown, second in shown) == (False, True)
    error_of(served("DELETE", f"/sprout/v1/batches/{first}"), 404)
    assert served("DELETE", f"/sprout/v1/batches/{second}").json()["kept_input"] is None
    assert files_with(desk.context.settings.home, MARKER) == set()
    assert tables_with(desk.context.database, MARKER) == set()


def test_only_the_owner_erases_and_not_while_it_is_read(desk: Desk) -> None:
    batch_id = create(desk, upload(desk, jsonl([line(MARKER)])))
    with pytest.raises(NotFound):
        erasure.erase_batch(desk.context, "other", batch_id)
    with desk.context.database.transaction() as connection:
        assert stored_batches.claim(connection, batch_id)
        with pytest.raises(Conflict, match="read or written just now"):
            erasure.erase_batch(desk.context, TENANT, batch_id)
    assert batches.get(desk.context, TENANT, batch_id)[0].erased_at is None


def test_the_tick_goes_on_with_what_a_call_left(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large batch a call removes only a part; so does one that is killed."""
    monkeypatch.setattr(erasure, "ROWS", 2)
    monkeypatch.setattr(erasure, "AT_ONCE", 2)
    batch_id = create(desk, upload(desk, jsonl(line(f"{MARKER}-{n}") for n in range(9))))
    desk.work(desk.worker(EchoEngine()))
    assert not erasure.erase_batch(desk.context, TENANT, batch_id).complete
    assert tables_with(desk.context.database, MARKER)
    with pytest.raises(NotFound):
        batches.get(desk.context, TENANT, batch_id)
    page, _ = batches.newest(desk.context, TENANT, after=None, limit=10)
    assert batch_id not in [batch.id for batch, _ in page]
    for _ in range(20):
        if retention.forget(desk.context, pieces=3):
            break
    assert tables_with(desk.context.database, MARKER) == set()
    assert files_with(desk.context.settings.home, MARKER) == set()
    assert desk.rows("SELECT count(*) FROM batches WHERE erased_at IS NOT NULL") == [0]
