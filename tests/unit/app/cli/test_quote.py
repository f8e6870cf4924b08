from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from app.cli.batch import batch
from app.cli.quote import count, show
from app.domain.errors import InvalidInput, ServiceUnavailable
from tests.support.factories import MODEL, line
from tests.support.services import jsonl
from tests.support.web import Answer, Asked, as_json, serving

pytestmark = pytest.mark.usefixtures("own_environment")


def option(schedule: str = "carbon", **changes: Any) -> dict[str, Any]:
    return {
        "schedule": schedule, "window_h": 24.0, "expected_end": "2026-03-03T03:00:00+00:00", "in_time": True,
        "footprint_g": 12.0, "footprint_g_interval": [9.0, 15.0], "reason": "It waits.", **changes,
    }  # fmt: skip


def a_quote(*options: dict[str, Any]) -> dict[str, Any]:
    return {"requests": 3, "intensity_basis": "lifecycle-average", "options": list(options) or [option()]}


def shown(*options: dict[str, Any]) -> list[str]:
    written = io.StringIO()
    show(Console(file=written, width=120), a_quote(*options))
    return written.getvalue().splitlines()


def source(folder: Path, content: bytes) -> Path:
    path = folder / "in.jsonl"
    path.write_bytes(content)
    return path


def test_each_option_is_a_row() -> None:
    lines = [
        text.split()
        for text in shown(
            option("asap", footprint_g=24.0, footprint_g_interval=None, expected_end="2026-03-02T13:00:00+00:00"),
            option(window_h=6.0, footprint_g=16.0, in_time=False),
            option(),
        )
    ]
    assert lines[0] == ["3", "requests"]
    assert ["asap", "Mon", "13:00", "UTC", "24.00", "g", "-", "yes"] in lines
    assert ["carbon", "6h", "Tue", "03:00", "UTC", "16.00", "g", "9.00", "g", "-", "15.00", "g", "no"] in lines
    assert ["carbon", "24h", "Tue", "03:00", "UTC", "12.00", "g", "9.00", "g", "-", "15.00", "g", "yes"] in lines


def test_figures_say_what_they_are() -> None:
    text = "\n".join(shown())
    assert "lifecycle-average: attributional, so it does not say what the grid would have emitted without you." in text
    assert "No interval yet" not in text


def test_a_missing_interval_is_explained() -> None:
    assert "No interval yet: too few forecasts" in "\n".join(shown(option(), option(footprint_g_interval=None)))


def test_what_is_late_says_why_once() -> None:
    late = [option(window_h=hours, in_time=False, reason=f"[b]Too long[/b] for {hours}.") for hours in (1, 3)]
    text = "\n".join(shown(*late, option()))
    assert text.count("Too long") == 1
    assert "for 3." in text


def test_lines_are_counted_by_the_workload_that_they_declare(tmp_path: Path) -> None:
    entries = [line("a"), line("b", metadata={"sprout_workload": "mail"}), line("c", metadata={"other": "x"})]
    entries += [line("d", metadata=None), line("e", metadata={"sprout_workload": "mail"})]
    assert count(source(tmp_path, b"\n" + jsonl(entries) + b"  \n"), "news") == {"news": 3, "mail": 2}


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    assert count(source(tmp_path, jsonl([line("a")]).strip()), "default") == {"default": 1}


@pytest.mark.parametrize(
    "fault",
    [
        b"{", b"[]", b"3", b"null", b'{"custom_id": "a"}', b'{"body": null}', b'{"body": "x"}', b'{"body": []}',
        b'{"body": {"metadata": ["x"]}}', b'{"body": {"metadata": "x"}}', b"\xff\xfe", b"\x00", b"[" * 100_000,
        b'{"body": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda fault: fault[:30].decode(errors="replace"),
)  # fmt: skip
def test_a_line_that_is_no_request_is_named(tmp_path: Path, fault: bytes) -> None:
    path = source(tmp_path, jsonl([line("a")]) + b"\n" + fault + b"\n")
    with pytest.raises(InvalidInput, match=r"^Line 3 is not a request: it needs custom_id, method, url and body\.$"):
        count(path, "default")


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n"])
def test_a_file_without_requests_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"in\.jsonl has no requests"):
        count(source(tmp_path, content), "default")


def asking(path: Path, *options: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Result, list[Asked]]:
    asked: list[Asked] = []

    def answer(request: Asked) -> Answer:
        asked.append(request)
        return as_json(a_quote())

    with serving(answer) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        return CliRunner().invoke(batch, ["quote", str(path), *options]), asked


def test_only_counts_leave_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = jsonl([line("a", text="A secret."), line("b", metadata={"sprout_workload": "mail"})])
    path = source(tmp_path, content)
    options = ("--window", "7d", "--workload", "news", "--zones", "any", "--level", "L0")
    ended, (asked,) = asking(path, *options, monkeypatch=monkeypatch)
    assert ended.exit_code == 0, ended.output
    assert "attributional" in ended.output
    assert (asked.method, asked.path) == ("POST", "/sprout/v1/quote")
    assert json.loads(asked.body) == {
        "requests": {"news": 1, "mail": 1}, "completion_window": "7d", "zones": "any", "level": "L0",
        "bytes": len(content), "model": MODEL,
    }  # fmt: skip


def test_by_default_a_quote_is_for_a_day_in_the_default_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, (asked,) = asking(source(tmp_path, jsonl([line()])), monkeypatch=monkeypatch)
    body = json.loads(asked.body)
    assert (body["completion_window"], body["zones"], body["requests"]) == ("24h", None, {"default": 1})


def test_programs_get_the_answer_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, _ = asking(source(tmp_path, jsonl([line()])), "--json", monkeypatch=monkeypatch)
    assert json.loads(ended.output) == a_quote()


def test_a_quote_starts_no_stack(tmp_path: Path) -> None:
    ended = CliRunner().invoke(batch, ["quote", str(source(tmp_path, jsonl([line()])))])
    assert isinstance(ended.exception, ServiceUnavailable)
    assert "start one with `sprout up`" in ended.exception.message
