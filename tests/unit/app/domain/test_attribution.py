from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attribution import Attribution, Use

amounts = st.floats(0, 1e12, allow_subnormal=False)
windows = st.lists(
    st.tuples(st.builds(Use, energy_j=amounts, device_s=amounts), st.dictionaries(st.sampled_from("abcde"), amounts)),
    max_size=8,
)


def test_a_window_is_split_by_work() -> None:
    attribution = Attribution()
    assert attribution.add_window(Use(energy_j=100, device_s=10), {"a": 3, "b": 1}) == Use()
    assert attribution.take("a") == Use(energy_j=75, device_s=7.5)
    assert attribution.take("b") == Use(energy_j=25, device_s=2.5)


def test_a_request_pays_for_every_window_in_which_it_ran() -> None:
    attribution = Attribution()
    attribution.add_window(Use(energy_j=100, device_s=1), {"a": 1})
    attribution.add_window(Use(energy_j=100, device_s=1), {"a": 1, "b": 1})
    attribution.add_window(Use(energy_j=100, device_s=1), {"b": 2, "c": 0})
    assert attribution.take("a") == Use(energy_j=150, device_s=1.5)
    assert attribution.take("b") == Use(energy_j=150, device_s=1.5)
    assert attribution.take("c") == Use()


@pytest.mark.parametrize("work", [{}, {"a": 0.0}])
def test_without_work_all_is_idle(work: dict[str, float]) -> None:
    attribution = Attribution()
    use = Use(energy_j=40, device_s=1)
    assert attribution.add_window(use, work) == use
    assert attribution.take("a") == Use()


def test_what_was_taken_is_forgotten() -> None:
    attribution = Attribution()
    attribution.add_window(Use(energy_j=1, device_s=1), {"a": 1})
    attribution.take("a")
    assert attribution.take("a") == attribution.take("never seen") == Use()


@given(windows)
def test_attributed_and_idle_use_sum_to_what_was_measured(measured: list[tuple[Use, dict[str, float]]]) -> None:
    attribution = Attribution()
    parts = [attribution.add_window(use, work) for use, work in measured]
    parts += [attribution.take(key) for key in "abcde"]
    for figure in ("energy_j", "device_s"):
        total = math.fsum(getattr(use, figure) for use, _ in measured)
        assert math.fsum(getattr(part, figure) for part in parts) == pytest.approx(total, rel=1e-9, abs=0)
        assert all(getattr(part, figure) >= 0 for part in parts)
