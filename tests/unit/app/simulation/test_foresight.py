from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from app.domain.arrays import Floats
from app.domain.errors import InvalidInput
from app.domain.forecast import forecast, seasonal_naive
from app.simulation.foresight import BLOCK_H, COLUMNS, DAY_H, Forecasts, foresight, padded, read_forecasts

SERIES = np.random.default_rng(0).uniform(100, 300, 300)


def write(path: Path, blocks: Floats) -> Path:
    """Blocks x 96 x 2: measured and forecast."""
    lines = [f",UTC time,{','.join(COLUMNS)}"]
    lines += [f"{row},some time,{actual},{expected}" for row, (actual, expected) in enumerate(blocks.reshape(-1, 2))]
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def recorded_blocks(days: int = 3) -> Floats:
    actual = SERIES[: DAY_H * days + BLOCK_H]
    measured = np.stack([actual[DAY_H * day :][:BLOCK_H] for day in range(days)])
    return np.stack([measured, 1000.0 * np.arange(days)[:, None] + np.arange(BLOCK_H)], axis=2)


@pytest.mark.parametrize("kind", [Forecasts.BUILT_IN, Forecasts.SEASONAL_NAIVE])
def test_a_forecast_sees_the_past_up_to_the_present_hour(kind: Forecasts) -> None:
    now = 200
    later_unknown = np.where(np.arange(len(SERIES)) > now, np.nan, SERIES)
    own = {Forecasts.BUILT_IN: forecast, Forecasts.SEASONAL_NAIVE: seasonal_naive}[kind]
    assert foresight(kind, later_unknown)(now, 23).tolist() == own(SERIES[: now + 1], 23).tolist()


def test_the_perfect_forecast_is_what_was_measured_later() -> None:
    see = foresight(Forecasts.PERFECT, SERIES)
    assert see(10, 5).tolist() == SERIES[11:16].tolist()
    assert see(297, 4).tolist() == [*SERIES[298:], SERIES[-1], SERIES[-1]]


def test_a_series_goes_on_with_its_last_hour() -> None:
    assert padded(np.array([1.0, 2.0]), 1, 3).tolist() == [2, 2, 2]
    assert padded(np.array([1.0, 2.0]), 5, 2).tolist() == [2, 2]


@pytest.mark.parametrize("name", ["ERCO_carbon_from_there.csv.gz", "ERCO.csv"])
def test_recorded_forecasts(tmp_path: Path, name: str) -> None:
    found = read_forecasts(write(tmp_path / name, recorded_blocks()))
    assert found.name == "ERCO"
    assert found.actual.tolist() == SERIES[: 2 * DAY_H + BLOCK_H].tolist()
    assert found.blocks.shape == (3, BLOCK_H)


def test_the_newest_block_is_gone_by(tmp_path: Path) -> None:
    found = read_forecasts(write(tmp_path / "recorded.csv", recorded_blocks()))
    see = foresight(Forecasts.RECORDED, found.actual, found)
    assert see(0, 3).tolist() == [1, 2, 3]
    assert see(DAY_H - 1, 2).tolist() == [24, 25]
    assert see(DAY_H, 2).tolist() == [1001, 1002]
    assert see(3 * DAY_H, 2).tolist() == [2025, 2026]
    assert see(2 * DAY_H + BLOCK_H - 2, 3).tolist() == [2095] * 3


def test_nothing_recorded() -> None:
    with pytest.raises(InvalidInput, match="name a file"):
        foresight(Forecasts.RECORDED, SERIES)


def overlapping_otherwise() -> Floats:
    blocks = recorded_blocks()
    blocks[1, 0, 0] += 1
    return blocks


@pytest.mark.parametrize(
    "blocks",
    [
        recorded_blocks()[:, :50],
        np.where(recorded_blocks() == 1003, np.nan, recorded_blocks()),
        overlapping_otherwise(),
    ],
    ids=["too short", "not finite", "hours that disagree"],
)
def test_what_are_no_forecasts_of_days(tmp_path: Path, blocks: Floats) -> None:
    with pytest.raises(InvalidInput, match=r"recorded\.csv"):
        read_forecasts(write(tmp_path / "recorded.csv", blocks))


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", f"{','.join(COLUMNS)}\n", f"{','.join(COLUMNS)}\n1,x\n"])
def test_what_is_no_file_of_forecasts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recorded.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"recorded\.csv"):
        read_forecasts(path)
