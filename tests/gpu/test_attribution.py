"""What the GPUs' counters measure over a run is what requests and idleness are charged."""

from __future__ import annotations

import math
from contextlib import closing
from functools import partial

import pynvml
import pytest

from app.domain.attribution import Attribution, Use
from app.domain.completion import EngineRequest
from tests.support.engine import EchoEngine
from tests.support.waiting import eventually
from workers.meters.nvml import NvmlMeter

pytestmark = pytest.mark.gpu


@pytest.fixture
def meter() -> NvmlMeter:
    if not NvmlMeter.available():
        pytest.skip("no NVIDIA GPU with an energy counter")
    return NvmlMeter()


def test_the_gpus_of_a_worker_are_summed(meter: NvmlMeter) -> None:
    single = [NvmlMeter([index]) for index in range(pynvml.nvmlDeviceGetCount())]
    before = sum(one.energy_j() for one in single)
    between = meter.energy_j()
    assert before <= between <= sum(one.energy_j() for one in single)


def grown(meter: NvmlMeter, energy_j: float) -> bool:
    return meter.energy_j() > energy_j


def test_attributed_and_idle_energy_is_what_the_counters_say(meter: NvmlMeter) -> None:
    first = last = meter.energy_j()
    attribution, idle_j = Attribution(), 0.0
    keys = [f"r{number}" for number in range(20)]
    with closing(EchoEngine()) as engine:
        for pair in zip(keys[::2], keys[1::2], strict=True):
            eventually(partial(grown, meter, last))
            requests = [
                EngineRequest(key=key, endpoint="/v1/completions", body={"prompt": "a b c", "max_tokens": 3})
                for key in pair
            ]
            list(engine.generate(requests, timeout_s=5, wait_s=5))
            now = meter.energy_j()
            idle_j += attribution.add_window(Use(energy_j=now - last), engine.drain_work()).energy_j
            last = now
    charged_j = math.fsum(attribution.take(key).energy_j for key in keys)
    assert charged_j + idle_j == pytest.approx(last - first, rel=1e-3)
    assert charged_j > 0
