from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.errors import ConfigurationError
from app.model.bundled import MODEL_NAME
from app.model.locate import locate


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache with one model in it."""
    cache = tmp_path / "hub"
    repository = cache / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots" / "abc123").mkdir(parents=True)
    (repository / "snapshots" / "abc123" / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


def test_the_bundled_model(bundled_model: Path) -> None:
    assert locate(MODEL_NAME, bundled_model.parent) == bundled_model


def test_a_local_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert locate(str(tmp_path), Path("/nowhere")) == tmp_path


def test_a_folder_of_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert locate("~/mine", Path("/nowhere")) == tmp_path / "mine"


def test_a_local_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"{tmp_path} has no config\.json"):
        locate(str(tmp_path), Path("/nowhere"))


def test_a_cached_hugging_face_model(cache: Path) -> None:
    assert locate("org/tiny", Path("/nowhere")) == cache / "models--org--tiny" / "snapshots" / "abc123"


@pytest.mark.parametrize("name", ["org/other", "other", "a/b/c", "not a name"])
@pytest.mark.usefixtures("cache")
def test_anything_else_is_not_here(name: str) -> None:
    assert locate(name, Path("/nowhere")) is None


@pytest.mark.parametrize("name", ["/no/such/folder", "./missing", "~/missing-model"])
def test_a_folder_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="There is no model folder"):
        locate(name, Path("/nowhere"))
