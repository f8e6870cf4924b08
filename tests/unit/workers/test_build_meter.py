"""Which meter a worker reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import ConfigurationError
from app.services.context import Context, SystemClock
from app.store.blobs import FolderStore
from app.store.database import Database
from tests.support.dispatcher import RecordingDispatcher
from tests.support.engine import EchoEngine
from tests.support.powercap import Powercap
from tests.support.services import some_settings
from workers.engines.vllm import VllmEngine
from workers.lifecycle import build_meter
from workers.meters.power_model import PowerModelMeter
from workers.meters.rapl import RaplMeter


class TwoDevices(EchoEngine):
    devices = 2


class OnCpu(VllmEngine):
    """vLLM as the choice of a meter sees it, without loading it."""

    devices = 1
    on_cpu = True

    def __init__(self) -> None:
        pass

    def busy_s(self) -> float:
        return 0.0


@pytest.fixture
def engine() -> Iterator[TwoDevices]:
    with closing(TwoDevices()) as opened:
        yield opened


def context(home: Path, **settings: Any) -> Context:
    return Context(
        settings=some_settings(home, **settings),
        database=Database("postgresql://nowhere"),
        files=FolderStore(home / "files"),
        dispatcher=RecordingDispatcher(),
        clock=SystemClock(),
        tokenizer=lambda: None,
    )


def test_a_server_elsewhere_is_modelled_whatever_this_machine_can_measure(tmp_path: Path, engine: TwoDevices) -> None:
    assert isinstance(build_meter(context(tmp_path), engine), PowerModelMeter)


def test_the_model_has_the_watts_of_all_devices(tmp_path: Path, engine: TwoDevices) -> None:
    with pytest.raises(ConfigurationError, match="80 W idle and 40 W busy"):
        build_meter(context(tmp_path, busy_w=20.0), engine)


def test_vllm_on_a_cpu_is_measured_where_the_counters_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    powercap = Powercap(tmp_path)
    monkeypatch.setattr(RaplMeter.__init__, "__defaults__", (powercap.root,))
    monkeypatch.setattr(RaplMeter.available, "__defaults__", (powercap.root,))
    assert isinstance(build_meter(context(tmp_path / "home"), OnCpu()), PowerModelMeter)
    powercap.add("intel-rapl:0", "package-0")
    assert isinstance(build_meter(context(tmp_path / "home"), OnCpu()), RaplMeter)
    assert isinstance(build_meter(context(tmp_path / "home", meter="model"), OnCpu()), PowerModelMeter)


def test_a_sensor_that_was_asked_for_must_be_there(
    tmp_path: Path, engine: TwoDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RaplMeter.__init__, "__defaults__", (tmp_path / "nowhere",))
    with pytest.raises(ConfigurationError, match="shows no RAPL counter"):
        build_meter(context(tmp_path, meter="rapl"), engine)
