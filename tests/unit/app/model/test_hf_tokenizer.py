from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from app.domain.errors import ConfigurationError, InvalidInput
from app.model.tokenizer import HfTokenizer

TEXTS = [
    "Hello, world!",
    "  leading and   inner  spaces ",
    "tabs\tand\r\n\n\n new lines",
    "12345 67,890.12 x2 v10.2",
    "  42\n\n9",
    "½ ² ٣٤٥ Ⅷ",
    "It's they'll WE'VE",
    "naïve café e\u0301 日本語 한국어 مرحبا हिन्दी",
    "😀👩‍👩‍👧‍👦 🇩🇪",
    "def f(x):\n    return x**2  # comment",
    "<|im_start|>user\nhi<|im_end|><repo_name><|im_start",
    "\u200b\u00a0\u3000\x00\x01",
    "a" * 300 + " " * 50,
]
SYSTEM = {"role": "system", "content": "Answer briefly."}
USER = {"role": "user", "content": " What is 12 + 30?\n"}
ASSISTANT = {"role": "assistant", "content": "42"}
CONFIG = {"max_position_embeddings": 512}


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder whose tokens are words."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path / "config.json", CONFIG)
    return tmp_path


@pytest.fixture(scope="module")
def reference(bundled_model: Path) -> Any:
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(bundled_model)


@pytest.mark.parametrize("text", TEXTS)
def test_counts_as_transformers_does(bundled_model: Path, reference: Any, text: str) -> None:
    assert HfTokenizer(bundled_model).count(text) == len(reference(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("messages", [[USER], [SYSTEM, USER], [SYSTEM, USER, ASSISTANT, USER]])
def test_counts_chats_as_transformers_does(bundled_model: Path, reference: Any, messages: list[dict[str, Any]]) -> None:
    expected = reference.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert HfTokenizer(bundled_model).count_messages(messages) == len(expected)


@pytest.mark.parametrize("text", TEXTS)
def test_the_bundled_vocabulary_gives_every_text_back(bundled_model: Path, text: str) -> None:
    tokenizer = Tokenizer.from_file(str(bundled_model / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_the_bundled_vocabulary_splits_every_digit(bundled_model: Path) -> None:
    assert Tokenizer.from_file(str(bundled_model / "tokenizer.json")).encode("a  12").tokens == ["a", "ĠĠ", "1", "2"]


def test_the_bundled_context(bundled_model: Path) -> None:
    assert HfTokenizer(bundled_model).context_tokens == 8192


@pytest.mark.parametrize(
    ("config", "tokenizer_config", "expected"),
    [
        (CONFIG, {}, 512),
        ({"n_positions": 1024}, {}, 1024),
        ({"max_position_embeddings": 512, "max_seq_len": 256}, {}, 256),
        ({"text_config": {"max_position_embeddings": 2048}}, {}, 2048),
        ({}, {"model_max_length": 128}, 128),
    ],
)
def test_the_context_comes_from_the_usual_keys(
    folder: Path, config: dict[str, Any], tokenizer_config: dict[str, Any], expected: int
) -> None:
    write(folder / "config.json", config)
    write(folder / "tokenizer_config.json", tokenizer_config)
    assert HfTokenizer(folder).context_tokens == expected


@pytest.mark.parametrize("config", [{}, {"hidden_size": 8}])
def test_a_model_without_a_context_is_refused(folder: Path, config: dict[str, Any]) -> None:
    write(folder / "config.json", config)
    with pytest.raises(ConfigurationError, match="max_position_embeddings"):
        HfTokenizer(folder)


def test_truncation_and_padding_of_the_file_do_not_count(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert HfTokenizer(folder).count("one two") == 2
    assert HfTokenizer(folder).count("one two three four five six") == 6


@pytest.mark.parametrize(
    "template", ["three words here {{ messages[0].content }}", [{"name": "default", "template": "three words here x"}]]
)
def test_the_template_of_the_tokenizer_config(folder: Path, template: Any) -> None:
    write(folder / "tokenizer_config.json", {"chat_template": template})
    assert HfTokenizer(folder).count_messages([{"role": "user", "content": "x"}]) == 4


def test_a_separate_template_file_wins(folder: Path) -> None:
    write(folder / "tokenizer_config.json", {"chat_template": "one", "bos_token": {"content": "<s> <s>"}})
    (folder / "chat_template.jinja").write_text("{{ bos_token }} {{ messages[0].content }}", encoding="utf-8")
    assert HfTokenizer(folder).count_messages([{"role": "user", "content": "x"}]) == 3


def test_special_tokens_may_have_their_own_file(folder: Path) -> None:
    write(folder / "tokenizer_config.json", {"chat_template": "{{ eos_token }}"})
    write(folder / "special_tokens_map.json", {"eos_token": "a b c"})
    assert HfTokenizer(folder).count_messages([{"role": "user", "content": "x"}]) == 3


def test_a_model_without_a_template_takes_no_chats(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="no chat template"):
        HfTokenizer(folder).count_messages([{"role": "user", "content": "x"}])


def test_half_a_surrogate_pair_is_invalid_input(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        HfTokenizer(folder).count("abc\ud83d")


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"{tmp_path} has no tokenizer\.json"):
        HfTokenizer(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_broken_file_is_named(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=name):
        HfTokenizer(folder)
