from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from app import settings
from app.domain.directive import PAPER_DIRECTIVES, Placement
from app.domain.errors import ConfigurationError
from app.settings import BUNDLED_MODEL, Settings, default_home

Load = Callable[..., Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Loads the settings from the given variables and no others."""
    for name in os.environ:
        if name.startswith("SPROUT_"):
            monkeypatch.delenv(name)

    def load(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.load.cache_clear()
        return settings.load()

    yield load
    settings.load.cache_clear()


def test_nothing_needs_to_be_set(load: Load) -> None:
    found = load()
    assert (found.engine, found.model, found.served_name) == ("vllm", BUNDLED_MODEL, BUNDLED_MODEL)
    assert found.directives == PAPER_DIRECTIVES
    assert found.levels == 3
    assert found.xi == 0.1
    assert found.kept_at_l0 == 0.01
    assert (found.floor_mode, found.confidence, found.quality_worth) == ("per-workload", 0.6, 0.25)
    assert found.verdict_half_life_s == 30 * 24 * 3600
    assert found.prior == "none"
    assert found.api_host == "127.0.0.1"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_field_says_what_it_is(name: str) -> None:
    assert len(Settings.model_fields[name].description or "") > 10


def test_every_kind_of_value_can_be_set(load: Load) -> None:
    found = load(
        SPROUT_HOME="/srv/sprout",
        SPROUT_API_PORT="0",
        SPROUT_XI="0.25",
        SPROUT_TRACE_REPEATS="true",
        SPROUT_DIRECTIVES='["", "Kurz.", "Sehr kurz."]',
        SPROUT_WORKLOAD_DIRECTIVES='{"news": ["", "One line.", "One word."]}',
        SPROUT_PLACEMENT="user",
        SPROUT_ENGINE_ARGS='{"max_model_len": 4096, "quantization": null}',
    )
    assert found.home == Path("/srv/sprout")
    assert (found.api_port, found.xi, found.trace_repeats) == (0, 0.25, True)
    assert found.directives == ("", "Kurz.", "Sehr kurz.")
    assert found.workload_directives == {"news": ("", "One line.", "One word.")}
    assert found.placement is Placement.USER
    assert found.engine_args == {"max_model_len": 4096, "quantization": None}


def test_settings_are_frozen_and_loaded_once(load: Load) -> None:
    found = load()
    with pytest.raises(ValidationError, match="frozen"):
        found.xi = 0.5  # type: ignore[misc]
    assert settings.load() is found


def test_other_variables_are_left_alone(load: Load) -> None:
    assert load(SPROUT_TEST_MODELS="/tmp/models", XI="7").xi == 0.1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SPROUT_API_PORT", "http"),
        ("SPROUT_API_PORT", "70000"),
        ("SPROUT_API_PORT", "-1"),
        ("SPROUT_MAX_FILE_BYTES", "0"),
        ("SPROUT_FILES_URL", "bucket/prefix"),
        ("SPROUT_MAX_LINE_BYTES", "1e6"),
        ("SPROUT_ENGINE", "llama"),
        ("SPROUT_ENGINE_MAX_SEQS", "0"),
        ("SPROUT_KV_CACHE_GB", "0.5"),
        ("SPROUT_MAX_CONTEXT", "0"),
        ("SPROUT_REQUEST_TIMEOUT_S", "0"),
        ("SPROUT_PLACEMENT", "above"),
        ("SPROUT_XI", "1.1"),
        ("SPROUT_XI", "-0.1"),
        ("SPROUT_XI", "nan"),
        ("SPROUT_FLOOR_MODE", "per-request"),
        ("SPROUT_CONFIDENCE", "0.49"),
        ("SPROUT_CONFIDENCE", "1"),
        ("SPROUT_QUALITY_WORTH", "-0.1"),
        ("SPROUT_VERDICT_HALF_LIFE_S", "0"),
        ("SPROUT_KEPT_AT_L0", "1%"),
        ("SPROUT_PRIOR", "mine"),
        ("SPROUT_PERIOD_S", "0"),
        ("SPROUT_INTENSITY_PROVIDER", "oracle"),
        ("SPROUT_STATIC_INTENSITY", "-1"),
        ("SPROUT_TRACE_REPEATS", "maybe"),
        ("SPROUT_METER", "wallplug"),
        ("SPROUT_HARDWARE", "abacus"),
        ("SPROUT_IDLE_W", "-1"),
        ("SPROUT_PUE", "0.9"),
        ("SPROUT_EMBODIED_G", "-1"),
        ("SPROUT_LIFETIME_S", "0"),
        ("SPROUT_SHARD_SIZE", "0"),
        ("SPROUT_SHARDS_IN_FLIGHT", "0"),
        ("SPROUT_LEASE_S", "0"),
        ("SPROUT_TICK_S", "-5"),
        ("SPROUT_RESEND_S", "soon"),
        ("SPROUT_ENGINE_ARGS", "[1]"),
        ("SPROUT_DIRECTIVES", '["", 3]'),
    ],
)
def test_a_wrong_value_is_refused_with_the_variables_name(load: Load, variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^The settings cannot be used: {variable}(_1)?: [^;]+\.$"):
        load(**{variable: value})


@pytest.mark.parametrize("variable", ["SPROUT_DIRECTIVES", "SPROUT_WORKLOAD_DIRECTIVES", "SPROUT_ENGINE_ARGS"])
def test_a_value_that_is_no_json_is_refused_with_the_variables_name(load: Load, variable: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        load(**{variable: "Answer briefly."})


def test_every_wrong_value_is_named_at_once(load: Load) -> None:
    with pytest.raises(ConfigurationError, match=r"SPROUT_XI: .*; SPROUT_PUE: .*"):
        load(SPROUT_XI="7", SPROUT_PUE="0")


@pytest.mark.parametrize(
    ("variables", "remedy"),
    [
        ({"SPROUT_ENGINE": "openai"}, "SPROUT_ENGINE=openai needs SPROUT_ENGINE_URL, such as http://host:8000/v1"),
        ({"SPROUT_INTENSITY_PROVIDER": "trace"}, "SPROUT_INTENSITY_PROVIDER=trace needs SPROUT_TRACE_FILE"),
        ({"SPROUT_IDLE_W": "40", "SPROUT_BUSY_W": "30"}, "SPROUT_BUSY_W must not be below SPROUT_IDLE_W"),
        (
            {"SPROUT_DIRECTIVES": '["Be brief", "Be very brief"]'},
            "the first directive is L0 and must be the empty text",
        ),
        ({"SPROUT_DIRECTIVES": "[]"}, "the first directive is L0 and must be the empty text"),
        ({"SPROUT_WORKLOAD_DIRECTIVES": '{"news": ["x", "", ""]}'}, "the first directive is L0"),
        ({"SPROUT_WORKLOAD_DIRECTIVES": '{"news": ["", "x"]}'}, "as many directive texts as SPROUT_DIRECTIVES has"),
        (
            {"SPROUT_JUDGE": "openai", "SPROUT_JUDGE_MODEL": "m", "SPROUT_JUDGE_URL": "127.0.0.1:9/v1"},
            "SPROUT_JUDGE_URL is an address that starts with http:// or https://",
        ),
        ({"SPROUT_WEBHOOK_URL": "nonsense"}, "SPROUT_WEBHOOK_URL is an address that starts with http"),
        ({"SPROUT_WEBHOOK_URL": "https://host/"}, "SPROUT_WEBHOOK_URL needs SPROUT_WEBHOOK_SECRET"),
        ({"SPROUT_WEBHOOK_URL": "https://host/", "SPROUT_WEBHOOK_SECRET": "whsec_c2hvcnQ="}, "24 to 64 random bytes"),
    ],
)
def test_settings_that_contradict_each_other(load: Load, variables: dict[str, str], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        load(**variables)


@pytest.mark.parametrize(
    ("variables", "zones", "places", "place"),
    [
        ({}, ("WORLD",), ("",), ""),
        ({"SPROUT_ZONE": "DE"}, ("DE",), ("",), ""),
        ({"SPROUT_ZONE": "DE", "SPROUT_ZONES": '["DE", "GB"]'}, ("DE", "GB"), ("", "GB"), ""),
        ({"SPROUT_ZONE": "GB", "SPROUT_ZONES": '["DE", "GB", "FR"]'}, ("DE", "GB", "FR"), ("", "GB", "FR"), "GB"),
    ],
)
def test_zones_and_how_shards_and_queues_name_them(
    load: Load, variables: dict[str, str], zones: tuple[str, ...], places: tuple[str, ...], place: str
) -> None:
    found = load(**variables)
    assert (found.all_zones, found.places, found.place) == (zones, places, place)
    assert tuple(map(found.place_of, zones)) == places


@pytest.mark.parametrize(
    ("variables", "remedy"),
    [
        ({"SPROUT_ZONE": "FR", "SPROUT_ZONES": '["DE", "GB"]'}, "SPROUT_ZONE=FR is not among SPROUT_ZONES: DE, GB"),
        ({"SPROUT_ZONE": "DE", "SPROUT_ZONES": '["DE", "DE"]'}, "SPROUT_ZONES names each zone once"),
        ({"SPROUT_ZONE": "DE", "SPROUT_ZONES": '["DE", ""]'}, "'' is no name of a zone"),
        ({"SPROUT_ZONE": "DE", "SPROUT_ZONES": '["DE", "US,CA"]'}, "'US,CA' is no name of a zone"),
        ({"SPROUT_ZONE": "any"}, "'any' is no name of a zone"),
        ({"SPROUT_TRANSFER_KWH_PER_GB": "-1"}, "SPROUT_TRANSFER_KWH_PER_GB"),
        ({"SPROUT_CLOCK_SPEED": "0", "SPROUT_CLOCK_START": "2026-03-02T12:00:00Z"}, "SPROUT_CLOCK_SPEED: "),
        ({"SPROUT_CLOCK_SPEED": "600"}, "SPROUT_CLOCK_SPEED and SPROUT_CLOCK_START go together"),
        ({"SPROUT_CLOCK_START": "2026-03-02T12:00:00Z"}, "SPROUT_CLOCK_SPEED and SPROUT_CLOCK_START go together"),
        (
            {"SPROUT_CLOCK_SPEED": "600", "SPROUT_CLOCK_START": "2026-03-02T12:00:00"},
            "SPROUT_CLOCK_START is a moment in UTC, such as 2026-03-02T12:00:00Z",
        ),
        (
            {"SPROUT_CLOCK_SPEED": "600", "SPROUT_CLOCK_START": "2026-03-02T12:00:00+01:00"},
            "SPROUT_CLOCK_START is a moment in UTC, such as 2026-03-02T12:00:00Z",
        ),
    ],
)
def test_zones_and_clocks_that_cannot_be(load: Load, variables: dict[str, str], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        load(**variables)


def test_a_rehearsal_has_a_speed_and_a_start(load: Load) -> None:
    found = load(SPROUT_CLOCK_SPEED="600", SPROUT_CLOCK_START="2026-03-02T12:00:00Z")
    assert (found.clock_speed, found.clock_start) == (600.0, datetime(2026, 3, 2, 12, tzinfo=UTC))


def test_secrets_are_not_shown(load: Load) -> None:
    secrets = {name: f"hidden-{name}" for name in ("DATABASE_URL", "BROKER_URL", "API_KEY", "ENGINE_KEY")}
    found = load(**{f"SPROUT_{name}": value for name, value in secrets.items()})
    assert "hidden" not in repr(found) + str(found.model_dump())
    assert found.api_key is not None
    assert found.api_key.get_secret_value() == "hidden-API_KEY"


def test_a_secret_is_not_shown_when_something_else_is_wrong(load: Load) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load(SPROUT_API_KEY="hidden", SPROUT_IDLE_W="2", SPROUT_BUSY_W="1")
    assert "hidden" not in refusal.value.message


@pytest.mark.parametrize(
    ("variables", "served", "stated"),
    [
        ({}, BUNDLED_MODEL, False),
        ({"MODEL": "Qwen/Qwen3-0.6B"}, "Qwen3-0.6B", True),
        ({"MODEL": "/models/mine/"}, "mine", True),
        ({"MODEL": "/models/mine", "MODEL_NAME": "house-model"}, "house-model", True),
        ({"ENGINE": "openai", "ENGINE_URL": "http://h/v1"}, "remote", False),
        ({"ENGINE": "openai", "ENGINE_URL": "http://h/v1", "MODEL_NAME": "gpt"}, "gpt", False),
        ({"ENGINE": "openai", "ENGINE_URL": "http://h/v1", "MODEL": "Qwen/Qwen3-0.6B"}, "Qwen3-0.6B", True),
    ],
)
def test_the_name_that_clients_use(load: Load, variables: dict[str, str], served: str, stated: bool) -> None:
    found = load(**{f"SPROUT_{name}": value for name, value in variables.items()})
    assert (found.served_name, found.model_stated) == (served, stated)


@pytest.mark.parametrize(
    ("data_home", "expected"), [("/data", "/data/sprout"), ("", "/home/gardener/.local/share/sprout")]
)
def test_state_lives_where_the_desktop_keeps_data(
    monkeypatch: pytest.MonkeyPatch, data_home: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/gardener")
    monkeypatch.setenv("XDG_DATA_HOME", data_home)
    assert default_home() == Path(expected)


def test_who_does_not_say_where_it_is_is_in_the_default_zone(load: Load) -> None:
    assert load(SPROUT_ZONES='["GB", "FR"]').zone == "GB"
    assert load(SPROUT_ZONES='["GB", "FR"]', SPROUT_ZONE="FR").zone == "FR"
