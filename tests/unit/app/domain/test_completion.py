from __future__ import annotations

from app.domain.completion import Completion, error_body


def test_only_200_is_an_answer() -> None:
    assert Completion(key="a", status_code=200, body={}).succeeded
    assert not any(Completion(key="a", status_code=code, body={}).succeeded for code in (201, 400, 408, 500))


def test_an_error_body_has_openais_four_fields() -> None:
    assert error_body("Too slow.", kind="timeout", code="request_timeout") == {
        "error": {"message": "Too slow.", "type": "timeout", "param": None, "code": "request_timeout"}
    }
