"""The GPUs' energy counters against work that is known to cost energy."""

from __future__ import annotations

import time

import pytest

from tests.support.waiting import eventually
from workers.meters.nvml import NvmlMeter

pytestmark = pytest.mark.gpu


@pytest.fixture
def meter() -> NvmlMeter:
    if not NvmlMeter.available([0]):
        pytest.skip("no NVIDIA GPU with an energy counter")
    return NvmlMeter([0])


def mean_power_w(meter: NvmlMeter, seconds: float) -> float:
    started, before = time.monotonic(), meter.energy_j()
    eventually(lambda: time.monotonic() - started >= seconds)
    return (meter.energy_j() - before) / (time.monotonic() - started)


def test_a_gpu_at_work_draws_more_than_an_idle_one(meter: NvmlMeter) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch was built without CUDA")
    idle_w = mean_power_w(meter, 1)
    matrix = torch.rand(8192, 8192, device="cuda", dtype=torch.float16)
    started, before = time.monotonic(), meter.energy_j()
    while time.monotonic() - started < 1:
        matrix @ matrix
        torch.cuda.synchronize()
    busy_w = (meter.energy_j() - before) / (time.monotonic() - started)
    assert busy_w > 1.2 * idle_w > 1.2
