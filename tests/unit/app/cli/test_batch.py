from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from app import settings
from app.cli import batch as batch_module
from app.cli.batch import KEY, batch, show_faults, submit
from app.domain.errors import InvalidInput
from tests.support.web import Answer, Asked, as_json, serving

REPORT = {
    "levels": [],
    "l0": [],
    "machines": {"energy_j": 0.0, "idle_energy_j": 0.0, "idle_device_s": 0.0},
    "mixes": {},
    "energy_bases": [],
    "intensity_bases": [],
    "intensity_origins": [],
}


class FakeApi:
    """The API as one batch sees it: it ends with `status`, and its files hold their own ids."""

    def __init__(self, status: str = "completed", *, output: bool = True, errors: bool = False) -> None:
        self.created: list[bytes] = []
        self.known: list[Mapping[str, Any]] = []
        self._states = iter(["validating", "in_progress", status])
        self._final = {
            "output_file_id": "file-output" if output else None,
            "error_file_id": "file-errors" if errors else None,
            "request_counts": {"total": 2, "completed": int(output), "failed": int(errors)},
            "errors": {"data": [{"message": "Line 1: [bold]it[/bold] is faulty."}]},
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


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("SPROUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPROUT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("app.cli.client.POLL_S", 0.001)
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


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
    ended = run(FakeApi("failed", output=False), source, "-o", output, monkeypatch=monkeypatch)
    assert ended.exit_code == 1
    assert "was refused; nothing was run." in ended.stderr
    assert "Line 1: [bold]it[/bold] is faulty." in ended.stderr
    assert not output.exists()


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

    def create(self, file_id: str, *, window: str, metadata: Mapping[str, str]) -> Mapping[str, Any]:
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


def test_the_key_of_a_run_is_its_input_and_its_options(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("x")
    same = tmp_path / "copy.jsonl"
    same.write_bytes(source.read_bytes())
    key = batch_module._key
    first = key(source, "24h", {"a": "1", "b": "2"})
    assert first == key(same, "24h", {"b": "2", "a": "1"})
    others = {key(other, "24h", {"a": "1", "b": "2"}), key(source, "1h", {"a": "1", "b": "2"}), key(source, "24h", {})}
    assert len(others | {first}) == 4
    assert len(first) <= 512


def test_faults_are_shown_as_they_are(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=40)
    long = "Line 7: [x] " + "word " * 30
    show_faults(console, {"errors": {"data": [{"message": long}]}}, tmp_path / "[draft].jsonl")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.rstrip() for line in lines] == [
        f"{tmp_path}/[draft].jsonl was refused; nothing was run.",
        f"  {long}".rstrip(),
    ]
