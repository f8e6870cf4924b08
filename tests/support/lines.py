"""Batch input files."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

MODEL = "smollm2-135m-instruct"


def line(custom_id: str, prompt: str, *, model: str = MODEL, **body: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": prompt}], **body},
    }


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def gsm8k_questions(count: int) -> Sequence[str]:
    """The first questions of GSM8K; the test is skipped where the data are absent."""
    folder = Path(os.environ.get("SPROUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "prompts" / "gsm8k_test.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent: set SPROUT_TEST_DATA to the folder that holds prompts/")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(text)["question"] for text, _ in zip(file, range(count), strict=False)]
