from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.attribution import Use
from app.domain.errors import ConfigurationError, InvalidInput
from app.domain.footprint import Hardware
from app.simulation.dataset import load
from app.simulation.deferral import (
    WINDOW_H,
    Deferral,
    Even,
    Load,
    Stretch,
    defer,
    mean_use,
    row,
    run,
    savings,
    stretch_of,
)
from app.simulation.foresight import COLUMNS, Forecasts, foresight
from app.simulation.rolling import Rolling
from tests.support.recorded import HOURS_OF_YEAR, grams, published_dataset

SMALL = Load(requests_per_hour=100, shards=5)
USE = Use(energy_j=9000.0, device_s=36.0)
PERFECT, NAIVE, BUILT_IN = Forecasts.PERFECT, Forecasts.SEASONAL_NAIVE, Forecasts.BUILT_IN


def stretch(hours: int = 24, before: int = 48, after: int = WINDOW_H) -> Stretch:
    time = np.arange(before + hours + after)
    intensity = 200 + 100 * np.cos(time * np.pi / 12) + np.random.default_rng(0).uniform(0, 20, len(time))
    return Stretch(zone="Z", month="M", intensity=intensity, start=before, hours=hours)


def test_the_load_is_a_batch_an_hour_in_equal_shards() -> None:
    batches = SMALL.batches(3)
    assert [batch.at_h for batch in batches] == [0, 1, 2]
    assert [batch.requests.tolist() for batch in batches] == [[20] * 5] * 3
    assert replace(SMALL, requests_per_hour=3).batches(1)[0].requests.sum() == 3
    assert replace(SMALL, requests_per_hour=3).batches(1)[0].requests.min() > 0


def test_the_machines_can_do_a_multiple_of_what_arrives() -> None:
    assert SMALL.site(36.0).devices == pytest.approx(2.0)
    assert replace(SMALL, capacity=3.0).site(36.0).devices == pytest.approx(3.0)


def test_what_moved_is_priced_in_the_hours_in_which_it_ran() -> None:
    own = stretch()
    rolling = defer(own, foresight(PERFECT, own.intensity), USE, SMALL)
    found = row(own, PERFECT, rolling, USE, SMALL)
    spent = sum(number * grams(9000, 36, own.now[hour]) for hour, number in enumerate(rolling.ran.sum(axis=0)))
    base = sum(100 * grams(9000, 36, own.now[hour]) for hour in range(24))
    assert found["base_g"] == pytest.approx(base)
    assert found["saved_g"] == pytest.approx(base - spent)
    assert found["saving"] == pytest.approx(1 - spent / base)
    assert found["saving"] > 0.2
    assert (found["batches"], found["missed"], found["told"], found["missed_promised"]) == (24, 0, 0, 0)


def test_idle_machines_take_their_part_of_the_saving() -> None:
    own = stretch()
    idle = replace(SMALL, idle_w=50.0)
    rolling = defer(own, foresight(PERFECT, own.intensity), USE, idle)
    found = row(own, PERFECT, rolling, USE, idle)
    # Energy above idleness moves: 250 W at work, and 50 W while other work runs in its place.
    assert found["total_saved_g"] == pytest.approx(found["saved_g"] * (250 - 50) / 250)
    assert found["total_base_g"] > found["base_g"]


def test_of_total_savings_embodied_carbon_is_no_part() -> None:
    own = stretch()
    rolling = defer(own, foresight(PERFECT, own.intensity), USE, SMALL)
    loads = [replace(SMALL, hardware=Hardware(embodied_g=embodied_g)) for embodied_g in (0.0, 1e6)]
    none, much = (row(own, PERFECT, rolling, USE, each) for each in loads)
    assert none["total_saved_g"] == pytest.approx(much["total_saved_g"])
    assert none["total_saving"] > much["total_saving"]


@pytest.mark.parametrize("kind", [BUILT_IN, NAIVE])
def test_later_hours_are_not_looked_at(kind: Forecasts) -> None:
    own, now = stretch(hours=30, before=200), 12
    as_it_was, blind = (state_of(own, kind), state_of(blinded(own, own.start + now), kind))
    for state in (as_it_was, blind):
        state.run(range(now + 1), 2.0, 2.0)
    assert as_it_was.ran.sum() > 0
    assert as_it_was.ran.tolist() == blind.ran.tolist()


def state_of(own: Stretch, kind: Forecasts) -> Rolling:
    outlook = Even(use=USE, site=SMALL.site(36.0), stretch=own, foresight=foresight(kind, own.intensity))
    batches = SMALL.batches(own.hours)
    return Rolling(batches=batches, used_s=np.full((len(batches), len(own.now)), 36.0), outlook=outlook)


def blinded(own: Stretch, hour: int) -> Stretch:
    return replace(own, intensity=np.where(np.arange(len(own.intensity)) > hour, np.nan, own.intensity))


