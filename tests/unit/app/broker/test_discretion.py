"""What Celery tells of a task that failed: it goes to the broker, and from there to Flower."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from app import logs
from app.broker.celery import celery_app
from app.domain.errors import TaskFailed
from tests.support.services import some_settings

MARKER = "zanzibarquux"


def test_a_failure_does_not_say_what_it_failed_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = celery_app(some_settings(tmp_path, broker_url=SecretStr("memory://")))

    @app.task(name="fails")
    def fails(_: str) -> None:
        raise ValueError(MARKER)

    before = logging.getLogRecordFactory()
    monkeypatch.setattr(logging, "_logRecordFactory", before)
    logs.keep_words_out()
    with caplog.at_level(logging.INFO):
        ended = fails.apply(args=("an id",))
    assert ended.state == "FAILURE"
    assert isinstance(ended.result, TaskFailed)
    told = f"{ended.result!r} {ended.traceback} {caplog.text}"
    assert MARKER not in told
    assert "ValueError" in told
    assert "in fails" in caplog.text
