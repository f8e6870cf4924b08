from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.cli.summarize import Pipeline, _already_done, _keep, _tokenizer
from app.domain.errors import ConfigurationError, InvalidInput
from app.services.summarization import PART_TOKENS_MIN, Document, Summary, body, read_documents
from tests.support.services import some_settings
from tests.support.tokenizer import WordTokenizer

PAGE = 1000
"""What the API gives at most at a time."""


def result(custom_id: str, finished_at: float, text: str = "Short.", **changes: Any) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": text}}
    return {
        "custom_id": custom_id,
        "response": {"status_code": 200, "body": {"choices": [choice]}},
        "error": None,
        "sprout": {"level": "L1", "energy_j": 2.0, "energy_basis": "modelled", "footprint_g": 0.5},
        "finished_at": finished_at,
        **changes,
    }


class FakeClient:
    """Runs every batch in `steps` steps; results appear as they do in the API, `per_second` a second."""

    def __init__(self, *, steps: int = 3, per_second: int = 500, final: str = "completed") -> None:
        self.requests: list[list[str]] = []
        self.prompts: list[str] = []
        self.answers: dict[str, Mapping[str, Any]] = {}
        self.asked = 0
        self._steps = steps
        self._per_second = per_second
        self._final = final
        self._results: list[Mapping[str, Any]] = []

    def model(self) -> str:
        return "m"

    def batches(self) -> Sequence[Mapping[str, Any]]:
        return []

    def upload(self, path: Path, name: str) -> str:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.requests.append([line["custom_id"] for line in lines])
        self.prompts += [line["body"]["messages"][0]["content"] for line in lines]
        assert all(line["body"] == body("m", line["body"]["messages"][0]["content"]) for line in lines)
        return "file-1"

    def create(self, file_id: str, *, endpoint: str, window: str, metadata: Mapping[str, str]) -> Mapping[str, Any]:
        return {"id": f"batch_{len(self.requests)}"}

    def watch(self, batch_id: str) -> Iterator[Mapping[str, Any]]:
        self._results = []
        requests = self.requests[-1]
        for step in range(1, self._steps + 1):
            while len(self._results) < len(requests) * step // self._steps:
                number = len(self._results)
                custom_id = requests[number]
                found = self.answers.get(custom_id) or result(custom_id, 1e9 + number / self._per_second)
                self._results.append(found)
            last = step == self._steps
            yield {
                "status": self._final if last else "in_progress",
                "errors": {"data": [{"message": "Line 1: it is faulty."}]} if self._final == "failed" else None,
            }

    def results_since(self, batch_id: str, since: float) -> list[Mapping[str, Any]]:
        self.asked += 1
        if self._final == "failed":
            return []
        found = [result for result in self._results if result["finished_at"] >= since]
        return sorted(found, key=lambda result: float(result["finished_at"]))[:PAGE]


def pipeline(client: FakeClient) -> tuple[Pipeline, list[Mapping[str, Any]], io.StringIO]:
    kept: list[Mapping[str, Any]] = []
    shown = io.StringIO()
    return Pipeline(client, Console(file=shown, width=200), "24h", kept.extend), kept, shown  # type: ignore[arg-type]


def summary(name: str, parts: int = 1) -> Summary:
    text = "\n\n".join(" ".join(["word"] * (PART_TOKENS_MIN - 2)) for _ in range(parts))
    return Summary(Document(name=name, text=text), limit=PART_TOKENS_MIN, tokenizer=WordTokenizer())


def test_documents_become_summaries() -> None:
    client = FakeClient()
    runner, kept, shown = pipeline(client)
    runner.run([summary("a"), summary("b", parts=5)])
    assert [entry["document"] for entry in kept] == ["a", "b"]
    assert runner.faults == []
    assert runner.batch_ids == ["batch_1", "batch_2"]
    assert [len(requests) for requests in client.requests] == [6, 1]
    a, b = kept
    assert set(a) == {
        "document", "sha256", "summary", "parts", "levels", "energy_j", "energy_basis", "footprint_g",
    }  # fmt: skip
    assert (a["summary"], a["parts"], a["levels"], a["energy_j"]) == ("Short.", 1, ["L1"], 2.0)
    assert (b["parts"], b["levels"], b["energy_j"], b["footprint_g"]) == (5, ["L1"] * 6, 12.0, 3.0)
    assert "a (500.00 mg, L1)" in shown.getvalue()


