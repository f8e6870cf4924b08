from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.api import LOCAL, Api, error_of
from tests.support.engine import EchoEngine
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
    assert [file["id"] for file in api.get("/v1/files?order=asc")["data"]] == ids
    page = api.get(f"/v1/files?order=asc&limit=1&after={ids[0]}")
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[1]], True)


def test_an_empty_list(api: Api) -> None:
    assert api.get("/v1/files") == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_file_can_be_deleted(api: Api, desk: Desk) -> None:
    file_id = api.upload(b"1")
    assert api("DELETE", f"/v1/files/{file_id}").json() == {"id": file_id, "object": "file", "deleted": True}
    assert desk.stored_files() == set()
    assert file_id in error_of(api("GET", f"/v1/files/{file_id}"), 404)["message"]


def test_a_file_can_be_deleted_once_its_batch_has_ended(api: Api, desk: Desk) -> None:
    """400 before, as OpenAI answers: its client repeats a 409."""
    batch = desk.batch(desk.submit(jsonl([line()])))
    refusal = error_of(api("DELETE", f"/v1/files/{batch.input_file_id}"), 400)
    assert "wait for its end, or cancel it" in refusal["message"]
    assert api.get(f"/v1/files/{batch.input_file_id}")["bytes"] > 0
    desk.work(desk.worker(EchoEngine()))
    ended = api.get(f"/v1/batches/{batch.id}")
    for file_id in (ended["input_file_id"], ended["output_file_id"]):
        assert api("DELETE", f"/v1/files/{file_id}").json()["deleted"]
        error_of(api("GET", f"/v1/files/{file_id}/content"), 404)
    assert api.get(f"/v1/batches/{batch.id}") == ended
    assert desk.stored_files() == set()


def test_how_long_a_file_is_kept(api: Api, desk: Desk) -> None:
    form = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    sent = api.post("/v1/files", data=form, files={"file": ("x", b"1")})
    assert sent["expires_at"] == sent["created_at"] + 3600
    assert api.get("/v1/files")["data"] == [sent]
    desk.clock.advance(seconds=3600)
    assert api.get("/v1/files")["data"] == []
    for method, path in (("GET", ""), ("GET", "/content"), ("HEAD", "/content"), ("DELETE", "")):
        assert api(method, f"/v1/files/{sent['id']}{path}").status_code == 404


@pytest.mark.parametrize(
    ("anchor", "seconds", "param"),
    [
        ("created_at", "3599", "seconds"),
        ("created_at", "2592001", "seconds"),
        ("created_at", "1e5", "seconds"),
        ("created_at", "9" * 5000, "seconds"),
        ("created_at", "", "seconds"),
        ("created_at", None, "seconds"),
        ("last_active_at", "3600", "anchor"),
        (None, "3600", "anchor"),
    ],
)
def test_times_that_no_file_is_kept(api: Api, desk: Desk, anchor: str | None, seconds: str | None, param: str) -> None:
    form = {"purpose": "batch", "expires_after[anchor]": anchor, "expires_after[seconds]": seconds}
    form = {name: text for name, text in form.items() if text is not None}
    error = error_of(api("POST", "/v1/files", data=form, files={"file": ("x", b"1")}), 400)
    assert error["param"] == f"expires_after.{param}"
    assert desk.stored_files() == set()


@pytest.mark.parametrize(
    ("asked", "part", "content"),
    [
        ("bytes=0-", "0-9", b"0123456789"),
        ("bytes=2-4", "2-4", b"234"),
        ("Bytes= 9-9 ", "9-9", b"9"),
        ("bytes=7-1000", "7-9", b"789"),
        ("bytes=-3", "7-9", b"789"),
        ("bytes=-1000", "0-9", b"0123456789"),
        # What is no range, or several, is answered with the whole.
        ("bytes=4-2", None, b"0123456789"),
        ("bytes=0-1,3-4", None, b"0123456789"),
        ("bytes=-", None, b"0123456789"),
        ("bytes=x-y", None, b"0123456789"),
        ("lines=0-1", None, b"0123456789"),
        (f"bytes=0-{'9' * 5000}", None, b"0123456789"),
    ],
)
def test_a_range_of_the_content(api: Api, asked: str, part: str | None, content: bytes) -> None:
    path = f"/v1/files/{api.upload(b'0123456789')}/content"
    response = api("GET", path, headers={"Range": asked})
    assert (response.status_code, response.content) == (206 if part else 200, content)
    assert response.headers.get("content-range") == (f"bytes {part}/10" if part else None)
    assert response.headers["content-length"] == str(len(content))
    assert response.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=11-12", "bytes=-0"])
def test_a_range_behind_the_end(api: Api, asked: str) -> None:
    response = api("GET", f"/v1/files/{api.upload(b'0123456789')}/content", headers={"Range": asked})
    assert "10 bytes" in error_of(response, 416)["message"]
    assert response.headers["content-range"] == "bytes */10"


