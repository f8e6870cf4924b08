"""What a token costs on one machine, fitted to windows that its meter measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from app.domain.arrays import Floats
from app.domain.errors import CalibrationFailed


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Joules of a token above what the machine draws in any case, and that draw. Nothing is negative."""

    prefill_j: float
    decode_j: float
    idle_w: float

    def of_tokens_j(self, prefill_tokens: float, decode_tokens: float) -> float:
        return self.prefill_j * prefill_tokens + self.decode_j * decode_tokens


@dataclass(frozen=True, kw_only=True)
class MeasuredWindow:
    """A stretch of time, what the engine did in it and what the meter counted."""

    prefill_tokens: int
    decode_tokens: int
    duration_s: float
    energy_j: float

    def predicted_j(self, costs: Costs) -> float:
        return costs.of_tokens_j(self.prefill_tokens, self.decode_tokens) + costs.idle_w * self.duration_s


@dataclass(frozen=True, kw_only=True)
class HeldOutError:
    """How far predictions are from what the meter counted in windows that took no part in the fit, as shares of it."""

    median: float
    worst: float


def spread(windows: Sequence[MeasuredWindow]) -> Costs:
    """Standard errors of the costs that `fit` finds, by the jackknife: how much each window on its own matters.

    Raises:
        CalibrationFailed: without one of the windows the costs cannot be told apart.
    """
    fits = [fit([*windows[:left_out], *windows[left_out + 1 :]]) for left_out in range(len(windows))]
    figures = np.array([(costs.prefill_j, costs.decode_j, costs.idle_w) for costs in fits])
    errors = np.sqrt((len(fits) - 1) * figures.var(axis=0))
    return Costs(prefill_j=float(errors[0]), decode_j=float(errors[1]), idle_w=float(errors[2]))


def fit(windows: Sequence[MeasuredWindow]) -> Costs:
    """Non-negative least squares of energy = prefill x tokens + decode x tokens + idle x seconds.

    Each window counts by its relative error: that is what is promised, and else the longest windows would decide.

    Raises:
        CalibrationFailed: the windows cannot tell the three costs apart.
    """
    measured = [window for window in windows if window.energy_j > 0]
    rows = np.array([(window.prefill_tokens, window.decode_tokens, window.duration_s) for window in measured], float)
    if len(measured) < 3 or np.linalg.matrix_rank(rows) < 3:
        raise CalibrationFailed
    energy_j = np.array([window.energy_j for window in measured])
    found = _nnls(rows / energy_j[:, None])
    return Costs(prefill_j=float(found[0]), decode_j=float(found[1]), idle_w=float(found[2]))


def _nnls(rows: Floats) -> Floats:
    """x >= 0 that brings `rows` x closest to 1; columns are scaled, since tokens and seconds differ by magnitudes."""
    scale = np.linalg.norm(rows, axis=0)
    found, _ = nnls(rows / scale, np.ones(len(rows)))
    return np.asarray(found / scale)


def held_out_error(costs: Costs, windows: Sequence[MeasuredWindow]) -> HeldOutError:
    """Of windows that took no part in the fit.

    Raises:
        CalibrationFailed: none of them measured anything.
    """
    measured = [window for window in windows if window.energy_j > 0]
    if not measured:
        raise CalibrationFailed
    errors = [abs(window.predicted_j(costs) - window.energy_j) / window.energy_j for window in measured]
    return HeldOutError(median=float(np.median(errors)), worst=max(errors))
