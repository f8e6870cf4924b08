from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from app import settings
from app.cli.directives import directives, show
from app.domain.errors import ServiceUnavailable
from tests.support.web import Answer, Asked, as_json, serving


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("SPROUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPROUT_HOME", str(tmp_path / "home"))
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


def option(energy_j: float | None = 100.0, claimed_gain: float = 0.0) -> dict[str, Any]:
    return {"energy_j": energy_j, "claimed_gain": claimed_gain}


def mix(workload: str, probabilities: list[float], **changes: Any) -> dict[str, Any]:
    return {
        "workload": workload,
        "floor": workload.partition("~")[0],
        "probabilities": probabilities,
        "binding": False,
        "base_quality": 0.5,
        "evidence": "measured",
        "verdicts": 301.7,
        "levels": {"L0": option(), "L1": option(40.0, -0.02), "L2": option(20.0, -0.1)},
        "created_at": "2026-01-01T12:00:00+00:00",
        **changes,
    }


def run(**changes: Any) -> dict[str, Any]:
    return {
        "created_at": "2026-01-01T12:00:00+00:00",
        "outcome": "solved",
        "solver_status": "Optimal.",
        "reason": "every workload keeps 93.0% of its own L0 quality",
        "intensity": {
            "zone": "[DE]", "start": "2026-01-01T12:00:00+00:00", "age_h": 0, "intensity_g_per_kwh": 411.8,
            "basis": "lifecycle-average", "provider": "trace",
        },
        "past_hours": 721,
        "phi": 0.7,
        "policy": {
            "name": "OURS", "mode": "per-workload", "xi": 0.1, "quality_worth": 0.25, "kept_at_l0": 0.01,
            "confidence": 0.6,
        },
        **changes,
    }  # fmt: skip


def shown(*mixes: dict[str, Any], **changes: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    show(console, {"run": run(**changes), "mixes": list(mixes)})
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def row(lines: list[str], name: str) -> str:
    (found,) = [line for line in lines if line.split()[:1] == [name]]
    return " ".join(found.split()[1:])


def test_a_mix_and_what_it_rests_on() -> None:
    lines = shown(mix("mail", [0.1, 0.5, 0.4], binding=True))
    assert row(lines, "mail") == ("10% 50% 40% 38.0 J 38% -10.0% quality floor measured, 302 verdicts")
    assert lines[-5:] == [
        "The latest run, of 2026-01-01 12:00 UTC, solved it: every workload keeps 93.0% of its own L0 quality.",
        "Solver: Optimal.",
        "Carbon intensity of [DE]: 412 gCO2eq/kWh since 2026-01-01 12:00 UTC (lifecycle-average, from trace); phi 0.70 "
        "in the range of the past 721 hours that are known.",
        "Policy OURS: floor per-workload, xi 0.1, worth of quality 0.25, confidence 0.6, 1.0% kept at L0.",
        "Quality is the claimed difference to L0's, relative to L0's; energy is what a request is expected to use.",
    ]


def test_strata_stand_below_their_workload() -> None:
    names = ["mail~10", "news~1", "mail~2", "mailing", "mail", "mail~1"]
    lines = shown(*(mix(name, [1.0, 0.0, 0.0]) for name in names))
    first = [line[1:10].rstrip() for line in lines if line.startswith((" mail", " news", "   ~"))]
    assert first == ["mail", "  ~1", "  ~2", "  ~10", "mailing", "news", "  ~1"]
    assert row(lines, "news") == ""


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        (
            {"levels": {"L0": option()}, "base_quality": None, "evidence": "none", "verdicts": 0},
            "only L0 is known none",
        ),
        ({"levels": {}, "verdicts": None, "base_quality": None}, "only L0 is known measured"),
        ({}, "none measured, 302 verdicts"),
    ],
)
def test_what_limits_a_mix(changes: dict[str, Any], limit: str) -> None:
    assert limit in row(shown(mix("mail", [1.0, 0.0, 0.0], **changes)), "mail")


def test_figures_that_are_not_known() -> None:
    garbage = {"L0": option(None), "L1": option(40.0)}
    lines = shown(mix("mail", [0.5, 0.5], levels=garbage), mix("news", [0.2, 0.3, 0.5], levels={}))
    assert row(lines, "mail").startswith("50% 50% 0% - - +0.0% ")
    assert row(lines, "news").startswith("20% 30% 50% - - - ")


def test_a_fallback_says_why() -> None:
    point = {**run()["intensity"], "age_h": 5}
    lines = shown(
        mix("mail", [1.0, 0.0, 0.0]),
        outcome="last_good",
        reason="No recent one. The last good mixes stay.",
        intensity=point,
    )
    text = "\n".join(lines)
    assert "The latest run, of 2026-01-01 12:00 UTC, fell back: No recent one. The last good mixes stay.\n" in text
    assert "since 2026-01-01 12:00 UTC, 5 h old (" in text
    assert "Solver" not in text


def test_mixes_of_earlier_runs_are_dated() -> None:
    earlier, latest = "2026-01-01T11:00:00+00:00", "2026-01-01T12:00:00+00:00"
    moments = {"b": earlier, "a": earlier, "c": latest, "d": "2026-01-01T10:30:00+00:00"}
    lines = shown(*(mix(name, [1.0, 0.0, 0.0], created_at=moment) for name, moment in moments.items()))
    assert [line for line in lines if "earlier run" in line] == [
        "Of 2026-01-01 10:30 UTC, an earlier run: d.",
        "Of 2026-01-01 11:00 UTC, an earlier run: a, b.",
    ]


def test_no_intensity_and_no_workload() -> None:
    lines = shown(outcome="l0", reason="No recent one. Everything runs at L0.", intensity=None, phi=None)
    assert lines[0] == "No workload has been seen yet."
    assert "Carbon intensity: not known." in lines


def test_a_narrow_screen_loses_no_figure() -> None:
    console = Console(file=io.StringIO(), width=80)
    show(console, {"run": run(), "mixes": [mix("mail", [0.1, 0.5, 0.4], binding=True)]})
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "38.0 J" in text
    assert "…" not in text


def invoked(answer: Any, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Result, list[Asked]]:
    asked: list[Asked] = []

    def serve(request: Asked) -> Answer:
        asked.append(request)
        return as_json(answer)

    with serving(serve) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        return CliRunner().invoke(directives, list(arguments)), asked


def test_the_running_api_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, asked = invoked({"run": run(), "mixes": [mix("mail", [1.0])]}, monkeypatch=monkeypatch)
    assert ended.exit_code == 0, ended.output
    assert [(request.method, request.path) for request in asked] == [("GET", "/sprout/v1/directives")]
    assert "mail" in ended.stdout


def test_the_raw_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"run": {"reason": "weil „sauber“"}, "mixes": [], "new": [None, 0.1]}
    ended, _ = invoked(answer, "--json", monkeypatch=monkeypatch)
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout) == answer


def test_before_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, _ = invoked({"run": None, "mixes": []}, monkeypatch=monkeypatch)
    assert "No directive mix has been computed yet" in ended.stdout


def test_without_a_stack(tmp_path: Path) -> None:
    ended = CliRunner().invoke(directives)
    assert isinstance(ended.exception, ServiceUnavailable)
    assert ended.exception.message == (
        f"No stack runs on {tmp_path / 'home'}: start one with `sprout up`, or set SPROUT_API_URL."
    )
