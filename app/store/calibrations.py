"""What a token costs, per machine and model, as it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from app.domain.calibration import Costs, HeldOutError
from app.store.knowledge import calibrations


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a calibration holds for."""

    machine: str
    """Host name."""
    model: str
    dtype: str
    energy_basis: str


@dataclass(frozen=True, kw_only=True)
class Calibration:
    setup: Setup
    costs: Costs
    spread: Costs
    """Standard errors of `costs`."""
    error: HeldOutError
    windows: int
    """Measured ones, held out or not."""
    measured_at: datetime


def add(connection: Connection, entry: Calibration) -> None:
    row = {
        **vars(entry.setup),
        **vars(entry.costs),
        "prefill_se_j": entry.spread.prefill_j,
        "decode_se_j": entry.spread.decode_j,
        "idle_se_w": entry.spread.idle_w,
        "median_error": entry.error.median,
        "worst_error": entry.error.worst,
        "windows": entry.windows,
        "measured_at": entry.measured_at,
    }
    connection.execute(insert(calibrations).values(row))


def newest(connection: Connection, setup: Setup) -> Calibration | None:
    table = calibrations.c
    query = select(calibrations).where(
        table.machine == setup.machine,
        table.model == setup.model,
        table.dtype == setup.dtype,
        table.energy_basis == setup.energy_basis,
    )
    row = connection.execute(query.order_by(table.measured_at.desc()).limit(1)).first()
    if row is None:
        return None
    return Calibration(
        setup=setup,
        costs=Costs(prefill_j=row.prefill_j, decode_j=row.decode_j, idle_w=row.idle_w),
        spread=Costs(prefill_j=row.prefill_se_j, decode_j=row.decode_se_j, idle_w=row.idle_se_w),
        error=HeldOutError(median=row.median_error, worst=row.worst_error),
        windows=row.windows,
        measured_at=row.measured_at,
    )
