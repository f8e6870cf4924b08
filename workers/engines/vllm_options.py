"""Options of `vllm serve`, given as a mapping instead of a command line."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser

from app.domain.errors import ConfigurationError


def parse_options(options: Mapping[str, Any]) -> tuple[Namespace, VllmConfig]:
    """The front end's arguments and the engine's configuration; keys are long option names, None leaves one out.

    Raises:
        ConfigurationError: vLLM does not know an option or its value, or the model is not there.
    """
    untyped: Callable[..., Any] = FlexibleArgumentParser
    parser = untyped(prog="vllm serve")
    parser.error = _refuse
    make_arg_parser(parser)
    args = parser.parse_args([word for name, value in options.items() for word in _words(name, value)])
    try:
        validate_parsed_serve_args(args)
        # Where an option is left out, vLLM's choice for throughput: nobody waits for the next token of a batch.
        return args, AsyncEngineArgs.from_cli_args(args).create_engine_config(UsageContext.LLM_CLASS)
    except (ValueError, TypeError, OSError) as exc:
        raise ConfigurationError(f"vLLM cannot be set up for {options['model']}: {exc}") from exc


def _refuse(message: str) -> NoReturn:
    raise ConfigurationError(f"vLLM does not accept its options: {message}.")


def _words(name: str, value: Any) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
        return
    yield f"--{name}"
    if isinstance(value, list | tuple):
        yield from map(str, value)
    else:
        yield json.dumps(value) if isinstance(value, Mapping) else str(value)