@pytest.mark.parametrize(("parts", "per_second"), [(2500, 100), (2500, 5000)])
def test_every_answer_of_a_large_round_is_collected(parts: int, per_second: int) -> None:
    """More than one page of results, and more than one page within the overlap."""
    client = FakeClient(steps=5, per_second=per_second)
    runner, kept, _ = pipeline(client)
    runner.run([summary(f"d{number}") for number in range(parts)])
    assert runner.faults == []
    assert len(kept) == parts
    assert client.asked < 100


def test_a_result_that_appears_late_is_collected_at_the_end() -> None:
    """Written after later ones were seen: its time lies before the overlap."""
    client = FakeClient(steps=4, per_second=100)
    summaries = [summary(f"d{number}") for number in range(3000)]
    ((late, _),) = summaries[-1].requests()
    client.answers[late] = result(late, 1e9)
    runner, kept, _ = pipeline(client)
    runner.run(summaries)
    assert runner.faults == []
    assert len(kept) == 3000


def test_a_request_that_fails_costs_its_document_only() -> None:
    client = FakeClient()
    bad, worse, good = summary("bad", parts=3), summary("worse"), summary("good")
    (_, second, _), (only,) = list(bad.requests()), list(worse.requests())
    refused = {"status_code": 400, "body": {"error": {"message": "Too long."}}}
    client.answers[second[0]] = result(second[0], 1e9, response=refused)
    client.answers[only[0]] = result(only[0], 1e9, response=None, error={"message": "It was given up."})
    runner, kept, _ = pipeline(client)
    runner.run([bad, worse, good])
    assert runner.faults == ["bad: Too long.", "worse: It was given up."]
    assert [entry["document"] for entry in kept] == ["good"]


def test_a_refused_batch_ends_the_run() -> None:
    runner, kept, _ = pipeline(FakeClient(final="failed"))
    runner.run([summary("a")])
    assert runner.faults == ["Line 1: it is faulty.", "a: the batch batch_1 ended without it."]
    assert kept == []


def test_an_answer_without_text_is_an_empty_summary() -> None:
    client = FakeClient()
    one = summary("a")
    ((custom_id, _),) = one.requests()
    client.answers[custom_id] = result(custom_id, 1e9, text=None)  # type: ignore[arg-type]
    runner, kept, _ = pipeline(client)
    runner.run([one])
    assert [entry["summary"] for entry in kept] == [""]


def entry(document: Document, **changes: Any) -> dict[str, Any]:
    return {"document": document.name, "sha256": document.digest, "summary": "s", **changes}


A, B, C = (Document(name=name, text=f"text of {name}") for name in "abc")


def test_summaries_are_kept_in_the_order_of_the_documents(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    done: dict[str, Mapping[str, Any]] = {}
    for document in (C, A, B):
        _keep(output, [A, B, C], done, [entry(document)])
        assert not (tmp_path / ".out.jsonl.part").exists()
    assert [json.loads(line)["document"] for line in output.read_text().splitlines()] == ["a", "b", "c"]


def test_only_what_is_missing_or_changed_is_done_again(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert _already_done(output, [A]) == {}
    lines = [entry(A), entry(B, sha256="of an earlier text"), {**entry(C), "summary": "a\u2028b\u0085c"}]
    output.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    found = _already_done(output, [A, B, C])
    assert set(found) == {"a", "c"}
    assert found["c"]["summary"] == "a\u2028b\u0085c"


@pytest.mark.parametrize("content", [b"{", b'{"custom_id": "x"}', b"[1]", b"7", b"\xff\xfe", b'"text"'])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    output = tmp_path / "out.jsonl"
    output.write_bytes(content)
    with pytest.raises(InvalidInput, match="line 1 is not a summary: name another output file"):
        _already_done(output, [A])
    assert output.read_bytes() == content


def test_summaries_in_the_folder_of_the_documents_are_no_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    output = tmp_path / "out.jsonl"
    output.write_text(json.dumps(entry(A)) + "\n")
    found = read_documents([tmp_path], leave_out=output)
    assert [document.name for document in found] == [str(tmp_path / "a.txt")]


def test_splitting_needs_a_tokenizer(tmp_path: Path) -> None:
    remote = some_settings(tmp_path, engine="openai", engine_url="http://gpu/v1")
    with pytest.raises(ConfigurationError, match="set SPROUT_MODEL"):
        _tokenizer(remote, PART_TOKENS_MIN)
