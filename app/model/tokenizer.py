"""The `Tokenizer` port on a Hugging Face model folder, without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from app.domain.errors import ConfigurationError, InvalidInput
from app.model.chat_template import ChatTemplate
from app.model.messages import template_messages
from app.model.token_bound import TokenBound, bound_of, growth_of

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
    "model_max_length",
)
"""What `config.json` calls the context, by model family; the smallest counts, as in vLLM."""
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class HfTokenizer:
    """Counts with `tokenizer.json` and the chat template of a model folder. Thread-safe.

    Raises:
        ConfigurationError: the folder lacks `tokenizer.json` or `config.json`, or one of its files is unusable.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        config = _read_json(folder / "tokenizer_config.json")
        self._context_tokens = _context_tokens(folder, config)
        self._template = _load_template(folder, config)
        self._growth = growth_of(self._tokenizer)
        self._bound = TokenBound(self._growth, self._template) if self._growth and self._template else None

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count(self, text: str) -> int:
        try:
            return len(self._tokenizer.encode(text, add_special_tokens=False))
        except TypeError as exc:  # the library's answer to text that has no UTF-8 form
            raise InvalidInput("The text holds half of a surrogate pair: send valid Unicode.") from exc

    def bound(self, text: str) -> int | None:
        return bound_of(text, self._growth) if self._growth else None

    def count_messages(self, messages: Sequence[Mapping[str, Any]]) -> int:
        if self._template is None:
            raise InvalidInput(f"The model in {self._folder} has no chat template: use /v1/completions.")
        return self.count(self._template.render(template_messages(messages)))

    def bound_messages(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        return self._bound(messages) if self._bound else None


def _load_tokenizer(path: Path) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise ConfigurationError(f"{path.parent} has no tokenizer.json: set a model folder with a fast tokenizer.")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as exc:  # the Rust library raises nothing more specific
        raise ConfigurationError(f"{path} cannot be read ({exc}): copy or download the model again.") from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _load_template(folder: Path, config: dict[str, Any]) -> ChatTemplate | None:
    """From `chat_template.jinja`, else from `tokenizer_config.json`, which may hold several with names."""
    template = config.get("chat_template")
    if isinstance(template, list):
        template = next((entry["template"] for entry in template if entry["name"] == "default"), None)
    separate = folder / "chat_template.jinja"
    if separate.is_file():
        template = separate.read_text(encoding="utf-8")
    if template is None:
        return None
    declared = _read_json(folder / "special_tokens_map.json") | config
    return ChatTemplate(template, {name: _token(declared[name]) for name in _SPECIAL_TOKENS if declared.get(name)})


def _token(value: str | Mapping[str, Any]) -> str:
    return value if isinstance(value, str) else str(value["content"])


def _context_tokens(folder: Path, tokenizer_config: dict[str, Any]) -> int:
    config = _read_json(folder / "config.json")
    # Models for several media keep the language model's figures in a part of their own.
    language_model = config.get("text_config") or config
    limits = [language_model[key] for key in _CONTEXT_KEYS if language_model.get(key)]
    if not limits and tokenizer_config.get("model_max_length"):
        limits = [tokenizer_config["model_max_length"]]
    if not limits:
        raise ConfigurationError(
            f"{folder / 'config.json'} does not state the model's context: add max_position_embeddings, in tokens."
        )
    return int(min(limits))


def _read_json(path: Path) -> dict[str, Any]:
    """The object in `path`, empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as exc:
        raise ConfigurationError(f"{path} is not a JSON object ({exc}): copy or download the model again.") from exc
