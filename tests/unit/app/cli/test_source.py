from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.source import endpoint_of

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("content", "endpoint"),
    [
        ('{"url": "/v1/responses"}\n{"url": "/v1/embeddings"}', "/v1/responses"),
        ('\n{nonsense\n7\n[]\n{"url": "/v1/nothing"}\n{"url": ["x"]}\n{"url": "/v1/embeddings"}', "/v1/embeddings"),
        ('{"url": "/v1/nothing"}', CHAT),
        ("[" * 100_000, CHAT),
        ("", CHAT),
    ],
)
def test_a_file_s_endpoint_is_the_first_that_a_line_names(tmp_path: Path, content: str, endpoint: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(content)
    assert endpoint_of(source) == endpoint
