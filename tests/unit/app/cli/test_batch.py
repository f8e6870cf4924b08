from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from app.cli import batch as batch_module
from app.cli.batch import batch, show_faults, submit
from app.cli.batches import described
from app.domain.batch import RUN_KEY as KEY
from app.domain.errors import InvalidInput, ServiceUnavailable
from app.settings import load
from tests.support.web import Answer, Asked, as_json, serving

REPORT: dict[str, Any] = {
    "levels": [],
    "l0": [],
    "machines": {"energy_j": 0.0, "idle_energy_j": 0.0, "idle_device_s": 0.0},
    "mixes": {},
    "energy_bases": [],
    "intensity_bases": [],
    "intensity_origins": [],
    "hindsight": None,
}

pytestmark = pytest.mark.usefixtures("own_environment")


class FakeApi:
    """The API as one batch sees it: it ends with `status`, and its files hold their own ids."""

    def __init__(
        self, status: str = "completed", *, output: bool = True, errors: bool = False, faulty: bool = False
    ) -> None:
        self.created: list[bytes] = []
        self.known: list[Mapping[str, Any]] = []
        self._states = iter(["validating", "in_progress", status])
        self._final = {
            "output_file_id": "file-output" if output else None,
            "error_file_id": "file-errors" if errors else None,
            "request_counts": {"total": 2, "completed": int(output), "failed": int(errors)},
            "errors": {"data": [{"message": "Line 1: [bold]it[/bold] is faulty."}]} if faulty else None,
            "sprout": {"waiting_until": None, "reason": None, "schedule": "asap"},
        }

    def __call__(self, asked: Asked) -> Answer:
        match asked.method, asked.path.partition("?")[0]:
            case "GET", "/v1/batches":
                return as_json({"data": self.known})
            case "POST", "/v1/files":
                return as_json({"id": "file-1"})
            case "POST", "/v1/batches":
                self.created.append(asked.body)
                return as_json({"id": "batch_1"})
            case "GET", "/v1/files/file-output/content" | "/v1/files/file-errors/content":
                return Answer(content=asked.path.encode())
            case "GET", path if path.endswith("/report"):
                return as_json(REPORT)
        return as_json({"id": "batch_1", "status": next(self._states), **self._final})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text('{"custom_id": "a"}\n')
    return path


