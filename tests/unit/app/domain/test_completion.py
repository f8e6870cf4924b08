from __future__ import annotations

from typing import Any

import pytest

from app.domain.completion import Completion, error_body


def test_only_200_is_an_answer() -> None:
    assert Completion(key="a", status_code=200, body={}).succeeded
    assert not any(Completion(key="a", status_code=code, body={}).succeeded for code in (201, 400, 408, 500))


def test_an_error_body_has_openais_four_fields() -> None:
    assert error_body("Too slow.", kind="timeout", code="request_timeout") == {
        "error": {"message": "Too slow.", "type": "timeout", "param": None, "code": "request_timeout"}
    }


def test_a_request_that_ran_too_long_was_not_answered() -> None:
    body = error_body("Too slow.", kind="timeout", code="request_timeout")
    assert Completion(key="a", status_code=408, body=body).unanswered == {
        "code": "request_timeout",
        "message": "Too slow.",
    }


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"error": None}),
        (400, error_body("Bad.", code="request_timeout")),
        (408, error_body("A remote server's own time-out.")),
        (408, {"error": "text"}),
        (408, {}),
    ],
)
def test_whatever_else_came_back_is_an_answer(status: int, body: dict[str, Any]) -> None:
    assert Completion(key="a", status_code=status, body=body).unanswered is None
