from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.domain.calibration import Costs, MeasuredWindow, fit, held_out_error, spread
from app.domain.errors import CalibrationFailed

TRUE = Costs(prefill_j=0.02, decode_j=0.15, idle_w=45.0)


def window(prefill: int, decode: int, duration_s: float = 10.0, *, factor: float = 1.0) -> MeasuredWindow:
    """One that `TRUE` predicts, times `factor`."""
    energy_j = factor * (TRUE.of_tokens_j(prefill, decode) + TRUE.idle_w * duration_s)
    return MeasuredWindow(prefill_tokens=prefill, decode_tokens=decode, duration_s=duration_s, energy_j=energy_j)


def windows(*, noise: float = 0.0, seed: int = 1, number: int = 40) -> Sequence[MeasuredWindow]:
    rng = np.random.default_rng(seed)
    return [
        window(int(rng.integers(0, 20_000)), int(rng.integers(0, 3000)), factor=1 + noise * rng.standard_normal())
        for _ in range(number)
    ]


def test_exact_windows_give_the_costs_back() -> None:
    costs = fit(windows())
    assert (costs.prefill_j, costs.decode_j, costs.idle_w) == pytest.approx((0.02, 0.15, 45.0), rel=1e-6)
    assert held_out_error(costs, windows(seed=2)).worst < 1e-6


def test_noisy_windows_give_them_back_within_their_standard_errors() -> None:
    measured = windows(noise=0.05)
    costs, errors = fit(measured), spread(measured)
    for name, true in vars(TRUE).items():
        found, error = getattr(costs, name), getattr(errors, name)
        assert 0 < error < 0.2 * true
        assert abs(found - true) < 4 * error
    assert 0.005 < held_out_error(costs, windows(noise=0.05, seed=2)).median < 0.1


def test_no_cost_is_negative() -> None:
    """Prefill looks as if it gave energy back."""
    measured = [window(0, decode) for decode in (0, 1000, 2000)] + [window(9000, 1000, factor=0.5)]
    assert fit(measured).prefill_j == 0


@pytest.mark.parametrize(
    "measured",
    [
        [],
        [window(0, 0), window(0, 0), window(0, 0)],
        [window(10, 20), window(20, 40), window(30, 60), window(0, 0)],
        [MeasuredWindow(prefill_tokens=n, decode_tokens=n * n, duration_s=9, energy_j=0) for n in range(5)],
    ],
    ids=["none", "all idle", "tokens in step", "a dead meter"],
)
def test_windows_that_tell_nothing_are_refused(measured: Sequence[MeasuredWindow]) -> None:
    with pytest.raises(CalibrationFailed, match="measure for longer"):
        fit(measured)


def test_the_error_is_a_share_of_what_was_measured() -> None:
    error = held_out_error(TRUE, [window(100, 100), window(100, 200, factor=2.0), window(5, 5, factor=0.8)])
    assert error.median == pytest.approx(0.25)
    assert error.worst == pytest.approx(0.5)
    with pytest.raises(CalibrationFailed):
        held_out_error(TRUE, [])
