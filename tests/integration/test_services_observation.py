from __future__ import annotations

import pytest

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR, Basis, Origin
from app.services import explanation, observation
from app.services.directives import ours
from app.services.observation import Situation
from app.store import forecasts, intensity
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.factories import MODEL
from tests.support.grid import a_forecast, a_point
from tests.support.services import Desk

LEVELS = 3


def look(desk: Desk, zone: str = "WORLD") -> Situation:
    with desk.context.database.transaction() as connection:
        return observation.look(connection, desk.context.settings, MODEL, TENANT, ["mail"], desk.clock.now(), zone)


def known(desk: Desk, *hours: int, zone: str = "WORLD", ahead: bool = False) -> None:
    with desk.context.database.transaction() as connection:
        intensity.put(connection, [a_point(hour, 100.0, zone=zone) for hour in hours], NOON)
        if ahead:
            forecasts.put(connection, a_forecast([50.0] * 9, issued=-2, zone=zone))


def explained(desk: Desk) -> dict[str, object]:
    seen = explanation.inputs(ours(desk.context.settings), look(desk), desk.context.hardware)["intensity"]
    return {name: seen[name] for name in ("intensity_g_per_kwh", "origin", "provider", "start", "age_h")}


@pytest.mark.parametrize("ahead", [True, False])
def test_the_last_good_figure_serves_for_three_hours(desk: Desk, ahead: bool) -> None:
    known(desk, -3, -2, 1, ahead=ahead)
    desk.clock.advance(minutes=59)
    assert look(desk).observation(LEVELS, desk.context.hardware).intensity_g_per_kwh == 100.0
    assert explained(desk) == {
        "intensity_g_per_kwh": 100.0, "origin": Origin.LAST_GOOD, "provider": "test", "age_h": 2,
        "start": (NOON - 2 * HOUR).isoformat(),
    }  # fmt: skip


def test_then_a_forecast_of_the_hour_serves_and_says_so(desk: Desk) -> None:
    known(desk, -4, ahead=True)
    seen = look(desk).observation(LEVELS, desk.context.hardware)
    assert (seen.intensity_g_per_kwh, list(seen.past)) == (50.0, [100.0])
    assert explained(desk) == {
        "intensity_g_per_kwh": 50.0, "origin": Origin.FORECAST, "provider": "test", "age_h": 0,
        "start": NOON.isoformat(),
    }  # fmt: skip


def test_without_a_forecast_a_stale_figure_is_refused_and_shown(desk: Desk) -> None:
    known(desk, -4)
    with pytest.raises(IntensityUnavailable, match="No recent carbon intensity of zone WORLD is known"):
        look(desk).observation(LEVELS, desk.context.hardware)
    assert explained(desk) == {
        "intensity_g_per_kwh": 100.0, "origin": Origin.LAST_GOOD, "provider": "test", "age_h": 4,
        "start": (NOON - 4 * HOUR).isoformat(),
    }  # fmt: skip


def test_every_zone_and_basis_on_its_own(desk: Desk) -> None:
    known(desk, -1, 0, zone="DE")
    with desk.context.database.transaction() as connection:
        intensity.put(connection, [a_point(0, 9.0, basis=Basis.DIRECT_AVERAGE)], NOON)
    here, there = look(desk), look(desk, "DE")
    assert (here.figure, here.past) == (None, [])
    assert there.figure is not None
    assert (there.zone, there.figure.zone, there.figure.origin, len(there.past)) == ("DE", "DE", Origin.MEASURED, 2)
