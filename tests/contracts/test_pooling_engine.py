"""vLLM with a model that gives embeddings: the bundled one, by its last hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from app.domain.completion import Completion, EngineRequest
from workers.engines.vllm import BUNDLED_TOOLS, VllmEngine

MODEL = "pooling-model"

pytestmark = [pytest.mark.model, pytest.mark.long, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def engine(bundled_model: Path) -> Iterator[VllmEngine]:
    with closing(
        VllmEngine(
            bundled_model,
            served_model_name=MODEL,
            dtype="bfloat16",
            max_model_len=64,
            max_num_seqs=4,
            kv_cache_gb=0.25,
            options={**BUNDLED_TOOLS, "runner": "pooling", "convert": "embed"},
        )
    ) as built:
        yield built


def test_it_gives_embeddings_and_nothing_else(engine: VllmEngine) -> None:
    assert engine.endpoints == ("/v1/embeddings",)
    asked = {
        "texts": ("/v1/embeddings", {"input": ["A fox ran", "A fox ran", "Gold fell"]}),
        "tokens": ("/v1/embeddings", {"input": [3, 4, 5]}),
        "packed": ("/v1/embeddings", {"input": "A fox ran", "encoding_format": "base64"}),
        "long": ("/v1/embeddings", {"input": "word " * 100}),
        "number": ("/v1/embeddings", {"input": 7}),
        "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    }
    requests = [
        EngineRequest(key=key, endpoint=endpoint, body={"model": MODEL, **body})
        for key, (endpoint, body) in asked.items()
    ]
    done: dict[str, Completion] = {
        one.key: one for group in engine.generate(requests, timeout_s=120, wait_s=1) for one in group
    }
    assert {key: one.status_code for key, one in done.items()} == {
        "texts": 200, "tokens": 200, "packed": 200, "long": 400, "number": 400, "chat": 400
    }  # fmt: skip
    texts = done["texts"]
    assert texts.body["object"] == "list"
    first, second, third = (np.array(item["embedding"]) for item in texts.body["data"])
    assert np.allclose(first, second, atol=1e-2)
    assert not np.allclose(first, third, atol=1e-2)
    assert texts.prompt_tokens == texts.body["usage"]["prompt_tokens"] > done["tokens"].prompt_tokens == 3
    assert isinstance(done["packed"].body["data"][0]["embedding"], str)
    assert "it answers /v1/embeddings. Name another" in done["chat"].body["error"]["message"]
    work = engine.drain_work()
    assert work["texts"].place_s > 0
    assert work["texts"].prefill_tokens > 0
