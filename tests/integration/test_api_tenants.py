"""Keys, scopes and what tenants see of each other, at the API's door."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from starlette.routing import Route

from app.api.access import OPEN_PATHS
from app.api.callers import KNOWN_S, Callers
from app.api.scopes import SCOPES
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.domain.tenant import EVERYTHING, Limits, Scope
from app.services import keys, rounds, tenants, webhooks
from app.web.pages import VOTE_PAGE
from tests.support.api import Api, error_of
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, chat, line, store_batch, store_mix, store_verdicts
from tests.support.services import Desk, FailingDatabase, jsonl

Headers = dict[str, str]


def bearer(secret: str) -> Headers:
    return {"Authorization": f"Bearer {secret}"}


def a_key(desk: Desk, tenant: str, *scopes: str, lifetime: timedelta | None = None) -> str:
    made = keys.create(desk.context.database, desk.clock, tenant, scopes=scopes or tuple(EVERYTHING), lifetime=lifetime)
    return made.secret


def prefix_of(secret: str) -> str:
    return secret.split("-")[2]


@pytest.fixture
def other(desk: Desk) -> Headers:
    """Headers of a second tenant that may do everything."""
    tenants.add(desk.context.database, desk.clock, "other", weight=1.0, allowed=Limits())
    return bearer(a_key(desk, "other"))


def outlive(desk: Desk) -> None:
    """What an API process remembers of keys is old."""
    desk.clock.advance(seconds=KNOWN_S)


def test_every_route_declares_its_scope(api: Api) -> None:
    routes = {
        (route.path, method)
        for route in api.app.routes
        if isinstance(route, Route) and route.path not in OPEN_PATHS | {VOTE_PAGE}
        for method in (route.methods or set()) - {"HEAD"}
    }
    declared = {(path, method) for path, methods in SCOPES.items() for method in methods}
    assert routes == declared


def request_for(path: str, method: str) -> tuple[str, str]:
    return method, re.sub(r"\{\w+\}", "x", path)


def test_a_key_does_what_its_scopes_say_and_no_more(api: Api, desk: Desk, other: Headers) -> None:
    by_scope = {scope: bearer(a_key(desk, "other", scope)) for scope in Scope}
    for path, methods in SCOPES.items():
        for method, needed in methods.items():
            for scope, headers in by_scope.items():
                answer = api(*request_for(path, method), headers=headers)
                if scope is needed:
                    assert answer.status_code not in (401, 403), (method, path, answer.text)
                else:
                    assert needed in error_of(answer, 403)["message"], (method, path, scope)
    # What nobody declared is closed to everybody but those who may do everything.
    for method, path in (("GET", "/nowhere"), ("PUT", "/v1/batches"), ("GET", "/v1/files/"), ("GET", "/v1//files")):
        error_of(api(method, path, headers=by_scope[Scope.OPERATE]), 404)
        error_of(api(method, path, headers=by_scope[Scope.WRITE]), 404)


def test_a_key_is_shown_once_and_only_its_hash_is_kept(desk: Desk, other: Headers) -> None:
    secret = other["Authorization"].removeprefix("Bearer ")
    assert re.fullmatch(r"sk-sprout-[0-9a-f]{12}-[0-9a-f]{64}", secret)
    [row] = desk.rows("SELECT api_keys::text FROM api_keys")
    assert prefix_of(secret) in row
    assert secret.rsplit("-", 1)[1] not in row


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.replace("sk-", "SK-"),
        lambda key: "x" + key,
        lambda key: f"sk-sprout-{prefix_of(key)}",
        lambda key: f"sk-sprout-{prefix_of(key)}-",
        lambda key: "sk-sprout--" + key.rsplit("-", 1)[1],
        lambda key: "sk-sprout-\u00e9-0",
        lambda key: "sk-sprout-a\0b-0",
        lambda key: "sk-sprout-' OR 1=1-0",
        lambda key: "",
        lambda key: "k" * 8000,
    ],
)
def test_a_key_that_is_nearly_right_is_wrong(api: Api, other: Headers, spoil: Any) -> None:
    wrong = f"Bearer {spoil(other['Authorization'].removeprefix('Bearer '))}".encode()
    assert error_of(api("GET", "/v1/files", headers={b"Authorization": wrong}), 401)["code"] == "invalid_api_key"


def test_a_key_that_has_ended_is_wrong_within_seconds(api: Api, desk: Desk, other: Headers) -> None:
    database, clock = desk.context.database, desk.clock
    brief = a_key(desk, "other", Scope.READ, lifetime=timedelta(minutes=10))
    revoked = a_key(desk, "other", Scope.READ)
    for secret in (brief, revoked):
        api.get("/v1/files", headers=bearer(secret))
    keys.revoke(database, clock, prefix_of(revoked))
    outlive(desk)
    error_of(api("GET", "/v1/files", headers=bearer(revoked)), 401)
    # Its end is known, so that it comes to the second.
    clock.moment += timedelta(minutes=10, seconds=-KNOWN_S - 1)
    api.get("/v1/files", headers=bearer(brief))
    clock.advance(seconds=1)
    error_of(api("GET", "/v1/files", headers=bearer(brief)), 401)
    tenants.disable(database, clock, "other")
    outlive(desk)
    error_of(api("GET", "/v1/files", headers=other), 401)
    tenants.disable(database, clock, "other", is_disabled=False)
    outlive(desk)
    api.get("/v1/files", headers=other)


def test_a_rotated_key_goes_on_for_a_while(api: Api, desk: Desk, other: Headers) -> None:
    database, clock = desk.context.database, desk.clock
    old = a_key(desk, "other", Scope.READ, Scope.VOTE, lifetime=timedelta(days=90))
    new = keys.rotate(database, clock, prefix_of(old), overlap=timedelta(hours=2))
    assert (set(new.key.scopes), new.key.tenant_id) == ({Scope.READ, Scope.VOTE}, "other")
    assert new.key.expires_at == clock.now() + timedelta(days=90)
    clock.advance(hours=1, minutes=59)
    for secret in (old, new.secret):
        api.get("/v1/files", headers=bearer(secret))
    clock.advance(minutes=1)
    error_of(api("GET", "/v1/files", headers=bearer(old)), 401)
    api.get("/v1/files", headers=bearer(new.secret))
    with pytest.raises(Conflict, match="has ended"):
        keys.rotate(database, clock, prefix_of(old))
    with pytest.raises(NotFound):
        keys.rotate(database, clock, "nobody")
    # A longer overlap than the key has to live does not make it live longer.
    short = a_key(desk, "other", lifetime=timedelta(hours=1))
    keys.rotate(database, clock, prefix_of(short), overlap=timedelta(hours=5))
    clock.advance(hours=1)
    error_of(api("GET", "/v1/files", headers=bearer(short)), 401)


def test_keys_that_cannot_be_made(desk: Desk) -> None:
    database, clock = desk.context.database, desk.clock
    for scopes in ((), ("root",)):
        with pytest.raises(InvalidInput):
            keys.create(database, clock, "default", scopes=scopes)
    with pytest.raises(InvalidInput):
        keys.create(database, clock, "default", lifetime=timedelta(0))
    with pytest.raises(NotFound, match="no tenant 'nobody'"):
        keys.create(database, clock, "nobody")
    for name in ("", "a b", "../x", "x" * 65, "a\0", "-a", "é"):
        with pytest.raises(InvalidInput):
            tenants.add(database, clock, name, weight=1.0, allowed=Limits())
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput):
            tenants.add(database, clock, "x", weight=weight, allowed=Limits())
    for limits in ({"tokens_per_day": -1}, {"carbon_g_per_month": float("nan")}, {"queued_requests": 2**63}):
        with pytest.raises(InvalidInput):
            Limits(**limits)
    with pytest.raises(Conflict):
        tenants.add(database, clock, "default", weight=1.0, allowed=Limits())


def test_once_there_is_a_key_one_is_asked_for_here_too(api: Api, desk: Desk) -> None:
    api.get("/v1/files")
    secret = a_key(desk, "default")
    outlive(desk)
    for headers in ({}, bearer("unused")):
        assert error_of(api("GET", "/v1/files", headers=headers), 401)["code"] == "invalid_api_key"
    assert api("GET", VOTE_PAGE).status_code == 200
    # From anywhere: it is the key that opens.
    api.get("/v1/files", headers={**bearer(secret), "Origin": "http://page.example"}, base_url="http://gpu.example")
    keys.revoke(desk.context.database, desk.clock, prefix_of(secret))
    outlive(desk)
    error_of(api("GET", "/v1/files"), 401)


def test_the_operators_key_is_the_default_tenants(desks: Any, other: Headers) -> None:
    desk = desks.desk(api_key="operator")
    api = Api(desk.context)
    mine = bearer("operator")
    file_id = api("POST", "/v1/files", data={"purpose": "batch"}, files={"file": ("x", b"1")}, headers=mine).json()[
        "id"
    ]
    assert desk.rows("SELECT tenant_id FROM files WHERE id = :id", id=file_id) == ["default"]
    assert api("GET", "/metrics", headers=mine).status_code == 200
    error_of(api("GET", f"/v1/files/{file_id}", headers=other), 404)


def test_an_api_that_is_open_to_the_network_asks_for_a_key_though_there_is_none(desks: Any) -> None:
    api = Api(desks.desk(api_host="0.0.0.0").context)
    error_of(api("GET", "/v1/files"), 401)


def test_keys_are_looked_up_every_few_seconds(desk: Desk, other: Headers) -> None:
    context = desk.context
    given = other["Authorization"].removeprefix("Bearer ").encode()
    database = FailingDatabase(context.database)
    callers = Callers(type(context)(**{**vars(context), "database": database}))  # type: ignore[arg-type]

    async def ask() -> list[keys.Caller | None]:
        return [await callers.of(given), await callers.of(b"sk-sprout-wrong-1")]

    known = asyncio.run(ask())
    assert known[0] is not None
    assert known[0].tenant == "other"
    database.failures = 10
    assert asyncio.run(ask()) == known
    assert database.refused == 0
    used = desk.rows("SELECT last_used_at FROM api_keys")
    assert used == [desk.clock.now()]
    database.failures = 0
    outlive(desk)
    asyncio.run(ask())
    assert desk.rows("SELECT last_used_at FROM api_keys") == used
    desk.clock.advance(minutes=1)
    asyncio.run(ask())
    assert desk.rows("SELECT last_used_at FROM api_keys") == [desk.clock.now()]


def populated(desk: Desk, engine: EchoEngine) -> dict[str, str]:
    """Ids of everything of the default tenant."""
    content = jsonl(line(f"r{number}", body=chat(f"SECRET words {number}")) for number in range(3))
    done = desk.validated(content)
    desk.work(desk.worker(engine))
    waits = desk.validated(content, metadata={"sprout_schedule": "carbon"})
    with desk.context.database.transaction() as connection:
        store_mix(connection)
        store_verdicts(connection, wins=3)
    file_id = desk.batch(done.id).output_file_id
    assert file_id is not None
    url, events = "https://hooks.example.com/SECRET", ["batch.completed"]
    hook = webhooks.add(desk.context, "default", url=url, event_types=events, name="SECRET")
    ids = {"batch_id": done.id, "waits": waits.id, "file_id": file_id, "input": done.input_file_id}
    return {**ids, "webhook": hook.id}


OWNED = {"batch_id": ("batch_id", "waits"), "file_id": ("file_id", "input"), "webhook_id": ("webhook",)}
"""By parameter of a route, what `populated` has of the kind."""


def test_nothing_of_one_tenant_is_visible_to_another(api: Api, desk: Desk, engine: EchoEngine, other: Headers) -> None:
    ids = populated(desk, engine)
    before = desk.rows("SELECT batches::text FROM batches ORDER BY id")
    for path, methods in SCOPES.items():
        for method in methods:
            name = next(iter(re.findall(r"\{(\w+)\}", path)), None)
            for owned in OWNED[name] if name else ():
                value = ids[owned]
                answer = api(method, path.replace(f"{{{name}}}", value), headers=other)
                error_of(answer, 404)
                assert "SECRET" not in answer.text
    assert desk.rows("SELECT batches::text FROM batches ORDER BY id") == before
    body = {"input_file_id": ids["input"], "endpoint": ENDPOINT, "completion_window": "24h"}
    error_of(api("POST", "/v1/batches", headers=other, json=body), 404)
    for path in ("/v1/files", "/v1/batches"):
        assert api.get(path, headers=other)["data"] == []
        error_of(
            api("GET", path, headers=other, params={"after": ids["batch_id" if "batches" in path else "input"]}), 404
        )
    assert api.get("/sprout/v1/directives", headers=other) == {"run": None, "mixes": []}
    seen = api.get("/sprout/v1/evaluations", headers=other)
    assert [seen[name] for name in ("decision", "levels", "judges", "rounds", "saved", "events")] == [None, *[[]] * 5]
    assert seen["overhead"]["served_g"] == 0
    assert api.get("/sprout/v1/votes/next", headers=other, params={"voter": "ann"}) == {"pair": None}
    error_of(api("POST", "/sprout/v1/votes", headers=other, json={"voter": "ann", "pair": "x", "choice": "first"}), 404)
    for path, methods in SCOPES.items():
        if "GET" in methods and "{" not in path:
            answer = api("GET", path, headers=other, params={"voter": "ann"})
            assert not any(value in answer.text for value in (*ids.values(), "SECRET")), path


def test_every_tenant_has_mixes_and_rounds_of_its_own(desk: Desk, other: Headers) -> None:
    with desk.context.database.transaction() as connection:
        store_batch(connection, tenant_id="other", lines=1)
    rounds.consider(desk.context)
    found = desk.rows("SELECT tenant_id FROM evaluation_decisions ORDER BY 1")
    assert found == ["default", "other"]
    tenants.disable(desk.context.database, desk.clock, "other")
    rounds.consider(desk.context)
    assert desk.rows("SELECT count(*) FROM evaluation_decisions WHERE tenant_id = 'other'") == [1]
