from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

from rich.console import Console

from app.cli.directives import show
from app.domain.intensity import HOUR, IntensityPoint
from app.services import directives, grid
from app.store import intensity
from tests.support.api import Api, error_of
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL, line, store_mix, store_verdicts
from tests.support.grid import ScriptedProvider, a_forecast
from tests.support.services import Desk, Desks, jsonl

RUN_KEYS = {
    "id", "zone", "model", "created_at", "outcome", "solver_status", "reason", "intensity", "past_hours", "phi",
    "floor_fraction", "policy", "hardware",
}  # fmt: skip
POLICY_KEYS = {"name", "mode", "xi", "quality_worth", "kept_at_l0", "confidence"}
MIX_KEYS = {
    "id", "workload", "floor", "probabilities", "binding", "share", "base_quality", "evidence", "verdicts", "levels",
    "created_at", "fingerprint",
}  # fmt: skip
OPTION_KEYS = {"energy_j", "device_s", "claimed_gain", "mean_gain", "evidence", "verdicts"}
LEVEL_KEYS = {
    "workload", "level", "answered", "requests", "prompt_tokens", "completion_tokens", "energy_j", "device_s",
    "operational_g", "embodied_g", "drawn", "cached", "pinned_energy_j", "pinned_g", "intensity_basis",
    "first_operational_g",
}  # fmt: skip
L0_KEYS = {
    "workload", "method", "requests", "energy_j", "energy_j_interval", "footprint_g", "footprint_g_interval",
}  # fmt: skip


def test_no_directives_yet(api: Api) -> None:
    assert api.get("/sprout/v1/directives") == {"run": None, "mixes": []}


