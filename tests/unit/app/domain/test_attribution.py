from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attribution import Attribution, Use, Work
from app.domain.calibration import Costs

amounts = st.floats(0, 1e12, allow_subnormal=False)
tokens = st.integers(0, 100_000)
works = st.builds(Work, place_s=amounts, prefill_tokens=tokens, decode_tokens=tokens)
costs = st.builds(Costs, prefill_j=st.floats(0, 1e3), decode_j=st.floats(0, 1e3), idle_w=amounts)
windows = st.lists(
    st.tuples(
        st.builds(Use, energy_j=amounts, device_s=amounts),
        st.dictionaries(st.sampled_from("abcde"), works),
        st.none() | costs,
    ),
    max_size=8,
)
COSTS = Costs(prefill_j=0.5, decode_j=2.0, idle_w=40.0)


def places(**seconds: float) -> dict[str, Work]:
    return {key: Work(place_s=amount) for key, amount in seconds.items()}


def test_a_window_is_split_by_work() -> None:
    attribution = Attribution()
    assert attribution.add_window(Use(energy_j=100, device_s=10), places(a=3, b=1)) == Use()
    assert attribution.take("a") == Use(energy_j=75, device_s=7.5)
    assert attribution.take("b") == Use(energy_j=25, device_s=2.5)


def test_a_request_pays_for_every_window_in_which_it_ran() -> None:
    attribution = Attribution()
    attribution.add_window(Use(energy_j=100, device_s=1), places(a=1))
    attribution.add_window(Use(energy_j=100, device_s=1), places(a=1, b=1))
    attribution.add_window(Use(energy_j=100, device_s=1), places(b=2, c=0))
    assert attribution.take("a") == Use(energy_j=150, device_s=1.5)
    assert attribution.take("b") == Use(energy_j=150, device_s=1.5)
    assert attribution.take("c") == Use()


@pytest.mark.parametrize("work", [{}, places(a=0.0)])
def test_without_work_all_is_idle(work: dict[str, Work]) -> None:
    attribution = Attribution()
    use = Use(energy_j=40, device_s=1)
    assert attribution.add_window(use, work) == use
    assert attribution.take("a") == Use()


def test_what_was_taken_is_forgotten() -> None:
    attribution = Attribution()
    attribution.add_window(Use(energy_j=1, device_s=1), places(a=1))
    attribution.take("a")
    assert attribution.take("a") == attribution.take("never seen") == Use()


def test_tokens_count_by_what_they_cost() -> None:
    attribution = Attribution()
    work = {
        "long prompt": Work(place_s=1, prefill_tokens=100, decode_tokens=1),
        "long answer": Work(place_s=9, prefill_tokens=4, decode_tokens=23),
    }
    assert attribution.add_window(Use(energy_j=100, device_s=10), work, COSTS) == Use()
    assert attribution.take("long prompt") == Use(energy_j=52, device_s=5.2)
    assert attribution.take("long answer") == Use(energy_j=48, device_s=4.8)


def test_a_request_without_a_new_token_pays_nothing_beside_one_that_has_some() -> None:
    attribution = Attribution()
    attribution.add_window(Use(energy_j=10, device_s=1), {"a": Work(place_s=1, decode_tokens=3), **places(b=1)}, COSTS)
    assert attribution.take("a") == Use(energy_j=10, device_s=1)
    assert attribution.take("b") == Use()


def test_a_window_in_which_requests_ran_without_a_token_is_split_by_time_and_never_idle() -> None:
    attribution = Attribution()
    assert attribution.add_window(Use(energy_j=10, device_s=2), places(a=1, b=4), COSTS) == Use()
    assert attribution.take("b") == Use(energy_j=8, device_s=1.6)


@given(windows)
def test_attributed_and_idle_use_sum_to_what_was_measured(
    measured: list[tuple[Use, dict[str, Work], Costs | None]],
) -> None:
    attribution = Attribution()
    parts = [attribution.add_window(use, work, costs) for use, work, costs in measured]
    parts += [attribution.take(key) for key in "abcde"]
    for figure in ("energy_j", "device_s"):
        total = math.fsum(getattr(use, figure) for use, _, _ in measured)
        assert math.fsum(getattr(part, figure) for part in parts) == pytest.approx(total, rel=1e-9, abs=0)
        assert all(getattr(part, figure) >= 0 for part in parts)
