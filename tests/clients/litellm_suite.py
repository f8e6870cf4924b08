"""LiteLLM's batch calls with an `api_base` of our own: `python litellm_suite.py http://127.0.0.1:PORT`."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

import litellm
from receiver import jsonl, until


def main(api_url: str) -> None:
    there: dict[str, Any] = {"custom_llm_provider": "openai", "api_base": f"{api_url}/v1", "api_key": "unused"}
    content = jsonl({f"q{number}": f"Say {number}" for number in range(4)})
    file = litellm.create_file(file=("day.jsonl", content), purpose="batch", **there)
    assert (file.object, file.bytes, file.purpose) == ("file", len(content), "batch")
    assert litellm.file_retrieve(file.id, **there).id == file.id
    assert file.id in [found.id for found in litellm.file_list(purpose="batch", **there)]

    made = litellm.create_batch(
        completion_window="24h",
        endpoint="/v1/chat/completions",
        input_file_id=file.id,
        metadata={"by": "litellm"},
        **there,
    )
    batch = until(lambda: litellm.retrieve_batch(batch_id=made.id, **there), lambda found: found.status == "completed")
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (4, 4, 0)
    assert batch.metadata == {"by": "litellm"}
    assert made.id in [found.id for found in litellm.list_batches(limit=100, **there)]
    answers = litellm.file_content(batch.output_file_id, **there).content.splitlines()
    assert {json.loads(answer)["custom_id"] for answer in answers} == {f"q{number}" for number in range(4)}

    hanging = litellm.create_file(file=("long.jsonl", jsonl({"q": "[hang] for ever"})), purpose="batch", **there)
    made = litellm.create_batch(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id=hanging.id, **there
    )
    assert litellm.cancel_batch(batch_id=made.id, **there).status in ("cancelling", "cancelled")
    until(lambda: litellm.retrieve_batch(batch_id=made.id, **there), lambda found: found.status == "cancelled")
    for file_id in (file.id, hanging.id):
        assert litellm.file_delete(file_id, **there).deleted
    print(f"litellm {version('litellm')}: passed")


if __name__ == "__main__":
    main(sys.argv[1])
