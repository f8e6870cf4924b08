"""The `Tokenizer` port on a Hugging Face model folder, without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from app.domain.errors import ConfigurationError, InvalidInput
from app.model.chat_template import ChatTemplate
from app.model.messages import template_messages

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
_SPLITTERS = frozenset({"ByteLevel", "Digits", "Punctuation", "Split", "Whitespace", "WhitespaceSplit"})
"""Pre-tokenizers that leave every byte at most once."""
_FRAMES = 1024
"""Sequences of roles that are remembered."""
_MARK = "\ue000content\ue001"
"""Of private characters, which stand in no template."""
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
        self._has_byte_bound = has_byte_bound(self._tokenizer)
        self._frame = lru_cache(maxsize=_FRAMES)(self._measure_frame)

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count(self, text: str) -> int:
        try:
            return len(self._tokenizer.encode(text, add_special_tokens=False))
        except TypeError as exc:  # the library's answer to text that has no UTF-8 form
            raise InvalidInput("The text holds half of a surrogate pair: send valid Unicode.") from exc

    def count_messages(self, messages: Sequence[Mapping[str, Any]]) -> int:
        return self.count(self._render(messages))

    def bound_messages(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        if not self._has_byte_bound:
            return None
        if self._template is None or not self._template.is_blind or not all(map(_is_plain, messages)):
            return len(self._render(messages).encode(errors="surrogatepass"))
        frame = self._frame(tuple([message["role"] for message in messages]))
        contents = [message["content"] for message in messages]
        return frame.bytes + frame.times * sum(
            len(content) if content.isascii() else len(content.encode(errors="surrogatepass")) for content in contents
        )

    def _measure_frame(self, roles: tuple[str, ...]) -> _Frame:
        """Raises InvalidInput: the template refuses messages of these roles."""
        text = self._render([{"role": role, "content": _MARK} for role in roles])
        rest = text.replace(_MARK, "")
        return _Frame(len(rest.encode(errors="surrogatepass")), times=text.count(_MARK))

    def _render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        if self._template is None:
            raise InvalidInput(f"The model in {self._folder} has no chat template: use /v1/completions.")
        return self._template.render(template_messages(messages))


class _Frame(NamedTuple):
    """What a blind template makes of messages of certain roles, whatever they say."""

    bytes: int
    """In UTF-8, beside the contents."""
    times: int
    """How many contents it prints in all: no content more often."""


def _is_plain(message: object) -> bool:
    """Whether it holds a role and a text and nothing else that a template could print."""
    return (
        isinstance(message, dict)
        and len(message) == 2
        and isinstance(message.get("content"), str)
        and isinstance(message.get("role"), str)
        and bool(message["role"])
    )


def has_byte_bound(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether no text can have more tokens than bytes in UTF-8.

    So it is with byte-level BPE on the text as it is: it begins with a symbol for every byte, and only merges them;
    special tokens replace one byte or more. A normaliser could lengthen the text first, and so could a prefix space.
    """
    parts = json.loads(tokenizer.to_str())
    splitter = parts["pre_tokenizer"] or {}
    splitters = splitter["pretokenizers"] if splitter.get("type") == "Sequence" else [splitter]
    byte_level = [part for part in splitters if part.get("type") == "ByteLevel"]
    return (
        parts["normalizer"] is None
        and parts["model"]["type"] == "BPE"
        and not parts["model"]["byte_fallback"]
        and len(byte_level) == 1
        and not byte_level[0]["add_prefix_space"]
        and all(part.get("type") in _SPLITTERS for part in splitters)
    )


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