def test_the_content_is_asked_for_again(api: Api) -> None:
    path = f"/v1/files/{api.upload(b'0123456789', filename='größe;.jsonl')}/content"
    whole = api("GET", path)
    head = api("HEAD", path, headers={"Range": "bytes=2-4"})
    assert (head.status_code, head.content, dict(head.headers)) == (200, b"", dict(whole.headers))
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%3B.jsonl"
    tag, changed = whole.headers["etag"], whole.headers["last-modified"]
    for held, status in ((tag, 206), (changed, 206), ('"other"', 200), (f"W/{tag}", 200)):
        assert api("GET", path, headers={"Range": "bytes=2-4", "If-Range": held}).status_code == status
    for known, status in ((tag, 304), (f'"other", W/{tag}', 304), ("*", 304), ('"other"', 200)):
        response = api("GET", path, headers={"If-None-Match": known})
        assert (response.status_code, response.content) == (status, b"" if status == 304 else b"0123456789")


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
    assert "larger than 1000 bytes" in error_of(response, 413)["message"]
    assert desk.stored_files() == set()


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "order=up", "after=%00"])
def test_a_list_that_cannot_be_had(api: Api, query: str) -> None:
    assert error_of(api("GET", f"/v1/files?{query}"), 400)["param"] == query.partition("=")[0]


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


BOUNDARY = b"--b"
PURPOSE = b'\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
FILE = b'\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n12345\r\n'
END = b"--\r\n"


def send_form(api: Api, *parts: bytes, kind: str = "multipart/form-data; boundary=b") -> httpx.Response:
    return api("POST", "/v1/files", content=BOUNDARY + BOUNDARY.join(parts), headers={"Content-Type": kind})


@pytest.mark.parametrize("parts", [(PURPOSE, FILE, END), (FILE, PURPOSE, END)], ids=["purpose first", "file first"])
def test_fields_come_in_any_order(api: Api, parts: tuple[bytes, ...]) -> None:
    response = send_form(api, *parts)
    assert response.status_code == 200, response.text
    assert api("GET", f"/v1/files/{response.json()['id']}/content").content == b"12345"


def test_other_fields_are_passed_over(api: Api) -> None:
    other = PURPOSE.replace(b"purpose", b"expires_after[more]") + b"x" * 200_000 + b"\r\n"
    another = FILE.replace(b'name="file"', b'name="picture"')
    response = send_form(api, other, PURPOSE, another, FILE, END)
    assert response.json()["bytes"] == 5


@pytest.mark.parametrize(
    ("parts", "kind", "message"),
    [
        ((PURPOSE, FILE, FILE, END), "multipart/form-data; boundary=b", "several files: send one at a time"),
        ((PURPOSE, FILE), "multipart/form-data; boundary=b", "has no end: send it again"),
        ((PURPOSE, FILE[:-5]), "multipart/form-data; boundary=b", "has no end: send it again"),
        ((b"\r\nbad header\r\n\r\n", END), "multipart/form-data; boundary=b", "send multipart/form-data"),
        ((PURPOSE, FILE, END), "multipart/form-data; boundary=other", "send multipart/form-data"),
        ((PURPOSE, FILE, END), "multipart/form-data", "Send multipart/form-data with the fields purpose and file"),
        ((PURPOSE, FILE, END), "multipart/form-data; boundary=" + "b" * 300, "The form cannot be read"),
        ((PURPOSE.replace(b"batch", b"b" * 100_000), FILE, END), "multipart/form-data; boundary=b", "more than 65536"),
    ],
)
def test_forms_that_cannot_be_used(api: Api, desk: Desk, parts: tuple[bytes, ...], kind: str, message: str) -> None:
    assert message in error_of(send_form(api, *parts, kind=kind), 400)["message"]
    assert desk.stored_files() == set()


class Dribble(httpx.AsyncByteStream):
    """A body that comes a few bytes at a time, and may break off."""

    def __init__(self, content: bytes, step: int) -> None:
        self._content = content
        self._step = step

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), self._step):
            yield self._content[start : start + self._step]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_form_may_come_in_pieces_of_any_size(api: Api, step: int) -> None:
    content = b"\r\n--a\r\n--\r\n-\r\n--bad\r" * 50
    whole = BOUNDARY + BOUNDARY.join([PURPOSE, FILE.replace(b"12345", content), END]).replace(b"--bad", b"--xad")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    sent = api.post("/v1/files", content=Dribble(whole, step), headers=headers)
    assert api("GET", f"/v1/files/{sent['id']}/content").content == content.replace(b"--bad", b"--xad")


class Stalled(httpx.AsyncByteStream):
    """The beginning of a body, whose rest comes when `go_on` is set."""

    def __init__(self, rest: bytes, go_on: asyncio.Event) -> None:
        self._rest = rest
        self._go_on = go_on

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BOUNDARY
        await self._go_on.wait()
        yield self._rest


def test_slow_uploads_keep_nobody_waiting(api: Api) -> None:
    async def run() -> list[int]:
        go_on = asyncio.Event()
        rest = BOUNDARY.join([PURPOSE, FILE, END])
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url=LOCAL) as client:
            slow = [
                asyncio.create_task(client.post("/v1/files", content=Stalled(rest, go_on), headers=headers))
                for _ in range(60)
            ]
            async with asyncio.timeout(30):
                listed = await client.get("/v1/files")
            go_on.set()
            return [listed.status_code, *(response.status_code for response in await asyncio.gather(*slow))]

    assert asyncio.run(run()) == [200] * 61
