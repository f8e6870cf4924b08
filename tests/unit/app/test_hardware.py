from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from app.composition import hardware_here
from app.domain.hardware import CPU_SERVER, DEVICES, SOURCES, YEAR_S, of_gpu
from app.settings import Settings


def test_every_device_has_a_source_for_each_figure() -> None:
    assert DEVICES.keys() == SOURCES.keys()
    assert all(len(source) > 20 for sources in SOURCES.values() for source in vars(sources).values())
    for device in DEVICES.values():
        assert 0 < device.idle_w < device.busy_w
        assert min(device.embodied_g, device.lifetime_s) > 0


def test_the_docs_tell_all_of_it() -> None:
    text = " ".join((Path(__file__).parents[3] / "docs" / "energy.md").read_text(encoding="utf-8").split())
    assert all(source in text for sources in SOURCES.values() for source in vars(sources).values())
    for name, device in DEVICES.items():
        figures = (device.embodied_g / 1000, device.lifetime_s / YEAR_S, device.idle_w, device.busy_w)
        assert f"| `{name}` | {' | '.join(f'{figure:g}' for figure in figures)} |" in text


def test_the_setting_knows_the_same_names() -> None:
    names, _ = get_args(Settings.model_fields["hardware"].annotation)
    assert set(get_args(names)) == DEVICES.keys()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L40", None),
        ("NVIDIA A10", None),
    ],
)
def test_gpus_are_known_by_the_drivers_name(model: str, name: str | None) -> None:
    assert of_gpu(model) == name


def test_this_machine_is_what_the_driver_says(tmp_path: Path) -> None:
    assert hardware_here(tmp_path / "gpus") == CPU_SERVER
    for number, model in enumerate(["NVIDIA L40S", "NVIDIA L40S"]):
        gpu = tmp_path / "gpus" / f"0000:0{number}:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 7\n")
    assert hardware_here(tmp_path / "gpus") == "l40s"
    (gpu.parent / "0000:00:00.0" / "information").write_text("Model: \t\t Quadro P400\n")
    assert hardware_here(tmp_path / "gpus") == "a100"
