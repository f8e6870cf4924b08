"""One batch user's day with the unmodified `openai` client: `python python_suite.py http://127.0.0.1:PORT`.

Runs under whichever major version of the client its Python has. Other suites may use the same API meanwhile.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import openai
from receiver import Webhook, jsonl, until

ENDED = ("completed", "failed", "expired", "cancelled")


def main(api_url: str) -> None:
    client = openai.OpenAI(base_url=f"{api_url}/v1", api_key="unused", max_retries=0)
    webhook = Webhook(api_url)
    with webhook.listening():
        whole = a_whole_batch(client, webhook)
        stopped = cancelled_midway(client, webhook)
    listed_with_paging(client, [whole.id, stopped.id])
    files_are_deleted(client, whole)
    refusals(client)
    print(f"openai {openai.__version__}: passed")


def a_whole_batch(client: openai.OpenAI, webhook: Webhook) -> openai.types.Batch:
    content = jsonl({**{f"q{number}": f"Say {number}" for number in range(9)}, "bad": "[refuse] this"})
    file = client.files.create(file=("day.jsonl", content), purpose="batch")
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "day.jsonl", "batch")
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == content

    made = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"day": "one"},
    )
    assert (made.object, made.status, made.input_file_id) == ("batch", "validating", file.id)
    batch = until(lambda: client.batches.retrieve(made.id), lambda found: found.status in ENDED)
    assert batch.status == "completed", batch
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (10, 9, 1)
    assert batch.metadata == {"day": "one"}
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at < batch.expires_at
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0

    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert {answer["custom_id"] for answer in answers} == {f"q{number}" for number in range(9)}
    for answer in answers:
        completion = openai.types.chat.ChatCompletion.model_validate(answer["response"]["body"])
        assert completion.choices[0].message.content.startswith(f"Say {answer['custom_id'][1:]}")
        assert (answer["response"]["status_code"], answer["error"]) == (200, None)
    (error,) = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert (error["custom_id"], error["response"]["status_code"], error["error"]) == ("bad", 400, None)
    assert error["response"]["body"]["error"]["message"]
    told(client, webhook, batch.id, "batch.completed")
    return batch


def cancelled_midway(client: openai.OpenAI, webhook: Webhook) -> openai.types.Batch:
    prompts = {f"q{number}": "Say so" if number < 8 else "[hang] for ever" for number in range(16)}
    file = client.files.create(file=("long.jsonl", jsonl(prompts)), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    until(lambda: client.batches.retrieve(made.id), lambda found: found.request_counts.completed)
    assert client.batches.cancel(made.id).status in ("cancelling", "cancelled")
    batch = until(lambda: client.batches.retrieve(made.id), lambda found: found.status in ENDED)
    assert batch.status == "cancelled", batch
    assert batch.cancelling_at <= batch.cancelled_at
    kept = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    lost = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert len(kept) == batch.request_counts.completed
    assert len(kept) + len(lost) == 16
    assert {(line["error"]["code"], line["response"]) for line in lost} == {("batch_cancelled", None)}
    told(client, webhook, batch.id, "batch.cancelled")
    return batch


def told(client: openai.OpenAI, webhook: Webhook, batch_id: str, kind: str) -> None:
    headers, body = webhook.about(batch_id)
    event = client.webhooks.unwrap(body, headers, secret=webhook.secret)
    assert (event.type, event.object, event.data.id) == (kind, "event", batch_id)
    assert event.id == headers["webhook-id"]
    try:
        client.webhooks.unwrap(body.replace(b"batch", b"botch"), headers, secret=webhook.secret)
    except openai.InvalidWebhookSignatureError:
        return
    raise AssertionError("a changed body was believed")


def listed_with_paging(client: openai.OpenAI, ours: list[str]) -> None:
    first = client.batches.list(limit=1)
    assert (len(first.data), first.has_more) == (1, True)
    paged = [batch.id for batch in client.batches.list(limit=1)]
    assert len(paged) == len(set(paged))
    assert [batch_id for batch_id in paged if batch_id in ours] == ours[::-1], "newest first"
    for order in ("asc", "desc"):
        files = list(client.files.list(purpose="batch", limit=2, order=order))
        times = [file.created_at for file in files]
        assert len({file.id for file in files}) == len(files) >= 2
        assert times == sorted(times, reverse=order == "desc")


def files_are_deleted(client: openai.OpenAI, batch: openai.types.Batch) -> None:
    for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
        deleted = client.files.delete(file_id)
        assert (deleted.id, deleted.object, deleted.deleted) == (file_id, "file", True)
        for call in (client.files.retrieve, client.files.content, client.files.delete):
            refused(call, file_id, openai.NotFoundError)
    assert client.batches.retrieve(batch.id).status == "completed"


def refusals(client: openai.OpenAI) -> None:
    refused(client.batches.retrieve, "batch_none", openai.NotFoundError)
    refused(client.batches.cancel, "batch_none", openai.NotFoundError)
    refused(
        lambda endpoint: client.batches.create(input_file_id="f", endpoint=endpoint, completion_window="24h"),
        "/v1/nonsense",
        openai.BadRequestError,
    )


def refused(call: Callable[[str], object], argument: str, error: type[openai.APIStatusError]) -> None:
    try:
        found = call(argument)
    except error as exc:
        kind = exc.type
    else:
        raise AssertionError(f"{argument} was not refused: {found}")
    assert kind == "invalid_request_error", kind


if __name__ == "__main__":
    main(sys.argv[1])
