"""Workers on other hosts: what the control plane publishes, and what a worker with two URLs makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app import settings
from app.cli import joining
from app.cli.joining import join
from app.domain.errors import ConfigurationError
from app.embedded.home import Home
from app.services import installation
from app.settings import BUNDLED_MODEL, Settings
from app.store import installation as stored
from app.store import migrate
from app.store.database import Database
from tests.support.clock import NOON
from tests.support.services import Desks, some_settings

LOCAL = {
    *("home", "database_url", "broker_url", "api_host", "api_port", "flower_port", "api_key", "api_url"),
    *("judge_key", "webhook_url", "webhook_secret", "webhook_private"),
    *("engine", "engine_url", "engine_key", "engine_dtype", "engine_max_seqs", "tensor_parallel", "engine_args"),
    *(
        "hardware",
        "kv_cache_gb",
        "zone",
        "meter",
        "idle_w",
        "busy_w",
        "pue",
        "embodied_g",
        "lifetime_s",
        "shards_in_flight",
        "files_url",
    ),
    *("intensity_provider", "electricity_maps_token", "watttime_user", "watttime_password", "intensity_url"),
    *("trace_file", "trace_repeats"),
}
"""Settings of one machine, of the control plane alone, or secret."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str) -> Iterator[dict[str, str]]:
    """Of a worker on another host, which knows the database and no more."""
    given = {"SPROUT_HOME": str(tmp_path), "SPROUT_DATABASE_URL": database_url, "SPROUT_BROKER_URL": "redis://broker"}
    loaded = settings.load

    def load() -> Settings:
        with pytest.MonkeyPatch.context() as own:
            for name in [name for name in settings.os.environ if name.startswith("SPROUT_")]:
                own.delenv(name)
            for name, value in given.items():
                own.setenv(name, value)
            loaded.cache_clear()
            return loaded()

    load.cache_clear = loaded.cache_clear  # type: ignore[attr-defined]
    monkeypatch.setattr(joining, "load", load)
    monkeypatch.setattr(joining, "PATIENCE_S", 0.0)
    yield given
    loaded.cache_clear()


def settings_after(given: dict[str, str]) -> Settings:
    join(given)
    return joining.load()


def publish(database: Database, tmp_path: Path, **changes: Any) -> Settings:
    """What a control plane with these settings says."""
    own = some_settings(tmp_path, **{"model_name": None, **changes})
    with database.transaction() as connection:
        stored.put(connection, installation.shared(own), NOON)
    return own


def test_every_setting_is_of_the_service_or_of_a_machine() -> None:
    assert {*installation.SHARED, *installation.OF_MODEL} == Settings.model_fields.keys() - LOCAL
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secrets <= LOCAL


def test_the_scheduler_worker_publishes(desks: Desks) -> None:
    context = desks.desk(zones=("GB", "FR"), zone="GB", api_key=SecretStr("hidden")).context
    for _ in range(2):
        installation.publish(context)
    with context.database.transaction() as connection:
        found = stored.get(connection)
    assert found is not None
    assert (found["zones"], found["default_model"]) == (["GB", "FR"], "test-model")
    assert "hidden" not in str(found)


def test_two_urls_are_enough(database: Database, environment: dict[str, str], tmp_path: Path) -> None:
    own = publish(
        database,
        tmp_path,
        zones=("GB", "FR"),
        zone="GB",
        directives=("", "Kürzer, bitte"),
        workload_directives={"mail": ("", 'In "einem" Satz')},
        intensity_provider="uk",
        floor_mode="aggregate",
        clock_speed=60.0,
        clock_start=NOON,
        lease_s=7.5,
        model="Qwen/Qwen2.5-7B-Instruct",
        max_context=4096,
    )
    found = settings_after(environment)
    for name in (*installation.SHARED, *installation.OF_MODEL):
        if name not in ("default_model", "intensity_basis"):
            assert getattr(found, name) == getattr(own, name), name
    assert (found.basis, found.zone, found.place) == (own.basis, "GB", "")
    assert found.served_name == found.home_model == own.served_name == "Qwen2.5-7B-Instruct"


