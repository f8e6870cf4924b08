"""Evaluation on a real stack whose clock runs 600 times as fast, with a scripted judging server."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.domain.intensity import HOUR
from app.domain.units import hour_of
from tests.support.embedded import sql
from tests.support.openai_server import OpenAIServer, Response, echo, prompt_of
from tests.support.rehearsal import Rehearsal, rehearsal
from tests.support.waiting import eventually

pytestmark = pytest.mark.rehearsal

LIKES_BRIEF, LIKES_FULL = "likes-brief", "likes-full"
DIRECTIVE = "Always answer"
AWAY = Response(status=503, body={"error": {"message": "Try again later."}})
FIRST = 2 * 2 * 30 + 64
"""Verdicts on two levels of two workloads, and what was begun meanwhile."""
LATE = timedelta(minutes=30)
"""What was begun in a clean hour is ended: a few samples, three seconds here."""


def valley(hour: int) -> float:
    """Four clean hours in every eight, a little cleaner each day so that no hour is as clean as what was before."""
    return 50.0 if hour % 8 >= 4 else 400.0


def brief_with_directive(body: dict[str, Any]) -> Response | None:
    """The engine: an echo of all words takes its time, and a brief answer does not.

    So much that it costs more by whatever is metered, also where other processes want the machine.
    """
    prompt = prompt_of(body)
    if DIRECTIVE not in prompt:
        time.sleep(0.2)
        return None
    status, answer = echo("/v1/chat/completions", {**body, "max_tokens": 3})
    return Response(status=status, body=answer)


class Mind:
    """The judging server: prefers the brief answer or the full one, as the workload likes."""

    def __init__(self) -> None:
        self.away = False
        self.changed = False
        """The brief answers have become bad."""

    def __call__(self, body: dict[str, Any]) -> Response:
        if self.away:
            return AWAY
        shown = prompt_of(body)
        answers = re.findall(r"\[\w+ answer \d\]\n(.*?)\n\[", shown, re.DOTALL)
        likes_brief = LIKES_BRIEF in shown and not self.changed
        lengths = [len(text) for text in answers]
        best = 1 + lengths.index(min(lengths) if likes_brief else max(lengths))
        message = {"role": "assistant", "content": json.dumps({"best": best})}
        usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}
        return Response(body={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})


def serve(run: Rehearsal, number: int, requests: int = 60) -> None:
    """A batch of each workload, and wait for its end."""
    for workload in (LIKES_BRIEF, LIKES_FULL):
        texts = [f"{workload} say {number} {index} " + "word " * 20 for index in range(requests)]
        run.ended(run.ask(texts, sprout_workload=workload))


def mixes(run: Rehearsal) -> Mapping[str, Sequence[float]]:
    found = httpx.get(f"{run.stack.api_url}/sprout/v1/directives", trust_env=False).json()
    return {mix["workload"]: mix["probabilities"] for mix in found["mixes"]}


def quality(run: Rehearsal) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{run.stack.api_url}/sprout/v1/evaluations", trust_env=False).json()
    return found


def verdict_times(run: Rehearsal) -> Sequence[datetime]:
    found: Sequence[Any] = sql(run.stack.published.urls["database_url"], "SELECT created_at FROM verdicts")
    return found


@pytest.fixture
def mind() -> Mind:
    return Mind()


@pytest.fixture
def judged(mind: Mind, tmp_path: Path) -> Iterator[Rehearsal]:
    with (
        OpenAIServer(brief_with_directive) as engine,
        OpenAIServer(mind) as judge,
        rehearsal(
            {"GB": valley},
            tmp_path,
            engine,
            SPROUT_JUDGE="openai",
            SPROUT_JUDGE_URL=judge.url,
            SPROUT_JUDGE_MODEL="judge",
            SPROUT_JUDGE_TENANTS='["default"]',
            SPROUT_JUDGE_PER_MINUTE="100000",
            SPROUT_EVALUATION_BUDGET="1",
            SPROUT_REQUEST_TIMEOUT_S="5",
            SPROUT_DISCOVERY="false",
        ) as run,
    ):
        yield run


@pytest.mark.timeout(700)
def test_quality_is_measured_in_clean_hours_and_the_mixes_follow(judged: Rehearsal, mind: Mind) -> None:
    number = 0

    def until(condition: Any, within_s: float) -> None:
        """Serve whenever no round is left to evaluate, until it holds."""

        def again() -> bool:
            nonlocal number
            if condition():
                return True
            if not any(each["closed_at"] is None for each in quality(judged)["rounds"]):
                serve(judged, number)
                number += 1
            return False

        eventually(again, within_s=within_s, every_s=0.5)

    # The mixes of two workloads with opposite preferences part ways.
    until(lambda: mixes(judged).get(LIKES_BRIEF, [1.0])[0] < 0.5, 200)
    assert mixes(judged)[LIKES_FULL][0] > 0.85
    # Verdicts come in clean hours only, once there are enough of them for a directive.
    until(lambda: len(verdict_times(judged)) > FIRST + 64, 200)
    first = hour_of(judged.start)
    for moment in sorted(verdict_times(judged))[FIRST:]:
        assert 50.0 in {valley((hour_of(when) - first) // HOUR) for when in (moment, moment - LATE)}, moment

    # A judge that is away changes nothing but the age of what is known.
    mind.away = True
    until(lambda: any(each["fault"] for each in quality(judged)["rounds"]), 90)
    before = len(verdict_times(judged))
    serve(judged, 1000)
    assert mixes(judged)[LIKES_BRIEF][0] < 0.5
    assert len(verdict_times(judged)) == before
    mind.away = False

    # Answers that become worse are rolled back as soon as their verdicts are there.
    mind.changed = True
    until(lambda: any(event["kind"] == "quality_drop" for event in quality(judged)["events"]), 200)
    eventually(lambda: mixes(judged)[LIKES_BRIEF][0] > 0.9, within_s=20, every_s=0.5)
    shown = judged.stack.sprout("evaluations").stdout
    assert "have become worse" in shown
    assert LIKES_BRIEF in shown
