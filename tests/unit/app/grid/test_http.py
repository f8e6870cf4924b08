from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime
from typing import Any

import pytest

from app.domain.errors import ConfigurationError, IntensityUnavailable
from app.grid.exchange import Limits
from app.grid.http import ATTEMPTS, LONGEST_WAIT_S, REMEMBERED_S, Api, Question, Reply
from tests.support.clock import NOON
from tests.support.grid_server import CUT, DRIP, DRIP_HEADERS, DROP, HANG, GridClock, GridServer, Response

ASKED = Question(path="/figures", params={"zone": "DE"}, headers={"auth-token": "letmein"})


@pytest.fixture
def server() -> Iterator[GridServer]:
    """Answers with what it was asked for."""
    with GridServer(lambda request: Response(body={"path": request.path, **request.params})) as running:
        yield running


@pytest.fixture
def time() -> GridClock:
    return GridClock()


def api(server: GridServer, time: GridClock, **limits: Any) -> Api:
    return Api("Source", server.url, per_second=1000, clock=time, limits=Limits(**limits))


def sentence(asking: Api, question: Question = ASKED) -> str:
    with pytest.raises(IntensityUnavailable) as raised:
        asking.get(question)
    return raised.value.message


def waits(time: GridClock) -> list[float]:
    """The pauses between attempts."""
    return [pause for pause in time.pauses if pause > 0.1]


def test_a_question_carries_its_parameters_and_headers(server: GridServer, time: GridClock) -> None:
    reply = api(server, time).get(ASKED)
    assert (reply.is_success, reply.json()) == (True, {"path": "/figures", "zone": "DE"})
    (request,) = server.requests
    assert request.headers["auth-token"] == "letmein"
    assert request.headers["accept"] == "application/json"


def test_a_base_url_may_have_a_path(server: GridServer, time: GridClock) -> None:
    Api("Source", f"{server.url}/proxy/", per_second=9, clock=time).get(ASKED)
    assert server.paths == ["/proxy/figures"]


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org", "https://", "http://a:b", "https://a.org?b=c"])
def test_what_is_no_base_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SPROUT_INTENSITY_URL is no .*https://api\.example\.org"):
        Api("Source", url, per_second=1)


@pytest.mark.parametrize("failure", [Response(status=429), Response(status=500), Response(status=503), DROP, CUT])
def test_what_may_pass_is_tried_again(server: GridServer, time: GridClock, failure: Response) -> None:
    server.fail(ATTEMPTS - 1, failure)
    assert api(server, time).get(ASKED).is_success
    assert len(server.requests) == ATTEMPTS


def test_each_wait_is_longer_and_none_is_like_another(server: GridServer, time: GridClock) -> None:
    server.fail(ATTEMPTS - 1, Response(status=500))
    api(server, time).get(ASKED)
    for pause, least in zip(waits(time), [0.5, 1, 2], strict=True):
        assert least <= pause <= least + 0.5
    assert len({pause % 0.5 for pause in waits(time)}) > 1


def test_a_source_that_stays_busy_is_given_up(server: GridServer, time: GridClock) -> None:
    server.fail(ATTEMPTS, Response(status=503))
    assert sentence(api(server, time)) == "Source answers with status 503: try again later."
    assert len(server.requests) == ATTEMPTS


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410, 422])
def test_a_refusal_is_not_tried_again(server: GridServer, time: GridClock, status: int) -> None:
    server.fail(1, Response(status=status, body={"message": "No."}, headers={"Location": "/elsewhere"}))
    reply = api(server, time).get(ASKED)
    assert (reply.status, reply.is_success, reply.detail) == (status, False, "No.")
    assert len(server.requests) == 1


@pytest.mark.parametrize("wish", ["7", format_datetime(NOON.replace(second=7), usegmt=True)])
def test_a_wish_to_be_left_alone_is_granted(server: GridServer, time: GridClock, wish: str) -> None:
    server.fail(1, Response(status=429, headers={"Retry-After": wish}))
    assert api(server, time).get(ASKED).is_success
    assert waits(time) == [pytest.approx(7, abs=0.1)]


@pytest.mark.parametrize("wish", ["soon", "-1", ""])
def test_a_wish_that_cannot_be_read_is_none(server: GridServer, time: GridClock, wish: str) -> None:
    server.fail(1, Response(status=429, headers={"Retry-After": wish}))
    assert api(server, time).get(ASKED).is_success
    assert waits(time)[0] <= 1


def test_no_task_waits_for_a_long_wish(server: GridServer, time: GridClock) -> None:
    server.fail(1, Response(status=429, headers={"Retry-After": f"{LONGEST_WAIT_S + 1:.0f}"}))
    assert "status 429 and wants to be left alone for 21 s" in sentence(api(server, time))
    assert len(server.requests) == 1


def test_a_source_that_hangs(server: GridServer, time: GridClock) -> None:
    server.fail(ATTEMPTS, HANG)
    assert "did not answer within 0.05 s, 4 times: check SPROUT_INTENSITY_URL" in sentence(
        api(server, time, timeout_s=0.05)
    )


@pytest.mark.parametrize("drip", [DRIP, DRIP_HEADERS], ids=["body", "headers"])
def test_a_source_that_sends_a_byte_now_and_then(server: GridServer, time: GridClock, drip: Response) -> None:
    server.fail(1, drip)
    found = sentence(api(server, time, timeout_s=5, deadline_s=1.5))
    assert found == (
        "Source had not finished its answer after 1.5 s: check SPROUT_INTENSITY_URL if it is set, or try again later."
    )
    assert len(server.requests) <= 1, "it is not waited for as long again"


