"""Telling those who wait for a batch that it has ended, without asking PostgreSQL again and again."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

from fastapi import Depends, Request

from app.domain.errors import ServiceUnavailable
from app.store.batches import ENDED
from app.store.database import Database

log = logging.getLogger(__name__)

LOOK_UP_S = 1.0
"""How often the listener looks whether it is to end."""
RETRY_S = 1.0


class Endings:
    """Thread-safe, and for the coroutines of any event loop. Listens from the first one who waits on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, tuple[str, asyncio.AbstractEventLoop]] = {}
        self._closed = threading.Event()
        self._listener: threading.Thread | None = None

    @contextmanager
    def expecting(self, batch_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the batch ends; also, in case it ended unheard, when listening begins anew."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[event] = batch_id, asyncio.get_running_loop()
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="endings", daemon=True)
                self._listener.start()
        try:
            yield event
        finally:
            with self._lock:
                del self._waiting[event]

    def close(self) -> None:
        """Stop listening; returns once it has stopped."""
        self._closed.set()
        if self._listener is not None:
            self._listener.join()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                with closing(self._database.listen(ENDED, wait_s=LOOK_UP_S)) as ends:
                    for batch_id in ends:
                        if self._closed.is_set():
                            return
                        if batch_id is not None:
                            self._wake(batch_id)
            except ServiceUnavailable as exc:
                log.warning("ends of batches are not heard of: %s", exc.message)
                self._closed.wait(RETRY_S)

    def _wake(self, batch_id: str) -> None:
        """Those who wait for this batch; all of them for an empty name."""
        with self._lock:
            for event, (expected, loop) in self._waiting.items():
                if batch_id in ("", expected):
                    loop.call_soon_threadsafe(event.set)


def _of_app(request: Request) -> Endings:
    endings: Endings = request.app.state.endings
    return endings


Ends = Annotated[Endings, Depends(_of_app)]
