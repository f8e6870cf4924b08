"""What engines share: an event loop on its own thread answers requests, any thread takes the answers in groups."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future

import msgspec

from app.domain.attribution import Work
from app.domain.completion import REQUEST_TIMEOUT, TIMED_OUT, Completion, EngineRequest, error_body
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import EngineFailed
from workers.engines.slots import Slots
from workers.engines.tally import Tally, tokens_of, work
from workers.engines.usage import usage_of

logger = logging.getLogger(__name__)

Outcomes = queue.SimpleQueue[Completion | EngineFailed]


class StreamingEngine(ABC):
    """An `Engine` whose subclass says how one request is answered.

    The subclass's coroutines run on one thread that lives from the constructor to `close`. Its `__init__` ends with
    `super().__init__`, because that opens the engine.
    """

    def __init__(self, *, name: str, slots: int, ahead: int = 0) -> None:
        """`slots` requests run at once, and `ahead` more may be handed to an engine that has a queue of its own."""
        self._slots = Slots(slots)
        self._ahead = ahead
        self._door = asyncio.Semaphore(slots + ahead)
        self.tally = Tally()
        self._lock = threading.Lock()
        self._closed = False
        self._calls: set[asyncio.Task[None]] = set()
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(opened)), name=name, daemon=True)
        self._thread.start()
        try:
            opened.result()
        except Exception:
            self._thread.join()
            raise

    @property
    def devices(self) -> int:
        return 1

    @property
    def endpoints(self) -> Sequence[str]:
        """All, where only each answer will tell."""
        return tuple(ENDPOINTS)

    @abstractmethod
    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        """The completion of one request that holds its place; cancelled after `timeout_s`.

        Raises:
            EngineFailed: the engine is gone, for every request.
        """

    async def open(self) -> None:  # noqa: B027  an engine may have nothing to do
        """Get ready to answer; what it raises, the constructor raises."""

    async def shut(self) -> None:  # noqa: B027
        """Free everything; called once, with nothing in flight, also after `open` raised."""

    def generate(
        self, requests: Sequence[EngineRequest], *, timeout_s: float, wait_s: float
    ) -> Generator[Sequence[Completion], None, None]:
        outcomes: Outcomes = queue.SimpleQueue()
        call = self._submit(requests, timeout_s, outcomes)
        try:
            left = len(requests)
            while left:
                group, failure = _take(outcomes, left, wait_s)
                left -= len(group)
                if group or failure is None:
                    yield group
                if failure is not None and left:
                    raise failure
        finally:
            call.cancel()

    def drain_work(self) -> Mapping[str, Work]:
        """Places are its sequences. Tokens are counted when it ends, by its usage, if no subclass does so before."""
        tokens, places = self.tally.drain(), self._slots.drain()
        return {key: work(places.get(key, 0.0), tokens.get(key)) for key in places.keys() | tokens.keys()}

    def busy_s(self) -> float:
        """Seconds with at least one request running."""
        return self._slots.busy_s()

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    async def _live(self, opened: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        try:
            await self.open()
        except BaseException as exc:  # noqa: BLE001  the constructor waits for it and raises it
            await self.shut()
            opened.set_exception(exc)
            return
        opened.set_result(None)
        await self._closing.wait()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self.shut()

    def _submit(self, requests: Sequence[EngineRequest], timeout_s: float, outcomes: Outcomes) -> Future[None]:
        with self._lock:
            if self._closed:
                raise EngineFailed("The engine is closed: start another one to generate.")
            call = asyncio.run_coroutine_threadsafe(self._answer_all(requests, timeout_s, outcomes.put), self._loop)
        # Read only by a caller who still waits, hence only if the call ended before its requests did.
        call.add_done_callback(lambda _: outcomes.put(EngineFailed("The engine was closed with requests in flight.")))
        return call

    async def _answer_all(
        self, requests: Sequence[EngineRequest], timeout_s: float, deliver: Callable[[Completion | EngineFailed], None]
    ) -> None:
        async def answer_one(request: EngineRequest) -> None:
            async with self._door:
                early = self._begin(request, timeout_s)
                try:
                    async with self._slots.hold(request.key, ENDPOINTS[request.endpoint].sequences(request.body)):
                        outcome = await self._outcome(request, timeout_s, early)
                        if isinstance(outcome, Completion):
                            self.tally.reach(request.key, tokens_of(outcome))
                finally:
                    await _let_go(early)
                    self.tally.end(request.key)
            deliver(outcome)

        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            async with asyncio.TaskGroup() as group:
                for request in requests:
                    group.create_task(answer_one(request))
        finally:
            self._calls.discard(call)

    def _begin(self, request: EngineRequest, timeout_s: float) -> asyncio.Task[Completion] | None:
        """The request's answer on its way, for an engine with a queue of its own before its running batch.

        Else nothing would wait there when a request ends, and the batch would not be full until the next one has come.
        """
        if not self._ahead or request.body.get("stream"):
            return None
        return asyncio.create_task(self.answer(request, timeout_s))

    async def _outcome(
        self, request: EngineRequest, timeout_s: float, early: asyncio.Task[Completion] | None
    ) -> Completion | EngineFailed:
        if request.body.get("stream"):
            return refusal(request.key, 400, "A batch cannot stream: leave `stream` out.", param="stream")
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await (early or self.answer(request, timeout_s))
        except EngineFailed as exc:
            return exc
        except Exception as exc:
            if isinstance(exc, TimeoutError) and limit.expired():
                message = f"The request ran longer than {timeout_s:g} s and was stopped: ask for fewer tokens."
                return refusal(request.key, REQUEST_TIMEOUT, message, kind="timeout_error", code=TIMED_OUT)
            # Whatever is wrong with one line must not end the others.
            logger.exception("Request %s failed inside the engine.", request.key)
            return refusal(request.key, 500, f"The engine could not answer: {exc!r}.", kind="server_error")


async def _let_go(early: asyncio.Task[Completion] | None) -> None:
    if early is not None and not early.done():
        early.cancel()
        await asyncio.gather(early, return_exceptions=True)


def refusal(
    key: str,
    status_code: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> Completion:
    """A completion that says why there is no answer."""
    return Completion(key=key, status_code=status_code, body=error_body(message, kind=kind, param=param, code=code))


def completion(key: str, status_code: int, body: Mapping[str, object]) -> Completion:
    """An OpenAI server's answer, with the tokens that its `usage` counts."""
    usage = usage_of(body)
    return Completion(
        key=key,
        status_code=status_code,
        body=_storable(body),
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        cached_tokens=usage.cached,
    )


def _storable(body: Mapping[str, object]) -> Mapping[str, object]:
    """`body` as JSON and UTF-8 can hold it: a server may send half a surrogate pair, NaN or infinity."""
    try:
        whole: Mapping[str, object] = msgspec.json.decode(msgspec.json.encode(body))
    except UnicodeEncodeError:
        text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        whole = msgspec.json.decode(msgspec.json.encode(json.loads(text)))
    return whole


def _take(outcomes: Outcomes, most: int, wait_s: float) -> tuple[list[Completion], EngineFailed | None]:
    """What ends within `wait_s`, at most so many outcomes; stops at a failure."""
    group: list[Completion] = []
    deadline = time.monotonic() + wait_s
    while len(group) < most:
        try:
            outcome = outcomes.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            break
        if isinstance(outcome, EngineFailed):
            return group, outcome
        group.append(outcome)
    return group, None
