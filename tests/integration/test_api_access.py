from __future__ import annotations

import pytest

from tests.support.api import Api, error_of
from tests.support.services import Desks, FailingDatabase

PATHS = [
    ("GET", "/v1/files"),
    ("GET", "/v1/files/x"),
    ("GET", "/v1/files/x/content"),
    ("DELETE", "/v1/files/x"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/batches/x"),
    ("POST", "/v1/batches/x/cancel"),
    ("GET", "/v1/models"),
    ("GET", "/sprout/v1/directives"),
    ("GET", "/sprout/v1/votes/next"),
    ("GET", "/sprout/v1/batches/x/report"),
    ("GET", "/v1/batches/x/results"),
    ("POST", "/v1/batches/x/pause"),
    ("POST", "/v1/batches/x/resume"),
    ("POST", "/v1/batches/x/retry"),
]
UPLOAD = {"data": {"purpose": "batch"}, "files": {"file": ("x", b"1")}}


@pytest.fixture
def guarded(desks: Desks) -> Api:
    return Api(desks.desk(api_key="sésame").context)


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_web_page_may_not_call(api: Api, method: str, path: str) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:8000"):
        error_of(api(method, path, headers={"Origin": origin}), 403)


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example"])
def test_a_foreign_name_may_not_call(api: Api, method: str, path: str, host: str) -> None:
    error_of(api(method, path, headers={"Host": f"{host}:8000"}), 403)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST", "127.0.0.1"])
def test_this_machine_may_call(api: Api, host: str) -> None:
    assert api.get("/v1/models", headers={"Host": host})["object"] == "list"


@pytest.mark.parametrize("arguments", [{"headers": {"Origin": "null"}}, {"base_url": "http://evil.example"}])
def test_a_refused_upload_leaves_nothing(api: Api, arguments: dict[str, object]) -> None:
    error_of(api("POST", "/v1/files", **UPLOAD, **arguments), 403)
    assert api.get("/v1/files")["data"] == []


@pytest.mark.parametrize(("method", "path"), [*PATHS, ("POST", "/v1/files"), ("POST", "/v1/batches")])
@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer ", "", "Basic sésame"])
def test_a_key_is_asked_for(guarded: Api, method: str, path: str, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode()}
    arguments = UPLOAD if path == "/v1/files" and method == "POST" else {"json": {}} if path == "/v1/batches" else {}
    assert "SPROUT_API_KEY" in error_of(guarded(method, path, headers=headers, **arguments), 401)["message"]


def test_the_right_key_opens_from_anywhere(guarded: Api) -> None:
    headers = {"Authorization": "Bearer sésame".encode(), "Origin": "https://page.example"}
    assert guarded.get("/v1/models", headers=headers, base_url="http://gpu.example")["object"] == "list"


def test_health_needs_no_key(guarded: Api) -> None:
    assert guarded.get("/healthz", base_url="http://gpu.example") == {"status": "ok"}


def test_a_database_that_is_away_is_a_503(desks: Desks) -> None:
    database = FailingDatabase(desks.database)
    frail = Desks(database=database, clock=desks.clock, dispatcher=desks.dispatcher, home=desks.home).desk()
    api = Api(frail.context)
    database.failures = 2
    for method, path, arguments in (("GET", "/v1/batches", {}), ("POST", "/v1/files", UPLOAD)):
        assert "PostgreSQL" in error_of(api(method, path, **arguments), 503)["message"]
    assert frail.stored_files() == set()
    assert api.get("/v1/batches")["data"] == []


def test_a_broker_that_is_away_refuses_nobody(api: Api, desks: Desks) -> None:
    desks.dispatcher.away = True
    file_id = api.upload(b"1")
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert api.post("/v1/batches", json=body)["status"] == "validating"
