"""`sprout batch run` and `sprout summarize` on real vLLM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.lines import MODEL, line, read_lines, write_lines
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def test_batch_run_answers_every_line_and_shows_what_it_used(vllm_stack: RunningStack, tmp_path: Path) -> None:
    lines = [line(f"q{number}", f"What is {number} + {number}?", max_tokens=24) for number in range(12)]
    source, output = write_lines(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"

    ended = vllm_stack.sprout("batch", "run", source, "-o", output, "--workload", "sums")

    assert ended.returncode == 0, ended.stderr
    found = read_lines(output)
    assert [answer["custom_id"] for answer in found] == [f"q{number}" for number in range(12)]
    assert {answer["sprout"]["workload"] for answer in found} == {"sums"}
    assert "modelled" in ended.stderr
    assert "L0 would have cost (estimate)" in ended.stderr
    assert "prior, not measured" in ended.stderr
    assert not (tmp_path / "out.errors.jsonl").exists()


BAD = {
    "an empty file": ("", "The file is empty: it needs one request per line."),
    "not JSON": ("{nonsense\n", "Line 1: this is not usable JSON"),
    "a wrong url": (
        json.dumps({**line("a", "a"), "url": "/v1/nothing"}) + "\n",
        "Line 1: 'url' is \"/v1/nothing\" but this batch is for /v1/chat/completions: give every line that url.",
    ),
    "a line of more than 1 MB": (json.dumps(line("a", "x" * 1_000_000)) + "\n", "Line 1: the line has 1000"),
    "a prompt over the context": (json.dumps(line("a", "word " * 9000)) + "\n", "and the model's context is 8192"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_a_sentence_and_leaves_nothing(vllm_stack: RunningStack, tmp_path: Path, fault: str) -> None:
    content, sentence = BAD[fault]
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(content)

    ended = vllm_stack.sprout("batch", "run", source, "-o", output)

    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_bad_lines_become_errors_and_the_others_run(vllm_stack: RunningStack, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [line("b", "b", model="gpt-9"), line("same", "a", max_tokens=4), line("same", "b")]
    write_lines(source, lines)

    ended = vllm_stack.sprout("batch", "run", source, "-o", output)

    assert ended.returncode == 1
    sentences = [
        f'Line 1: no worker serves the model "gpt-9", and this batch runs on "{MODEL}": name that one.',
        "Line 3: the custom_id 'same' is already used in line 2: give every line its own.",
    ]
    assert all(sentence in ended.stderr for sentence in sentences)
    assert [answer["custom_id"] for answer in read_lines(output)] == ["same"]
    errors = read_lines(tmp_path / "out.errors.jsonl")
    assert [error["response"]["body"]["error"]["message"] for error in errors] == sentences


def test_summarize_keeps_order_and_does_only_what_is_missing(vllm_stack: RunningStack, tmp_path: Path) -> None:
    folder, output = tmp_path / "documents", tmp_path / "summaries.jsonl"
    folder.mkdir()
    paragraph = "The harbour was quiet in the morning. Two boats came in with herring and left again at noon. "
    (folder / "long.md").write_text("\n\n".join(f"Day {day}. {paragraph * 4}" for day in range(1, 21)))
    (folder / "short.txt").write_text(paragraph)
    (folder / "many.jsonl").write_text(json.dumps({"id": "first", "text": paragraph}) + "\n")

    ended = vllm_stack.sprout("summarize", folder, "-o", output, "--part-tokens", "700")

    assert ended.returncode == 0, ended.stderr
    first = read_lines(output)
    assert [entry["document"] for entry in first] == [
        str(folder / "long.md"), f"{folder / 'many.jsonl'}#first", str(folder / "short.txt"),
    ]  # fmt: skip
    assert all(entry["summary"] for entry in first)
    assert first[0]["parts"] > 1
    assert len(first[0]["levels"]) > first[0]["parts"]  # the parts and at least one merge

    (folder / "short.txt").write_text(paragraph + "A storm was expected.")
    again = vllm_stack.sprout("summarize", folder, "-o", output, "--part-tokens", "700")

    assert again.returncode == 0, again.stderr
    assert "3 documents, 1 to summarize." in again.stderr
    second = read_lines(output)
    assert second[:2] == first[:2]
    assert second[2]["sha256"] != first[2]["sha256"]