@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_without_end(server: GridServer, time: GridClock, status: int) -> None:
    asking = api(server, time, most_bytes=2_000_000)
    server.fail(1, Response(status=status, text=" " * 2_000_001))
    assert sentence(asking).startswith("Source answers with more than 2 MB: check SPROUT_INTENSITY_URL")
    server.fail(1, Response(text=" " * 2_000_000))
    assert asking.get(ASKED).is_success
    assert len(server.requests) == 2


def test_what_is_packed_counts_unpacked(server: GridServer, time: GridClock) -> None:
    packed = gzip.compress(b" " * 2_000_001)
    server.fail(1, Response(raw=packed, headers={"Content-Encoding": "gzip"}))
    assert "more than 2 MB" in sentence(api(server, time, most_bytes=2_000_000))


def test_a_source_that_is_not_there(time: GridClock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        away = Api("Source", f"http://127.0.0.1:{taken.getsockname()[1]}", per_second=1000, clock=time)
        assert "Source at 127.0.0.1 cannot be reached (ConnectError): check SPROUT_INTENSITY_URL" in sentence(away)
    assert len(waits(time)) == ATTEMPTS - 1


def test_an_answer_is_remembered_for_a_minute(server: GridServer, time: GridClock) -> None:
    asking = api(server, time)
    first = asking.get(ASKED)
    assert asking.get(ASKED) is first
    time.advance(seconds=REMEMBERED_S - 1)
    assert asking.get(ASKED) is first
    time.advance(seconds=2)
    asking.get(ASKED)
    assert len(server.requests) == 2


def test_other_questions_and_refusals_are_not_remembered(server: GridServer, time: GridClock) -> None:
    asking = api(server, time)
    server.fail(1, Response(status=404))
    assert not asking.get(ASKED).is_success
    assert asking.get(ASKED).json()["zone"] == "DE"
    assert asking.get(Question(path="/figures", params={"zone": "FR"})).json()["zone"] == "FR"
    asking.get(ASKED, remember=False)
    assert len(server.requests) == 4


def test_requests_keep_a_pace(server: GridServer, time: GridClock) -> None:
    slow = Api("Source", server.url, per_second=2, clock=time)
    for zone in "abc":
        slow.get(Question(path="/figures", params={"zone": zone}))
    assert time.pauses == [pytest.approx(0.5)] * 2


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (Response(body={"message": "one\n  two", "error": "three"}), "one two"),
        (Response(body={"error": {"code": "400", "message": "deep"}}), "deep"),
        (Response(body={"error": ["a", "b"]}), ""),
        (Response(body={}), ""),
        (Response(text="[1]"), ""),
        (Response(text="<html>proxy</html>"), ""),
        (Response(text=""), ""),
        (Response(body={"message": "x" * 1000}), "x" * 200),
        (Response(body={"detail": "letmein and s3cret of anna"}), "*** and *** of ***"),
    ],
)
def test_a_refusal_is_quoted_without_secrets(
    server: GridServer, time: GridClock, answer: Response, detail: str
) -> None:
    server.fail(1, Response(status=400, body=answer.body, text=answer.text))
    asked = Question(path="/", headers={"auth-token": "letmein", "a": "Bearer s3cret"}, auth=("anna", "letmein"))
    reply = api(server, time).get(asked)
    assert reply.detail == detail
    assert ("(" in reply.refused("a thing").message) == bool(detail)


def test_secrets_are_neither_logged_nor_shown(
    server: GridServer, time: GridClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    asked = Question(path="/", headers={"auth-token": "letmein"}, auth=("ann", "s3cret"))
    server.fail(ATTEMPTS, Response(status=500, body={"message": "letmein s3cret"}))
    message = sentence(api(server, time), asked)
    for secret in ("letmein", "s3cret"):
        assert secret not in message + caplog.text


@pytest.mark.parametrize(
    ("token", "account"),
    [
        ("t\u00f6ken", None), ("tok\nen", None), ("token ", None), ("token\n", None), (" token", None),
        ("token", ("anna", "caf\udce9")),
    ],
)  # fmt: skip
def test_a_credential_that_cannot_be_sent(
    server: GridServer, time: GridClock, token: str, account: tuple[str, str] | None
) -> None:
    found = sentence(api(server, time), Question(path="/", headers={"auth-token": token}, auth=account))
    assert found.startswith("The credential for Source holds characters that cannot be sent")
    assert (token.strip() in found, server.requests) == (False, [])


def test_an_account_may_have_any_letters(server: GridServer, time: GridClock) -> None:
    assert api(server, time).get(Question(path="/", auth=("j\u00f6rg", "na\u00efve  caf\u00e9 "))).is_success


@pytest.mark.parametrize("text", ["", "<html>", '{"zone": ', "[" * 200_000 + "]" * 200_000])
def test_what_is_not_json(text: str) -> None:
    with pytest.raises(IntensityUnavailable, match="Source answered with something that is not JSON: check SPROUT_INT"):
        Reply(api="Source", status=200, text=text, detail="").json()


def test_a_server_on_this_machine_is_asked_without_a_proxy(
    server: GridServer, time: GridClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert api(server, time).get(ASKED).is_success


def test_one_api_serves_several_threads(server: GridServer, time: GridClock) -> None:
    asking = api(server, time)
    with ThreadPoolExecutor(4) as pool:
        zones = list(pool.map(lambda n: asking.get(_zone(n)).json()["zone"], range(20)))
    assert zones == [str(n) for n in range(20)]


def _zone(n: int) -> Question:
    return Question(path="/figures", params={"zone": str(n)})
