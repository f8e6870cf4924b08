"""Refusals and the environment, without loading a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import ConfigurationError
from workers.engines import vllm
from workers.engines.vllm import VllmEngine


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A copy that the engine may change."""
    copy = {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "HF_"))}
    monkeypatch.setattr(os, "environ", copy)
    return copy


# Parsing imports vLLM, which takes seconds and uses what it deprecates itself.
@pytest.mark.model
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"no-such-option": 1}, "no-such-option"),
        ({"max-num-seqs": "many"}, "many"),
        ({"enable-auto-tool-choice": True}, "tool-call-parser"),
        ({"max-model-len": 10**9}, "max_model_len"),
    ],
)
def test_an_option_that_vllm_refuses_is_named(bundled_model: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        VllmEngine(bundled_model, served_model_name="m", options=options)


@pytest.mark.model
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=tmp_path.name):
        VllmEngine(tmp_path, served_model_name="m")


def test_an_untied_engine_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "entry_points", lambda **select: [])
    with pytest.raises(ConfigurationError, match="outlive"):
        VllmEngine("any", served_model_name="m")


def test_a_list_of_allowed_plugins_is_extended(environment: dict[str, str]) -> None:
    environment["VLLM_PLUGINS"] = "theirs"
    vllm._prepare_environment("any")
    assert environment["VLLM_PLUGINS"] == "theirs,sprout_lifeline"


def test_without_such_a_list_none_is_made(environment: dict[str, str]) -> None:
    vllm._prepare_environment("any")
    assert "VLLM_PLUGINS" not in environment


def test_a_local_model_needs_no_network_and_a_name_may(environment: dict[str, str], tmp_path: Path) -> None:
    vllm._prepare_environment("org/name")
    assert "HF_HUB_OFFLINE" not in environment
    vllm._prepare_environment(str(tmp_path))
    assert environment["HF_HUB_OFFLINE"] == "1"
