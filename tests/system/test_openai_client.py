"""The unmodified `openai` client against a running stack with real vLLM, and what Flower shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.support.lines import MODEL, line, write_lines
from tests.support.stack import RunningStack
from tests.support.waiting import eventually

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture
def client(vllm_stack: RunningStack) -> Iterator[openai.OpenAI]:
    with (
        httpx.Client(trust_env=False) as http,
        openai.OpenAI(base_url=f"{vllm_stack.api_url}/v1", api_key="unused", http_client=http) as opened,
    ):
        yield opened


def run_batch(client: openai.OpenAI, source: Path, **metadata: str) -> openai.types.Batch:
    with source.open("rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    batch = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h", metadata=metadata
    )
    eventually(lambda: client.batches.retrieve(batch.id).completed_at, within_s=200)
    return client.batches.retrieve(batch.id)


def test_creates_polls_and_downloads_a_batch(client: openai.OpenAI, tmp_path: Path) -> None:
    lines = [line(f"q{number}", f"Name {number} colours.", max_tokens=24) for number in range(1, 9)]
    batch = run_batch(client, write_lines(tmp_path / "in.jsonl", lines), purpose="test")

    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (8, 8, 0)
    assert batch.metadata == {"purpose": "test"}
    assert batch.error_file_id is None
    assert batch.output_file_id is not None
    answers = [json.loads(text) for text in client.files.content(batch.output_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == [f"q{number}" for number in range(1, 9)]
    for answer in answers:
        body = answer["response"]["body"]
        assert body["object"] == "chat.completion"
        assert body["model"] == MODEL
        assert body["choices"][0]["message"]["content"].strip()
        ledger = answer["sprout"]
        assert ledger["level"] in ("L0", "L1", "L2")
        assert ledger["completion_tokens"] == body["usage"]["completion_tokens"] > 0
        assert ledger["energy_j"] > 0
        assert ledger["footprint_g"] == pytest.approx(ledger["operational_g"] + ledger["embodied_g"])
    assert batch.id in [known.id for known in client.batches.list(limit=100)]


def test_a_bad_parameter_is_that_lines_error_alone(client: openai.OpenAI, tmp_path: Path) -> None:
    lines = [
        line("good", "Say hello.", max_tokens=8),
        line("bad", "Say hello.", temperature=-1),
        line("json", "Give a name.", max_tokens=40, response_format={"type": "json_object"}),
    ]
    batch = run_batch(client, write_lines(tmp_path / "in.jsonl", lines), sprout_level="auto")

    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    good = [json.loads(text) for text in client.files.content(batch.output_file_id).text.splitlines()]
    bad = [json.loads(text) for text in client.files.content(batch.error_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in good] == ["good", "json"]
    assert [answer["custom_id"] for answer in bad] == ["bad"]
    assert bad[0]["response"]["status_code"] == 400
    assert "temperature" in bad[0]["response"]["body"]["error"]["message"]


def test_levels_shorten_the_answers(client: openai.OpenAI, tmp_path: Path) -> None:
    questions = ["Why is the sky blue?", "How does bread rise?", "What is a tide?", "Why do leaves fall?"] * 2
    lines = [
        line(f"{level}-{number}", question, max_tokens=120, temperature=0, metadata={"sprout_level": level})
        for number, question in enumerate(questions)
        for level in ("L0", "L2")
    ]
    batch = run_batch(client, write_lines(tmp_path / "in.jsonl", lines))

    assert batch.output_file_id is not None
    tokens = {"L0": 0, "L2": 0}
    for text in client.files.content(batch.output_file_id).text.splitlines():
        ledger = json.loads(text)["sprout"]
        tokens[ledger["level"]] += ledger["completion_tokens"]
    assert tokens["L2"] < 0.8 * tokens["L0"]


def test_refusals_reach_the_client_as_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no batch 'batch_none'"):
        client.batches.retrieve("batch_none")
    with pytest.raises(openai.BadRequestError, match="empty"):
        client.files.create(file=("empty.jsonl", b""), purpose="batch")


def test_flower_lists_the_workers_and_the_shards_of_a_run(
    client: openai.OpenAI, vllm_stack: RunningStack, tmp_path: Path
) -> None:
    batch = run_batch(client, write_lines(tmp_path / "in.jsonl", [line("one", "Say hello.", max_tokens=8)]))
    flower_url = vllm_stack.published.urls["flower_url"]
    with httpx.Client(base_url=flower_url, trust_env=False) as flower:

        def shards() -> list[str]:
            tasks = flower.get("/api/tasks").json().values()
            return [task["args"] for task in tasks if task["name"] == "sprout.generate" and task["state"] == "SUCCESS"]

        eventually(lambda: any(batch.id in arguments for arguments in shards()), within_s=30)

        def workers() -> set[str]:
            # Flower asks the workers anew only when it is told to.
            return {name.partition("@")[0] for name in flower.get("/api/workers", params={"refresh": "true"}).json()}

        eventually(lambda: workers() == {"scheduler", "generator"}, within_s=30)
        assert httpx.get(f"{flower_url.partition('//')[0]}//127.0.0.1:{httpx.URL(flower_url).port}/api/workers",
                         trust_env=False).status_code == 401  # fmt: skip