def run(api: FakeApi, *arguments: str | Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    with serving(api) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        return CliRunner().invoke(batch, ["run", *map(str, arguments)])


def test_answers_are_downloaded(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, api = tmp_path / "out.jsonl", FakeApi()
    stale = tmp_path / "out.errors.jsonl"
    stale.write_text("of an earlier run")
    ended = run(api, source, "-o", output, "--level", "L1", "--workload", "mail", monkeypatch=monkeypatch)
    assert ended.exit_code == 0, ended.output
    assert output.read_text() == "/v1/files/file-output/content"
    assert not stale.exists()
    assert f"1 answers in {output}" in ended.stderr.replace("\n", "")
    (created,) = api.created
    assert b'"sprout_level":"L1"' in created
    assert b'"sprout_workload":"mail"' in created


def test_when_and_where_it_runs_reaches_the_batch(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeApi()
    ended = run(
        api, source, "-o", tmp_path / "out.jsonl", "--schedule", "carbon", "--zones", "GB,FR", monkeypatch=monkeypatch
    )
    assert ended.exit_code == 0, ended.output
    (created,) = map(json.loads, api.created)
    assert {name: value for name, value in created["metadata"].items() if name != KEY} == {
        "sprout_schedule": "carbon",
        "sprout_zones": "GB,FR",
    }


def test_what_is_not_said_is_left_to_the_service(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    run(api, source, "-o", tmp_path / "out.jsonl", monkeypatch=monkeypatch)
    (created,) = map(json.loads, api.created)
    assert set(created["metadata"]) == {KEY}


def test_an_unknown_schedule_is_refused_before_anything_is_sent(source: Path, tmp_path: Path) -> None:
    arguments = ["run", str(source), "-o", str(tmp_path / "out.jsonl"), "--schedule", "later"]
    ended = CliRunner().invoke(batch, arguments)
    assert ended.exit_code == 2
    assert "'asap', 'carbon'" in ended.output


@pytest.mark.parametrize(
    ("status", "until", "text"),
    [
        ("validating", None, "validating"),
        ("in_progress", None, "in progress"),
        ("in_progress", "2026-03-03T02:00:00+00:00", "waits until Tue 02:00 UTC"),
        # What was planned says nothing once the batch does something else.
        ("cancelling", "2026-03-03T02:00:00+00:00", "cancelling"),
        ("finalizing", "2026-03-03T02:00:00+00:00", "finalizing"),
    ],
)
def test_a_batch_says_what_it_does_or_until_when_it_waits(status: str, until: str | None, text: str) -> None:
    assert described({"status": status, "sprout": {"waiting_until": until}}) == text


def test_a_batch_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: Asked) -> Answer:
        asked.append(f"{request.method} {request.path}")
        return as_json({"id": "batch_1", "sprout": {"reason": "It runs as soon as there is room."}})

    with serving(answer) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        ended = CliRunner().invoke(batch, ["release", "batch_1"])
    said = "Batch batch_1 no longer waits for cleaner hours. It runs as soon as there is room.\n"
    assert (ended.exit_code, ended.output) == (0, said)
    assert asked == ["POST /sprout/v1/batches/batch_1/release"]


def test_a_batch_that_cannot_be_released_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = {"error": {"message": "Batch 'batch_1' is completed: there is nothing left to release."}}
    with serving(lambda _: as_json(refusal, 409)) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        ended = CliRunner().invoke(batch, ["release", "batch_1"])
    assert isinstance(ended.exception, InvalidInput)
    assert ended.exception.message == refusal["error"]["message"]


def test_releasing_starts_no_stack() -> None:
    ended = CliRunner().invoke(batch, ["release", "batch_1"])
    assert isinstance(ended.exception, ServiceUnavailable)
    assert "start one with `sprout up`" in ended.exception.message


def test_what_completed_after_an_interruption_is_fetched_and_not_run_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    first = FakeApi()
    run(first, source, "-o", output, monkeypatch=monkeypatch)
    key = json.loads(first.created[0])["metadata"][KEY]
    output.unlink()
    load.cache_clear()
    again = FakeApi()
    done = {"id": "batch_1", "status": "completed", "metadata": {KEY: key}, "output_file_id": "file-output"}
    again.known = [{"id": "other", "status": "completed", "metadata": None, "output_file_id": "x"}, done]
    ended = run(again, source, "-o", output, monkeypatch=monkeypatch)
    assert ended.exit_code == 0, ended.output
    assert (again.created, output.exists()) == ([], True)
    assert "has ended meanwhile; --force runs it anew" in ended.stderr
    load.cache_clear()
    anew = FakeApi()
    anew.known = again.known
    run(anew, source, "-o", output, "--force", monkeypatch=monkeypatch)
    assert len(anew.created) == 1


def test_what_gave_no_answer_is_run_again(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = FakeApi()
    run(first, source, "-o", tmp_path / "out.jsonl", monkeypatch=monkeypatch)
    (tmp_path / "out.jsonl").unlink()
    load.cache_clear()
    again = FakeApi()
    key = json.loads(first.created[0])["metadata"][KEY]
    again.known = [{"id": "old", "status": "completed", "metadata": {KEY: key}, "output_file_id": None}]
    run(again, source, "-o", tmp_path / "out.jsonl", monkeypatch=monkeypatch)
    assert len(again.created) == 1


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
def test_errors_go_beside_the_answers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    output = tmp_path / "out.jsonl"
    ended = run(FakeApi(status, errors=True), source, "-o", output, monkeypatch=monkeypatch)
    assert ended.exit_code == 1
    assert output.exists()
    assert (tmp_path / "out.errors.jsonl").read_text() == "/v1/files/file-errors/content"
    assert "1 errors in" in ended.stderr
    assert (f"The batch {status}." in ended.stderr) == (status != "completed")


def test_a_refused_file_is_told_line_by_line(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.jsonl"
    ended = run(FakeApi("failed", output=False, faulty=True), source, "-o", output, monkeypatch=monkeypatch)
    assert ended.exit_code == 1
    assert "was refused; nothing was run." in ended.stderr
    assert "Line 1: [bold]it[/bold] is faulty." in ended.stderr
    assert not output.exists()


def test_rejected_lines_are_told_beside_the_answers_of_the_others(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    ended = run(FakeApi(errors=True, faulty=True), source, "-o", output, monkeypatch=monkeypatch)
    assert (ended.exit_code, output.exists()) == (1, True)
    assert f"Lines of {source} were rejected; the others ran.\n  Line 1: [bold]it[/bold] is faulty.\n" in ended.stderr


def refused(*arguments: str | Path) -> InvalidInput:
    """The refusal, before anything was asked of an API: there is none."""
    ended = CliRunner().invoke(batch, ["run", *map(str, arguments)])
    assert isinstance(ended.exception, InvalidInput), ended.output
    return ended.exception


def test_an_existing_output_is_not_replaced(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("precious")
    assert "add --force to replace it" in refused(source, "-o", output).message
    assert output.read_text() == "precious"


def test_force_replaces_it(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    assert run(FakeApi(), source, "-o", output, "--force", monkeypatch=monkeypatch).exit_code == 0
    assert output.read_text() == "/v1/files/file-output/content"


@pytest.mark.parametrize("name", ["in.errors.jsonl", "in.jsonl"])
def test_the_input_is_never_replaced(source: Path, tmp_path: Path, name: str) -> None:
    source = source.rename(tmp_path / name)
    refusal = refused(source, "-o", tmp_path / "in.jsonl", "--force")
    assert "would replace" in refusal.message
    assert source.read_text() == '{"custom_id": "a"}\n'


def test_the_output_needs_its_folder(source: Path, tmp_path: Path) -> None:
    assert "does not exist: create it first" in refused(source, "-o", tmp_path / "none" / "out.jsonl").message


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    ended = CliRunner().invoke(batch, ["run", str(tmp_path / "none.jsonl"), "-o", "out.jsonl"])
    assert ended.exit_code == 2
    assert "does not exist" in ended.output


class Known:
    """A client that knows batches, and notes what is new."""

    def __init__(self, *batches: Mapping[str, Any]) -> None:
        self._batches = batches
        self.uploads: list[str] = []

    def batches(self) -> Sequence[Mapping[str, Any]]:
        return self._batches

    def upload(self, path: Path, name: str) -> str:
        self.uploads.append(name)
        return "file-1"

    def create(self, file_id: str, *, endpoint: str, window: str, metadata: Mapping[str, str]) -> Mapping[str, Any]:
        return {"id": "new"}


@pytest.mark.parametrize(
    ("status", "key", "found"),
    [
        ("validating", "mine", "old"),
        ("in_progress", "mine", "old"),
        ("finalizing", "mine", "old"),
        ("in_progress", "another", "new"),
        ("completed", "mine", "new"),
        ("failed", "mine", "new"),
        ("cancelling", "mine", "new"),
    ],
)
def test_an_interrupted_run_goes_on_with_its_batch(source: Path, status: str, key: str, found: str) -> None:
    client = Known(
        {"id": "none", "status": "in_progress", "metadata": None},
        {"id": "old", "status": status, "metadata": {KEY: key}},
    )
    assert submit(client, source, "in.jsonl", window="24h", metadata={KEY: "mine"}) == found  # type: ignore[arg-type]
    assert client.uploads == ([] if found == "old" else ["in.jsonl"])


def test_the_key_of_a_run_is_its_input_its_output_and_its_options(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("x")
    same = tmp_path / "copy.jsonl"
    same.write_bytes(source.read_bytes())
    key = batch_module._key
    out, options = tmp_path / "out.jsonl", {"a": "1", "b": "2"}
    first = key(source, out, "24h", options)
    assert first == key(same, out, "24h", {"b": "2", "a": "1"})
    others = {
        key(other, out, "24h", options),
        key(source, tmp_path / "elsewhere.jsonl", "24h", options),
        key(source, out, "1h", options),
        key(source, out, "24h", {}),
    }
    assert len(others | {first}) == 5
    assert len(first) <= 512


def test_faults_are_shown_as_they_are(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=40)
    long = "Line 7: [x] " + "word " * 30
    ended = {"status": "failed", "errors": {"data": [{"message": long}]}}
    show_faults(console, ended, tmp_path / "[draft].jsonl")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.rstrip() for line in lines] == [
        f"{tmp_path}/[draft].jsonl was refused; nothing was run.",
        f"  {long}".rstrip(),
    ]


def test_a_hundred_rejected_lines_are_shown(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    faults = [{"message": f"Line {number}: it is faulty."} for number in range(1, 102)]
    show_faults(console, {"status": "completed", "errors": {"data": faults}}, tmp_path / "in.jsonl")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.strip() for line in lines[100:]] == [
        "Line 100: it is faulty.",
        "and further lines: the errors file has all of them.",
    ]
