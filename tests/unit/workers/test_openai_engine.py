from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from app.domain.completion import Completion, EngineRequest
from app.domain.errors import ConfigurationError, EngineUnavailable
from tests.support.openai_server import DROP, OpenAIServer, Response, failing_first
from workers.engines import openai
from workers.engines.openai import OpenAIEngine


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "FIRST_PAUSE_S", 0.01)


def ask(key: str = "a") -> EngineRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    return EngineRequest(key=key, endpoint="/v1/chat/completions", body=body)


def answer(server: OpenAIServer, *, timeout_s: float = 10, **settings: Any) -> Completion:
    with closing(OpenAIEngine(server.url, **settings)) as engine:
        ((one,),) = engine.generate([ask()], timeout_s=timeout_s, wait_s=60)
        return one


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_broken_server_is_asked_again(server: OpenAIServer, status: int) -> None:
    server.on_request = failing_first(3, Response(status=status, body={"error": {"message": "later"}}))
    assert answer(server).succeeded
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_refusal_is_the_completion_and_is_not_asked_again(server: OpenAIServer, status: int) -> None:
    body = {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}
    server.on_request = failing_first(1, Response(status=status, body=body))
    one = answer(server)
    assert (one.status_code, one.body) == (status, body)
    assert len(server.requests) == 1


def test_a_request_that_breaks_the_server_every_time_gets_its_answer_at_the_end(server: OpenAIServer) -> None:
    server.on_request = lambda body: Response(status=500, body={"error": {"message": "broken"}})
    one = answer(server, timeout_s=0.5)
    assert (one.status_code, one.body["error"]["message"]) == (500, "broken")
    assert len(server.requests) > 2


@pytest.mark.parametrize("form", [lambda: "7", lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=7))])
def test_retry_after_beyond_the_time_out_ends_the_attempts(server: OpenAIServer, form: Callable[[], str]) -> None:
    server.on_request = lambda body: Response(status=429, body={"error": {}}, headers={"Retry-After": form()})
    with pytest.raises(EngineUnavailable, match="answers 429"):
        answer(server, timeout_s=2)
    assert len(server.requests) == 1


def test_retry_after_within_the_time_out_is_waited_for(server: OpenAIServer) -> None:
    arrivals: list[datetime] = []

    def busy_once(body: dict[str, Any]) -> Response | None:
        arrivals.append(datetime.now(UTC))
        return Response(status=429, headers={"Retry-After": "0.4"}) if len(arrivals) == 1 else None

    server.on_request = busy_once
    assert answer(server).succeeded
    assert (arrivals[1] - arrivals[0]).total_seconds() >= 0.4


def test_a_lost_connection_is_made_again(server: OpenAIServer) -> None:
    server.on_request = failing_first(2, DROP)
    assert answer(server).succeeded
    assert len(server.requests) == 3


def test_a_server_that_cannot_be_reached_fails_the_engine_and_loses_no_line() -> None:
    with OpenAIServer() as gone:
        pass
    with pytest.raises(EngineUnavailable, match=f"{gone.url} does not answer"):
        answer(gone, timeout_s=0.5)


def test_a_server_that_comes_up_late_is_found() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with closing(OpenAIEngine(f"http://127.0.0.1:{port}/v1")) as engine:
        groups = engine.generate([ask()], timeout_s=30, wait_s=0.1)
        assert next(groups) == []
        with OpenAIServer(port=port):
            assert [one.succeeded for group in groups for one in group] == [True]


def test_a_refused_key_loses_no_line(server: OpenAIServer) -> None:
    server.on_request = lambda body: Response(status=401, body={"error": {"message": "bad key"}})
    with pytest.raises(EngineUnavailable, match="API key"):
        answer(server, api_key="wrong")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_stays_busy_loses_no_line(server: OpenAIServer, status: int) -> None:
    server.on_request = lambda body: Response(status=status, text="<html>busy</html>")
    with pytest.raises(EngineUnavailable, match=f"answers {status}"):
        answer(server, timeout_s=1.5)


def test_the_key_and_the_model_of_the_settings_are_sent(server: OpenAIServer) -> None:
    assert answer(server, api_key="secret", model="theirs").body["model"] == "theirs"
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert server.requests[0]["messages"] == ask().body["messages"]


def test_without_an_override_the_model_is_the_request_s_own(server: OpenAIServer) -> None:
    assert answer(server).body["model"] == "m"
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("status", "expected"), [pytest.param(200, 502, id="a page that claims success"), pytest.param(404, 404, id="404")]
)
def test_an_answer_that_is_not_json_is_an_error_with_its_text(server: OpenAIServer, status: int, expected: int) -> None:
    server.on_request = lambda body: Response(status=status, text="<html>proxy</html>")
    one = answer(server)
    assert one.status_code == expected
    assert "<html>proxy</html>" in one.body["error"]["message"]


def test_no_more_requests_at_once_than_the_concurrency(server: OpenAIServer) -> None:
    with closing(OpenAIEngine(server.url, concurrency=2)) as engine:
        hanging = EngineRequest(key="h", endpoint="/v1/completions", body={"prompt": "[hang]"})
        keys = [EngineRequest(key=f"h{index}", endpoint=hanging.endpoint, body=hanging.body) for index in range(5)]
        with closing(engine.generate(keys, timeout_s=60, wait_s=0.3)) as groups:
            next(groups)
            assert set(engine.drain_work()) == {"h0", "h1"}
            assert len(server.requests) == 2


def test_an_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="http://"):
        OpenAIEngine("localhost:8000/v1")


def test_what_no_database_can_hold_is_replaced(server: OpenAIServer) -> None:
    choice, usage = '{"text": "half \\ud83d", "logprob": NaN}', '{"prompt_tokens": -1, "completion_tokens": 3}'
    text = f'{{"choices": [{choice}], "usage": {usage}}}'
    server.on_request = lambda body: Response(status=200, text=text)
    one = answer(server)
    assert one.body["choices"] == [{"text": "half ?", "logprob": None}]
    assert (one.prompt_tokens, one.completion_tokens) == (0, 3)
