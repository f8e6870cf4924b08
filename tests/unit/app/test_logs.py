from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from app import logs
from app.domain.errors import EngineFailed, InvalidInput

MARKER = "zanzibarquux"


@pytest.fixture
def written() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger with a handler of its own, in a process whose records keep words out."""
    before = logging.getLogRecordFactory()
    logs.keep_words_out()
    logger, stream = logging.Logger("somebody"), io.StringIO()
    logger.addHandler(logging.StreamHandler(stream))
    yield logger, stream
    logging.setLogRecordFactory(before)


def fail() -> None:
    try:
        raise ValueError(MARKER)
    except ValueError as exc:
        raise KeyError(MARKER) from exc


def test_a_traceback_says_where_and_not_what(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    try:
        fail()
    except KeyError:
        logger.exception("it failed")
    said = stream.getvalue()
    assert MARKER not in said
    assert said.index("ValueError") < said.index("Then:") < said.index("KeyError")
    assert "in fail" in said


def test_json_has_the_same(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    logs.write_json(logger)
    try:
        fail()
    except KeyError:
        logger.warning("it failed\nin %s", "two lines", exc_info=True)
    logger.info("plain")
    first, second = (json.loads(text) for text in stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("WARNING", "somebody", "it failed\nin two lines")
    assert first["time"].endswith("+00:00")
    assert MARKER not in json.dumps(first)
    assert "ValueError" in first["exception"]
    assert set(second) == {"time", "level", "logger", "message"}


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (EngineFailed("The engine is gone."), "EngineFailed: The engine is gone."),
        (FileNotFoundError(2, "No such file", "/a"), "FileNotFoundError: [Errno 2] No such file: '/a'"),
        (InvalidInput(f"'{MARKER}' is no level."), "InvalidInput"),
        (RuntimeError(MARKER), "RuntimeError"),
    ],
)
def test_only_words_that_cite_no_input_are_told(exc: BaseException, said: str) -> None:
    assert logs.told(exc) == said


def test_an_exception_that_was_never_raised_and_a_suppressed_one_do_no_harm() -> None:
    assert logs.traced(RuntimeError(MARKER)).endswith("RuntimeError")
    try:
        try:
            raise ValueError(MARKER)
        except ValueError:
            raise KeyError from None
    except KeyError:
        exc = sys.exc_info()[1]
        assert exc is not None
        assert "ValueError" not in logs.traced(exc).replace("raise ValueError", "").replace("except ValueError", "")
