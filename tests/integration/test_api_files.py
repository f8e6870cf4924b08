from __future__ import annotations

import pytest

from tests.support.api import Api, error_of
from tests.support.factories import line
from tests.support.services import Desk, Desks, jsonl

FILE_KEYS = {
    "id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "status_details",
}  # fmt: skip
LIST_KEYS = {"object", "data", "first_id", "last_id", "has_more"}


def test_an_upload_has_the_recorded_shape(api: Api, desk: Desk) -> None:
    sent = api.post("/v1/files", data={"purpose": "batch"}, files={"file": ("mein.jsonl", b"12345")})
    assert set(sent) == FILE_KEYS
    assert sent["id"].startswith("file-")
    assert sent | {"id": ""} == {
        "id": "",
        "object": "file",
        "bytes": 5,
        "created_at": int(desk.clock.now().timestamp()),
        "expires_at": None,
        "filename": "mein.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert api.get(f"/v1/files/{sent['id']}") == sent


def test_content_comes_back_as_it_was_sent(api: Api) -> None:
    content = bytes(range(256)) * 5000
    file_id = api.upload(content)
    response = api("GET", f"/v1/files/{file_id}/content")
    assert response.status_code == 200
    assert response.content == content


@pytest.mark.parametrize("name", ["übung.jsonl", 'quote".jsonl', "../../etc/passwd", "a b;c.jsonl", "x" * 300])
def test_any_file_name(api: Api, desk: Desk, name: str) -> None:
    file_id = api.upload(b"1", filename=name)
    assert api.get(f"/v1/files/{file_id}")["filename"]
    assert api("GET", f"/v1/files/{file_id}/content").content == b"1"
    assert desk.stored_files() == {file_id}


def test_files_are_listed_newest_first(api: Api, desk: Desk) -> None:
    ids = []
    for _ in range(3):
        ids.append(api.upload(b"1"))
        desk.clock.advance(seconds=1)
    listed = api.get("/v1/files")
    assert set(listed) == LIST_KEYS
    assert [file["id"] for file in listed["data"]] == ids[::-1]
    assert (listed["object"], listed["first_id"], listed["last_id"], listed["has_more"]) == (
        "list",
        ids[2],
        ids[0],
        False,
    )
    assert all(set(file) == FILE_KEYS for file in listed["data"])
    page = api.get("/v1/files?limit=1")
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[2]], True)
    page = api.get(f"/v1/files?limit=2&after={ids[2]}")
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[1], ids[0]], False)
    assert api.get("/v1/files?purpose=batch_output")["data"] == []


def test_an_empty_list(api: Api) -> None:
    assert api.get("/v1/files") == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_file_can_be_deleted(api: Api, desk: Desk) -> None:
    file_id = api.upload(b"1")
    assert api("DELETE", f"/v1/files/{file_id}").json() == {"id": file_id, "object": "file", "deleted": True}
    assert desk.stored_files() == set()
    assert file_id in error_of(api("GET", f"/v1/files/{file_id}"), 404)["message"]


def test_a_file_of_a_batch_cannot_be_deleted(api: Api, desk: Desk) -> None:
    """400 as OpenAI answers: its client repeats a 409."""
    batch = desk.batch(desk.submit(jsonl([line()])))
    error_of(api("DELETE", f"/v1/files/{batch.input_file_id}"), 400)
    assert api.get(f"/v1/files/{batch.input_file_id}")["bytes"] > 0


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/content"), ("DELETE", "")])
def test_an_unknown_file(api: Api, method: str, path: str) -> None:
    assert "file-none" in error_of(api(method, f"/v1/files/file-none{path}"), 404)["message"]


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"data": {"purpose": "fine-tune"}, "files": {"file": ("x", b"1")}}, "purpose"),
        ({"data": {}, "files": {"file": ("x", b"1")}}, "purpose"),
        ({"data": {"purpose": "batch"}}, "file"),
        ({"data": {"purpose": "batch"}, "files": {"file": ("x", b"")}}, "file"),
        ({"data": {"purpose": "batch", "file": "text"}}, "file"),
        ({"json": {"purpose": "batch"}}, "file"),
    ],
)
def test_an_upload_that_cannot_be_used(api: Api, desk: Desk, arguments: dict[str, object], param: str) -> None:
    assert error_of(api("POST", "/v1/files", **arguments), 400)["param"] == param
    assert desk.stored_files() == set()
    assert api.get("/v1/files")["data"] == []


def test_an_upload_over_the_limit(desks: Desks) -> None:
    desk = desks.desk(max_file_bytes=1000)
    api = Api(desk.context)
    response = api("POST", "/v1/files", data={"purpose": "batch"}, files={"file": ("x", b"1" * 1001)})
    assert "larger than 1000 bytes" in error_of(response, 400)["message"]
    assert desk.stored_files() == set()


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x"])
def test_a_limit_out_of_range(api: Api, query: str) -> None:
    assert error_of(api("GET", f"/v1/files?{query}"), 400)["param"] == "limit"


@pytest.mark.parametrize("name", [b"nul\x00.jsonl", b"latin\xff.jsonl", b"\x07bell", b""])
def test_file_names_that_no_client_should_send(api: Api, name: bytes) -> None:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n1\r\n--b--\r\n',
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = api("POST", "/v1/files", content=b"".join(parts), headers=headers)
    if response.status_code != 200:
        error_of(response, 400)
    for file in api.get("/v1/files")["data"]:
        assert api("GET", f"/v1/files/{file['id']}/content").content == b"1"
