"""One connection pool, and the transaction in which a service does its work."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InterfaceError, OperationalError

from app.domain.errors import ConfigurationError, ServiceUnavailable

TENANT = "default"
"""The tenant of an installation that has only one."""


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _from_json(text: str | bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        # Python's own takes what no other does: bodies are kept as they came.
        return json.loads(text)


def _said(exc: psycopg.Error) -> str:
    """What PostgreSQL says without the values that it says it of: it cites whole rows, prompts in them."""
    said = exc.diag.message_primary
    if isinstance(exc, psycopg.DataError):
        return f"{type(exc).__name__} ({exc.sqlstate})"
    return said or str(exc)


def _keep_rows_out(failure: ExceptionContext) -> None:
    exc, wrapped = failure.original_exception, failure.sqlalchemy_exception
    if isinstance(exc, psycopg.Error):
        exc.args = (_said(exc),)
        if wrapped is not None:
            wrapped.args = (f"({type(exc).__name__}) {exc}",)


class Database:
    """PostgreSQL, reached through SQLAlchemy.

    Raises:
        ConfigurationError: `url` is not one of PostgreSQL's.
    """

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        scheme, _, rest = url.partition("://")
        if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise ConfigurationError(
                f"SPROUT_DATABASE_URL starts with '{scheme}://': Sprout needs PostgreSQL, "
                "such as postgresql://user:password@host/sprout."
            )
        self._engine = create_engine(
            f"postgresql+psycopg://{rest}",
            pool_size=pool_size,
            pool_pre_ping=True,
            # Errors are logged; prompts and answers do not belong there.
            hide_parameters=True,
            connect_args={"options": "-c timezone=UTC", "connect_timeout": 10},
            json_serializer=_as_json,
            json_deserializer=_from_json,
        )
        event.listen(self._engine, "handle_error", _keep_rows_out)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block and rolls back on an exception.

        Raises:
            ServiceUnavailable: the server does not answer, or goes away during the block; nothing was written.
        """
        with self._answering(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Raises ServiceUnavailable for what the driver raises when the server is away."""
        try:
            yield
        except (OperationalError, InterfaceError) as exc:
            raise ServiceUnavailable(f"PostgreSQL does not answer: {str(exc.orig).strip()}") from exc
        except psycopg.OperationalError as exc:
            raise ServiceUnavailable(f"PostgreSQL does not answer: {str(exc).strip()}") from exc
        except psycopg.Error as exc:
            exc.args = (_said(exc),)
            raise

    def listen(self, channel: str, *, wait_s: float) -> Generator[str | None, None, None]:
        """What is said on a channel, as it is said: first an empty text, once the connection stands, and None whenever
        nothing was said for `wait_s` seconds.

        Raises:
            ServiceUnavailable: the server does not answer, or goes away; what is said from then on is missed.
        """
        with self._answering(), self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                connection.execute(text(f'LISTEN "{channel}"'))
                driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
                yield ""
                while True:
                    said = list(driver.notifies(timeout=wait_s, stop_after=1))
                    yield said[0].payload if said else None
            finally:
                # Whoever is given this connection next must not hear any of it.
                connection.invalidate()

    def ping(self) -> None:
        """Raises ServiceUnavailable when the server does not answer."""
        with self.transaction() as connection:
            connection.execute(text("SELECT 1"))

    def raw(self) -> Any:
        """The SQLAlchemy engine, for Alembic."""
        return self._engine

    def close(self) -> None:
        self._engine.dispose()
