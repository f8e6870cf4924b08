"""Chat templates, rendered as Hugging Face's `apply_chat_template` renders them, without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls  # noqa: N812
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.domain.errors import ConfigurationError, InvalidInput
from app.model.blindness import is_blind


class ChatTemplate:
    """A compiled template with the model's special tokens as variables. Thread-safe."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = _environment()
        try:
            self._template = environment.from_string(source)
            self.is_blind = is_blind(environment.parse(source))
            """Whether it prints contents without looking at them: see `app.model.blindness`."""
        except TemplateSyntaxError as exc:
            raise ConfigurationError(f"The model's chat template is not valid Jinja ({exc}): repair it.") from exc
        self._special_tokens = dict(special_tokens)

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt text, ending where the assistant is to answer.

        Raises:
            InvalidInput: the template refuses these messages.
        """
        try:
            return self._template.render(
                messages=messages, tools=[], documents=None, add_generation_prompt=True, **self._special_tokens
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as exc:
            raise InvalidInput(f"The model's chat template refuses these messages: {exc}", param="messages") from exc


class _GenerationBlocks(Extension):
    """`{% generation %}` marks what the assistant wrote, for training: here it only passes its body on."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlocks, LoopControls]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own filter, it leaves HTML's characters as they are."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)
