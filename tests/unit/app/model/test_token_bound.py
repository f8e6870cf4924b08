from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from app.domain.errors import InvalidInput
from app.model.token_bound import growth_of
from app.model.tokenizer import HfTokenizer

texts = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    [
        "<|im_start|>" * 5,
        "\u0958" * 20,
        "\U0001d160" * 20,
        "e\u0301" * 10,
        "\ue0000\ue001",
        "1234567890",
        " " * 40,
        "\0",
    ]
)
roles = st.sampled_from(["system", "user", "assistant", "tool", "ü"])
plain = st.lists(st.fixed_dictionaries({"role": roles, "content": texts}), min_size=1, max_size=4)


def with_files(bundled_model: Path, folder: Path, *, nfc: bool, template: str | None = None) -> HfTokenizer:
    """The bundled model's tokenizer, changed."""
    shutil.copytree(bundled_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    parts = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    parts["normalizer"] = {"type": "NFC"} if nfc else None
    (folder / "tokenizer.json").write_text(json.dumps(parts), "utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return HfTokenizer(folder)


@pytest.fixture(scope="module", params=["as it is", "NFC"])
def tokenizer(request: pytest.FixtureRequest, bundled_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return with_files(bundled_model, tmp_path_factory.mktemp("model") / "m", nfc=request.param == "NFC")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=plain)
def test_no_prompt_has_more_tokens_than_its_bound(tokenizer: HfTokenizer, messages: list[dict[str, Any]]) -> None:
    bound = tokenizer.bound_messages(messages)
    assert bound is not None
    assert tokenizer.count_messages(messages) <= bound


def test_a_bound_is_near_where_every_byte_is_a_token(tokenizer: HfTokenizer) -> None:
    messages = [{"role": "system", "content": "0" * 50}, {"role": "user", "content": "1" * 500}]
    tokens, bound = tokenizer.count_messages(messages), tokenizer.bound_messages(messages)
    assert bound is not None
    assert 550 <= tokens <= bound <= tokens + 100


LOOKS = "{% for m in messages %}{{ m.content }}{% if 'again' in m.content %}{{ m.content }}{% endif %}{% endfor %}"
TWICE = "{% for m in messages %}{{ m.role + m.content }}{{ messages[0]['content'] | trim }}{% endfor %}"


@pytest.mark.parametrize("template", [LOOKS, TWICE])
def test_what_a_template_repeats_counts_as_often(bundled_model: Path, tmp_path: Path, template: str) -> None:
    tokenizer = with_files(bundled_model, tmp_path / "m", nfc=False, template=template)
    tokenizer.bound_messages([{"role": "user", "content": "short"}] * 3)
    messages = [{"role": "user", "content": f"again {7**500}"}, *[{"role": "user", "content": "x"}] * 2]
    bound = tokenizer.bound_messages(messages)
    assert bound is not None
    assert 800 < tokenizer.count_messages(messages) <= bound


REFUSES = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
    "{{ m.content }}{% endfor %}"
)


def test_what_a_template_refuses_is_refused_each_time(bundled_model: Path, tmp_path: Path) -> None:
    tokenizer = with_files(bundled_model, tmp_path / "m", nfc=False, template=REFUSES)
    for _ in range(2):
        assert tokenizer.bound_messages([{"role": "user", "content": "x"}]) == 1
        with pytest.raises(InvalidInput, match="no system messages"):
            tokenizer.bound_messages([{"role": "system", "content": "x"}])


def byte_level(**changes: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for name, part in changes.items():
        setattr(tokenizer, name, part)
    return tokenizer


@pytest.mark.parametrize(
    ("changes", "growth"),
    [
        ({}, 1),
        ({"normalizer": normalizers.NFC()}, 3),
        ({"normalizer": normalizers.NFKC()}, None),
        ({"normalizer": normalizers.Prepend("__")}, None),
        ({"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=True)}, None),
        ({"pre_tokenizer": pre_tokenizers.Metaspace()}, None),
        ({"model": models.BPE(vocab={"a": 0}, merges=[], byte_fallback=True)}, None),
        ({"model": models.WordPiece(vocab={"[UNK]": 0, "a": 1}, unk_token="[UNK]")}, None),
    ],
)
def test_only_byte_level_tokenizers_have_a_bound(changes: dict[str, Any], growth: int | None) -> None:
    assert growth_of(byte_level(**changes)) == growth