def test_directives_with_their_run(api: Api, desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        directives.ensure_mixes(desk.context, connection, "default", MODEL, ["b", "a"])
    found = api.get("/sprout/v1/directives")
    assert set(found["run"]) == RUN_KEYS
    assert (found["run"]["outcome"], found["run"]["intensity"], found["run"]["phi"]) == ("l0", None, None)
    assert set(found["run"]["policy"]) == POLICY_KEYS
    assert [mix["workload"] for mix in found["mixes"]] == ["a", "b"]
    assert all(set(mix) == MIX_KEYS for mix in found["mixes"])
    assert found["mixes"][0]["probabilities"] == [1.0, 0.0, 0.0]
    assert set(found["mixes"][0]["levels"]) == {"L0"}
    assert set(found["mixes"][0]["levels"]["L0"]) == OPTION_KEYS


def test_a_mix_says_what_its_own_run_knew(api: Api, desk: Desk) -> None:
    """The latest run may have kept it, and may know more."""
    with desk.context.database.transaction() as connection:
        point = IntensityPoint(
            zone="WORLD", start=NOON, intensity_g_per_kwh=300.0, basis="lifecycle-average", provider="test"
        )
        intensity.put(connection, [point], NOON)
        directives.ensure_mixes(desk.context, connection, "default", MODEL, ["mail~1"])
        desk.clock.advance(hours=5)
        store_verdicts(connection, wins=1, workload="mail~1", created_at=desk.clock.now())
        directives.ensure_mixes(desk.context, connection, "default", MODEL, ["news"])
    found = api.get("/sprout/v1/directives")
    assert found["run"]["outcome"] == "last_good"
    assert found["run"]["intensity"] == {
        "zone": "WORLD", "start": NOON.isoformat(), "intensity_g_per_kwh": 300.0, "basis": "lifecycle-average",
        "provider": "test", "origin": "last good", "age_h": 5,
    }  # fmt: skip
    kept, new = found["mixes"]
    assert (kept["workload"], kept["floor"], kept["share"], kept["verdicts"]) == ("mail~1", "mail", 1.0, 0)
    assert (new["workload"], new["floor"], new["share"]) == ("news", "news", 0.5)


def test_the_command_line_shows_what_the_api_says(api: Api, desk: Desk, desks: Desks) -> None:
    with desk.context.database.transaction() as connection:
        point = IntensityPoint(
            zone="WORLD", start=NOON, intensity_g_per_kwh=300.0, basis="lifecycle-average", provider="test"
        )
        store_mix(connection, workload="old", created_at=NOON - timedelta(hours=1))
        intensity.put(connection, [point, replace(point, start=NOON - HOUR, intensity_g_per_kwh=100.0)], NOON)
        context = desks.desk(prior="paper").context
        directives.ensure_mixes(context, connection, "default", MODEL, ["mail~1", "mail~2", "news"])
    console = Console(file=io.StringIO(), width=200)
    show(console, api.get("/sprout/v1/directives"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("quality floor") == 4
    assert "prior, not measured" in text
    assert "every workload keeps 90.0% of its own L0 quality." in text
    assert "Carbon intensity of WORLD: 300 gCO2eq/kWh" in text


def test_a_mix_without_stored_reasons(api: Api, desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        store_mix(connection, workload="mail~1")
    (mix,) = api.get("/sprout/v1/directives")["mixes"]
    assert set(mix) == MIX_KEYS
    assert (mix["floor"], mix["share"], mix["levels"]) == ("mail", None, {})


def test_a_report(api: Api, desk: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(jsonl([line("a"), line("b", text="[refuse]")]))
    desk.work(desk.worker(engine))
    found = api.get(f"/sprout/v1/batches/{batch.id}/report")
    assert set(found) == {
        "levels", "l0", "l0_refused", "machines", "mixes", "energy_bases", "intensity_bases", "intensity_origins",
        "hindsight",
    }  # fmt: skip
    assert [set(level) for level in found["levels"]] == [LEVEL_KEYS] * 2
    assert [set(estimate) for estimate in found["l0"]] == [L0_KEYS]
    assert set(found["machines"]) == {"energy_j", "idle_energy_j", "idle_device_s"}
    assert set(found["mixes"]["default"]) == {"probabilities", "evidence", "mixes"}


def test_an_unknown_batch(api: Api) -> None:
    assert "batch_none" in error_of(api("GET", "/sprout/v1/batches/batch_none/report"), 404)["message"]


def test_carbon_intensity_of_every_zone(desks: Desks) -> None:
    desk = desks.desk(zone="DE", zones=("DE", "FR"))
    provider = ScriptedProvider(forecasts={"DE": a_forecast([250.0] * 12, zone="DE")})
    provider.estimated.add(NOON)
    grid.refresh(desk.context, provider)
    de, fr = Api(desk.context).get("/sprout/v1/intensity")["zones"]
    assert (de["zone"], fr["zone"], de["basis"]) == ("DE", "FR", "lifecycle-average")
    assert de["present"] == {
        "intensity_g_per_kwh": 300.0, "origin": "estimated", "provider": "scripted", "start": "2026-03-02T12:00:00Z",
    }  # fmt: skip
    assert len(de["past"]) == 24
    assert de["past"][-1] == {
        "start": "2026-03-02T11:00:00Z", "intensity_g_per_kwh": 300.0, "origin": "measured", "provider": "scripted",
    }  # fmt: skip
    assert [hour["provider"] for hour in de["forecast"][9:13]] == ["test", "test", "built-in", "built-in"]
    assert de["forecast"][0] == {
        "start": "2026-03-02T13:00:00Z", "intensity_g_per_kwh": 250.0, "provider": "test", "error_90": None,
        "issued_at": "2026-03-02T12:00:00Z",
    }  # fmt: skip
    assert {hour["provider"] for hour in fr["forecast"]} == {"built-in"}
    assert len(de["forecast"]) == 167
    assert {score["provider"] for score in de["scores"]} == {"built-in, tested on the past"}
    desk.clock.advance(hours=1)
    grid.refresh(desk.context, provider)
    scores = Api(desk.context).get("/sprout/v1/intensity")["zones"][0]["scores"]
    score = next(score for score in scores if score["provider"] == "built-in")
    assert (score["provider"], score["lead_h"], score["forecasts"], score["mape"]) == ("built-in", 1, 1, 0.0)


def test_carbon_intensity_without_any_source(api: Api) -> None:
    (zone,) = api.get("/sprout/v1/intensity")["zones"]
    assert (zone["present"]["origin"], zone["present"]["intensity_g_per_kwh"]) == ("static", 480.0)
    assert (zone["past"], zone["forecast"], zone["scores"]) == ([], [], [])