def test_a_constant_intensity_saves_nothing() -> None:
    own = replace(stretch(), intensity=np.full(96, 200.0))
    found = row(own, PERFECT, defer(own, foresight(PERFECT, own.intensity), USE, SMALL), USE, SMALL)
    assert found["saving"] == pytest.approx(0)


def test_savings_of_both_kinds() -> None:
    assert savings((100.0, 75.0), (200.0, 150.0)) == {
        "base_g": 100, "saved_g": 25, "saving": 0.25, "total_base_g": 200, "total_saved_g": 50, "total_saving": 0.25,
    }  # fmt: skip


# Over a dataset.


def test_rows_by_zone_month_and_forecast(recorded: Path) -> None:
    rows = run(Deferral(dataset=recorded, load=SMALL, month="2023-02"))
    assert [(found["zone"], found["forecast"]) for found in rows] == [
        (zone, kind) for zone in ("NORTH", "SOUTH") for kind in ("built-in", "seasonal-naive", "perfect")
    ]
    assert json.loads(json.dumps(rows)) == rows
    for built_in, naive, perfect in (rows[:3], rows[3:]):
        assert min(built_in["saving"], naive["saving"]) > 0.9 * perfect["saving"] > 0.1
        assert {found["missed"] for found in (built_in, naive, perfect)} == {0}


def test_chosen_forecasts(recorded: Path) -> None:
    rows = run(Deferral(dataset=recorded, load=SMALL, forecasts=(PERFECT,), zone="SOUTH"))
    assert [(found["month"], found["forecast"]) for found in rows] == [("2023-02", "perfect")]


def test_the_mean_request_follows_the_traffic(recorded: Path) -> None:
    dataset = load(recorded)
    found = mean_use(dataset)
    assert found.energy_j == pytest.approx(float(dataset.traffic.mean(axis=0) @ dataset.means.energy_j[:, 0]))
    assert found.device_s == pytest.approx(float(dataset.traffic.mean(axis=0) @ dataset.means.device_s[:, 0]))


def test_work_stops_arriving_before_the_record_ends(recorded: Path) -> None:
    dataset = load(recorded)
    found = stretch_of(dataset, "NORTH", "late", HOURS_OF_YEAR - 30, 30)
    assert (found.hours, len(found.now)) == (6, 30)
    with pytest.raises(InvalidInput, match="too little is recorded"):
        stretch_of(dataset, "NORTH", "late", HOURS_OF_YEAR - 24, 24)


def recorded_forecasts(path: Path, days: int) -> Path:
    actual = 200 + 100 * np.cos(np.arange(24 * (days + 3)) * np.pi / 12)
    rows = [f"{value},{value}" for day in range(days) for value in actual[24 * day :][:96]]
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return path


def test_recorded_forecasts_stand_beside_the_others(recorded: Path, tmp_path: Path) -> None:
    path = recorded_forecasts(tmp_path / "ERCO_carbon.csv", days=9)
    rows = run(Deferral(dataset=recorded, recorded=path, load=SMALL))
    assert [(found["zone"], found["month"]) for found in rows] == [("ERCO", "")] * 4
    assert [found["forecast"] for found in rows] == ["built-in", "seasonal-naive", "perfect", "recorded"]
    assert rows[3] == rows[2] | {"forecast": "recorded"}
    assert rows[0]["batches"] == 48


def test_too_few_days_of_recorded_forecasts(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no more than 7 days"):
        run(Deferral(dataset=recorded, recorded=recorded_forecasts(tmp_path / "x.csv", days=7), load=SMALL))


def test_nothing_recorded_to_go_by(recorded: Path) -> None:
    with pytest.raises(InvalidInput, match="name a file"):
        run(Deferral(dataset=recorded, forecasts=(Forecasts.RECORDED,)))


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        run(Deferral(dataset=tmp_path / "nowhere"))


def test_recorded_intensities_are_forecast_well_enough() -> None:
    dataset = published_dataset()
    rows = run(Deferral(dataset=dataset, load=Load(shards=10), zone="US-TEX-ERCO", month="2023-10"))
    saved = {found["forecast"]: found["saving"] for found in rows}
    assert saved["built-in"] > 1.3 * saved["seasonal-naive"]
    assert saved["built-in"] > 0.75 * saved["perfect"]
    assert sum(found["missed"] + found["told"] for found in rows) == 0


def test_foreign_forecasts_are_replayed() -> None:
    folder = published_dataset()
    (path,) = (folder.parent / "forecasts").glob("ERCO_*")
    (found,) = run(Deferral(dataset=folder, recorded=path, forecasts=(Forecasts.RECORDED,), load=Load(shards=4)))
    assert 0.05 < found["saving"] < 0.1
    assert found["missed"] == 0
