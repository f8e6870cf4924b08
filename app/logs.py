"""What processes say in their logs: whatever goes wrong, no prompt and no answer.

Our own messages name ids. Exceptions of others may cite what they failed on: of these the kind and the place are told,
and not the words.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime

from app.domain.errors import InvalidInput, SproutError

TELLING = (SproutError, OSError, ImportError)
"""Exceptions whose words are ours, or name files and modules."""

NAMES = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "celery", "celery.task")
"""Loggers that may have handlers."""


def told(exc: BaseException) -> str:
    """An exception in a line: its kind, and its words where they cite no input."""
    kind = type(exc).__qualname__
    return f"{kind}: {exc}" if isinstance(exc, TELLING) and not isinstance(exc, InvalidInput) else kind


def traced(exc: BaseException) -> str:
    """A traceback as Python prints it, with `told` for the exceptions in it."""
    cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    before = f"{traced(cause)}\n\nThen:\n\n" if cause is not None else ""
    return f"{before}Traceback (most recent call last):\n{''.join(traceback.format_tb(exc.__traceback__))}{told(exc)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(said | ({"exception": record.exc_text} if record.exc_text else {}), ensure_ascii=False)


def keep_words_out() -> None:
    """Let no record of this process print the words of an exception, whichever handler it goes to."""
    make = logging.getLogRecordFactory()

    def made(*args: object, **more: object) -> logging.LogRecord:
        record = make(*args, **more)
        if record.exc_info and record.exc_info[1] is not None:
            # Formatters take what is there already.
            record.exc_text = traced(record.exc_info[1])
        return record

    logging.setLogRecordFactory(made)


def write_json(*loggers: logging.Logger) -> None:
    """Let the handlers of these loggers write JSON; of all that may have some, where none is named."""
    for logger in loggers or tuple(map(logging.getLogger, NAMES)):
        for handler in logger.handlers:
            handler.setFormatter(JsonFormatter())
