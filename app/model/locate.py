"""Where a model's files are on this machine."""

from __future__ import annotations

from pathlib import Path

from app.domain.errors import ConfigurationError
from app.model import bundled


def locate(model: str, models_dir: Path) -> Path | None:
    """The folder of `model`: the bundled model's name, a local folder, or a Hugging Face name; nothing is downloaded.

    The bundled model is prepared in `models_dir` first. A Hugging Face name gives its main snapshot in the local
    cache, which may hold no weights; None if it isn't there, or has no `config.json`.

    Raises:
        ConfigurationError: a local folder that is not there or has no `config.json`, or the bundled model cannot be
            prepared.
    """
    if model == bundled.MODEL_NAME:
        return bundled.prepare(models_dir)
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.startswith(("/", ".", "~")):
            raise ConfigurationError(f"There is no model folder {folder}: set SPROUT_MODEL to one that is there.")
        return _cached(model)
    if not (folder / "config.json").is_file():
        raise ConfigurationError(f"{folder} has no config.json: name a folder that holds a Hugging Face model.")
    return folder


def _cached(name: str) -> Path | None:
    # Imported here: it is slow to load, and only this branch needs it.
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None
