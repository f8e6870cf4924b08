"""One POST, against real servers on loopback: what it refuses to reach, and how long it lets itself be kept."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from app.outbound import post as module
from app.outbound.connection import is_private_number
from app.outbound.post import Reply, post
from tests.support.web import Answer, Asked, serving

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BODY = '{"a":"ä"}'


def send(url: str, *, private: bool = True, within_s: float = 5.0, addresses: Sequence[str] | None = None) -> Reply:
    names = {} if addresses is None else {"resolve": lambda host, port: addresses}
    return post(url, BODY, {"webhook-id": "e"}, private=private, now=NOW, within_s=within_s, **names)


def test_the_body_arrives_at_the_checked_address_under_its_own_name() -> None:
    seen: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        seen.append(asked)
        return Answer(status=204, content=b"")

    with serving(answer) as url:
        port = url.rpartition(":")[2]
        assert send(f"http://hooks.example.com:{port}/in?token=1", addresses=["127.0.0.1"]) == Reply()
    (asked,) = seen
    assert (asked.method, asked.path, asked.body) == ("POST", "/in?token=1", BODY.encode())
    assert asked.headers["host"] == f"hooks.example.com:{port}"
    assert (asked.headers["content-type"], asked.headers["webhook-id"]) == ("application/json", "e")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_nothing_private_is_reached_in_whatever_form(host: str) -> None:
    asked: list[Asked] = []

    def answer(one: Asked) -> Answer:
        asked.append(one)
        return Answer()

    with serving(answer) as url:
        reply = send(f"http://{host}:{url.rpartition(':')[2]}/", private=False)
    assert "private address" in reply.fault
    assert asked == []


def test_one_private_address_among_public_ones_is_enough() -> None:
    assert "private address" in send("https://host/", private=False, addresses=["8.8.8.8", "10.0.0.1"]).fault


def test_a_name_server_that_changes_its_mind_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["203.0.114.7"], ["127.0.0.1"]])
    reached: list[str] = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        reached.append(address[0])
        raise OSError("nobody there")

    monkeypatch.setattr(socket, "create_connection", connect)
    reply = post("https://h/", "", {}, private=False, now=NOW, resolve=lambda host, port: next(answers))
    assert "cannot be reached" in reply.fault
    assert reached == ["203.0.114.7"]
    assert next(answers) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "private"),
    [("10.0.0.1", True), ("0x0a000001", True), ("::1", True), ("8.8.8.8", False), ("example.com", False)],
)
def test_private_numbers_are_known_without_asking_for_names(host: str, private: bool) -> None:
    assert is_private_number(host) is private


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, Reply()),
        (299, {}, Reply()),
        (302, {"Location": "http://127.0.0.1:1/"}, Reply(fault="it answered 302")),
        (410, {}, Reply(fault="it answered 410", gone=True)),
        (500, {"Retry-After": "9"}, Reply(fault="it answered 500")),
        (429, {"Retry-After": "120"}, Reply(fault="it answered 429", wait=timedelta(seconds=120))),
        (503, {"Retry-After": format_datetime(NOW + timedelta(hours=1), usegmt=True)},
         Reply(fault="it answered 503", wait=timedelta(hours=1))),
        (503, {"Retry-After": format_datetime(NOW - timedelta(hours=1), usegmt=True)}, Reply(fault="it answered 503")),
        (503, {"Retry-After": "soon"}, Reply(fault="it answered 503")),
        (429, {"Retry-After": "9" * 400}, Reply(fault="it answered 429", wait=timedelta(seconds=1_000_000))),
    ],
)  # fmt: skip
def test_what_an_endpoint_answers(status: int, headers: dict[str, str], expected: Reply) -> None:
    with serving(lambda _: Answer(status=status, headers=headers)) as url:
        assert send(url) == expected


def test_an_endless_answer_is_not_read() -> None:
    with serving(lambda _: Answer(content=b"x" * 1000, announced=10**12)) as url:
        assert send(url) == Reply()


@contextmanager
def talking(say: bytes, *, every_s: float = 0.02) -> Iterator[str]:
    """A server that says the same again and again."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            connection, _ = server.accept()
            with connection:
                while not done.wait(every_s):
                    try:
                        connection.sendall(say)
                    except OSError:
                        return

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/secret"
        done.set()
        thread.join()


@pytest.mark.parametrize("say", [b"", b"H", b"HTTP/1.1 200 OK\r\nX: "])
def test_nobody_is_kept_waiting_by_a_little_at_a_time(say: bytes) -> None:
    began = time.monotonic()
    with talking(say) as url:
        reply = send(url, within_s=0.4)
    assert reply.fault
    assert "secret" not in reply.fault
    assert time.monotonic() - began < 3


def test_what_is_no_http_is_not_repeated() -> None:
    with talking(b"<secret>\r\n\r\n") as url:
        assert send(url).fault == "it broke off, or what it answered is not HTTP"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "cannot be reached" in send(f"http://127.0.0.1:{port}/").fault


def test_a_name_that_nobody_knows() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    reply = post("https://no.such.host/", "", {}, private=False, now=NOW, resolve=unknown)
    assert "its name is not known" in reply.fault


def test_certificates_are_those_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=hooks.example.com", "-addext", "subjectAltName=DNS:hooks.example.com"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    named: list[str | None] = []
    context.sni_callback = lambda _, name, __: named.append(name)
    monkeypatch.setitem(os.environ, "SSL_CERT_FILE", str(certificate))
    module._trust.cache_clear()
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:

            def run() -> None:
                for _ in range(2):
                    connection, _address = server.accept()
                    try:
                        with context.wrap_socket(connection, server_side=True) as secured:
                            # All of the request: a connection closed on unread bytes is reset, its reply lost.
                            while (received := secured.recv(65536)) and not received.endswith(BODY.encode()):
                                pass
                            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    except OSError:
                        connection.close()

            thread = threading.Thread(target=run)
            thread.start()
            port = server.getsockname()[1]
            assert send(f"https://hooks.example.com:{port}/", addresses=["127.0.0.1"]) == Reply()
            wrong = send(f"https://other.example.com:{port}/", addresses=["127.0.0.1"])
            thread.join()
    finally:
        module._trust.cache_clear()
    assert "CERTIFICATE_VERIFY_FAILED" in wrong.fault
    assert named == ["hooks.example.com", "other.example.com"]