def test_a_single_zone_is_the_installation_s(database: Database, environment: dict[str, str], tmp_path: Path) -> None:
    publish(database, tmp_path, zone="GB")
    found = settings_after(environment)
    assert (found.zone, found.all_zones, found.model) == ("GB", ("GB",), BUNDLED_MODEL)


def test_a_worker_chooses_its_zone_and_model(database: Database, environment: dict[str, str], tmp_path: Path) -> None:
    publish(database, tmp_path, zones=("GB", "FR"), zone="GB", model_name="own", placement="user")
    environment |= {"SPROUT_ZONE": "FR", "SPROUT_MODEL": "org/Other"}
    found = settings_after(environment)
    assert (found.place, found.served_name, found.home_model) == ("FR", "Other", "own")
    assert (found.queue_model(found.served_name), found.placement) == ("Other", None)


@pytest.mark.parametrize(("engine", "served"), [("vllm", BUNDLED_MODEL), ("openai", "echo")])
def test_weights_are_not_had_from_a_name_that_a_remote_engine_gave(
    database: Database, environment: dict[str, str], tmp_path: Path, engine: str, served: str
) -> None:
    publish(database, tmp_path, engine="openai", engine_url="http://control:1/v1", model_name="echo")
    environment |= {"SPROUT_ENGINE": engine, "SPROUT_ENGINE_URL": "http://here:1/v1"}
    found = settings_after(environment)
    assert (found.served_name, found.home_model) == (served, "echo")
    assert found.engine_url == "http://here:1/v1"


def test_a_zone_that_is_not_the_installation_s_is_refused(
    database: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    publish(database, tmp_path, zones=("GB", "FR"), zone="GB")
    environment["SPROUT_ZONE"] = "DE"
    with pytest.raises(ConfigurationError, match="Zone DE is not one of the installation's, which are GB, FR: use one"):
        join(environment)


def test_what_differs_is_kept_and_told(
    database: Database, environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(database, tmp_path, zones=("GB", "FR"), zone="GB", shard_size=64)
    environment |= {"SPROUT_ZONES": '["FR","GB"]', "SPROUT_SHARD_SIZE": "64", "SPROUT_TICK_S": ""}
    assert settings_after(environment).all_zones == ("FR", "GB")
    assert capsys.readouterr().err.splitlines() == [
        'sprout: SPROUT_ZONES=["FR","GB"] here, but ["GB", "FR"] in the installation: leave it out, unless you mean to '
        "differ."
    ]


def test_without_a_control_plane_it_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="No scheduler worker has ever run on the database"):
        join(environment)


def test_a_database_that_is_no_installation_s_is_named(
    unmigrated: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["SPROUT_DATABASE_URL"] = unmigrated.raw().url.render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match="has no tables of Sprout: name the installation's, or run"):
        join(environment)
    migrate.upgrade(unmigrated, "0003")
    with pytest.raises(ConfigurationError, match="The database is at revision 0003 and this Sprout needs 0"):
        join(environment)


@pytest.mark.parametrize("variable", ["SPROUT_DATABASE_URL", "SPROUT_BROKER_URL"])
def test_a_worker_without_one_of_the_urls_is_told(environment: dict[str, str], variable: str) -> None:
    del environment[variable]
    with pytest.raises(ConfigurationError, match=f"{variable} is not set, and no `sprout up` runs on"):
        join(environment)


def test_a_worker_beside_a_stack_finds_it(database: Database, environment: dict[str, str], tmp_path: Path) -> None:
    publish(database, tmp_path, zone="GB")
    url = environment.pop("SPROUT_DATABASE_URL")
    del environment["SPROUT_BROKER_URL"]
    with pytest.raises(ConfigurationError, match=rf"no `sprout up` runs on {tmp_path}: name the installation's"):
        settings_after(environment)
    home = Home(tmp_path)
    home.lock()
    home.publish(api_url="http://127.0.0.1:1", database_url=url, broker_url="redis://here")
    found = settings_after(environment)
    assert found.zone == "GB"
    assert found.broker_url is not None
    assert found.broker_url.get_secret_value() == "redis://here"
