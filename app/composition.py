"""Putting the parts together from the settings: the composition root of every process."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from app.broker.celery import CeleryDispatcher, celery_app
from app.domain.errors import ConfigurationError
from app.domain.hardware import CPU_SERVER, of_gpu
from app.model.identity import identity
from app.model.locate import locate
from app.model.tokenizer import HfTokenizer
from app.ports import FileStore, Tokenizer
from app.services.context import Context, SystemClock
from app.settings import BUNDLED_MODEL, Settings
from app.store.blobs import FolderStore, ObjectStore
from app.store.database import Database

log = logging.getLogger(__name__)

NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
"""Of NVIDIA's driver: readable by everybody, and without loading a library."""


def build_context(settings: Settings) -> Context:
    """Raises ConfigurationError when a URL is missing or wrong."""
    if settings.database_url is None:
        raise ConfigurationError("SPROUT_DATABASE_URL is not set: name a PostgreSQL, or run `sprout up`.")
    return Context(
        settings=settings if settings.hardware else settings.model_copy(update={"hardware": hardware_here()}),
        database=Database(settings.database_url.get_secret_value()),
        files=file_store_of(settings),
        dispatcher=CeleryDispatcher(celery_app(settings)),
        clock=SystemClock(speed=settings.clock_speed, start=settings.clock_start),
        tokenizer=tokenizer_of(settings),
    )


def file_store_of(settings: Settings) -> FileStore:
    """Raises ConfigurationError when SPROUT_FILES_URL is of an unknown kind."""
    return ObjectStore(settings.files_url) if settings.files_url else FolderStore(settings.home / "files")


def hardware_here(gpus: Path = NVIDIA_GPUS) -> str:
    """The kind of this machine's GPU in the table of hardware, or that of a machine without one."""
    models = [
        model
        for information in sorted(gpus.glob("*/information"))
        for model in re.findall(r"^Model:\s*(.+)$", information.read_text(), re.MULTILINE)
    ]
    if not models:
        return CPU_SERVER
    found = of_gpu(models[0])
    if found is None:
        log.warning("nothing is known of a %s, the A100's figures stand in: set SPROUT_HARDWARE", models[0])
    return found or "a100"


def engine_model(settings: Settings) -> Path | str:
    """What vLLM loads: a folder, or a Hugging Face name that it resolves itself."""
    found = locate(settings.model, settings.home / "models")
    # The cached snapshot of a Hugging Face name may lack its weights: vLLM gets the name.
    local = settings.model == BUNDLED_MODEL or Path(settings.model).expanduser().is_dir()
    return found if local and found else settings.model


def engine_identity(settings: Settings) -> str:
    """Of the weights that answer: another text for other ones."""
    if settings.engine != "vllm":
        # What a remote server has loaded is not known here, only how it is asked for.
        return f"{settings.engine} {settings.engine_url} {settings.served_name}"
    folder = locate(settings.model, settings.home / "models")
    return identity(folder) if folder else settings.model


def tokenizer_of(settings: Settings) -> Callable[[], Tokenizer | None]:
    """Loads the model's tokenizer when it is first asked for, and only then."""

    @cache
    def load() -> Tokenizer | None:
        if settings.engine == "openai" and not settings.model_stated:
            return None
        folder = locate(settings.model, settings.home / "models")
        return HfTokenizer(folder) if folder else None

    return load
