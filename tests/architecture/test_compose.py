from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from app.cli.main import cli
from app.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OWN = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text()

FIELDS = {f"SPROUT_{name.upper()}" for name in Settings.model_fields}
PASSWORDS = {"SPROUT_DB_PASSWORD", "SPROUT_BROKER_PASSWORD"}
"""Parts of SPROUT_DATABASE_URL and SPROUT_BROKER_URL, which Compose puts together."""
NOT_IN_CONTAINERS = {
    "SPROUT_API_URL": "is for the CLI on the client's side",
    "SPROUT_KV_CACHE_GB": "is for engines on a CPU",
}
ONE_SHOT = {"migrate"}
PINNED = re.compile(r"[a-z/-]+:\d+\.\d+(\.\d+)?(-[a-z-]+)?")

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def _environment(service: Mapping[str, Any]) -> Mapping[str, Any]:
    return service.get("environment", {})


def test_the_services_are_those_of_the_design() -> None:
    assert SERVICES.keys() == {
        *("postgres", "valkey", "migrate", "api", "beat", "scheduler", "generator", "flower"),
    }


@pytest.mark.parametrize("service", OWN.values(), ids=OWN.keys())
def test_the_command_exists(service: Mapping[str, Any]) -> None:
    program, *arguments = service["command"]
    assert program == "sprout"
    result = CliRunner().invoke(cli, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


def test_every_variable_is_a_setting() -> None:
    given = {name for service in OWN.values() for name in _environment(service) if name.startswith("SPROUT_")}
    read = set(re.findall(r"\$\{(SPROUT_\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert given <= FIELDS
    assert read <= FIELDS | PASSWORDS


def test_every_setting_reaches_the_containers() -> None:
    given = {name for service in OWN.values() for name in _environment(service)}
    assert FIELDS - given == NOT_IN_CONTAINERS.keys()


def test_all_processes_agree_on_the_settings() -> None:
    shared = COMPOSE["x-settings"].items()
    assert all(shared <= _environment(service).items() for service in OWN.values())


@pytest.mark.parametrize(
    "name", ["SPROUT_DB_PASSWORD", "SPROUT_BROKER_PASSWORD", "SPROUT_API_KEY", "FLOWER_BASIC_AUTH"]
)
def test_secrets_are_required_and_have_no_default(name: str) -> None:
    uses = re.findall(rf"\$\{{{name}([^}}]*)\}}", (ROOT / "docker-compose.yml").read_text())
    assert uses
    assert all(use.startswith(":?") for use in uses)


@every_service
def test_a_service_is_limited(service: Mapping[str, Any]) -> None:
    assert re.fullmatch(r"\d+[mg]", service["deploy"]["resources"]["limits"]["memory"])
    user, group = service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["restart"] in ("unless-stopped", "on-failure:5")


def test_every_long_running_service_has_a_health_check() -> None:
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == ONE_SHOT


def test_nobody_waits_for_a_health_that_is_not_checked() -> None:
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if name in ONE_SHOT else "service_healthy"
            assert condition == {"condition": wanted}


def test_only_the_api_and_flower_are_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"api", "flower"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_only_the_generator_has_a_gpu() -> None:
    with_devices = {name for name, s in SERVICES.items() if "reservations" in s["deploy"]["resources"]}
    assert with_devices == {"generator"}
    assert SERVICES["generator"]["build"]["target"] == "gpu"


def test_images_are_pinned() -> None:
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in SERVICES.items():
        assert PINNED.fullmatch(service["image"]), service["image"]
        if name in OWN:
            assert service["image"].endswith(f":{own}")


def test_the_base_image_is_pinned_and_every_image_ends_as_a_user() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    names = [stage.split()[2] for stage in stages]
    assert names == sorted({service["build"]["target"] for service in OWN.values()})
    for stage in stages:
        base = stage.split()[0]
        assert base in names or PINNED.fullmatch(base)
        last_user = re.findall(r"^USER (\S+)$", stage, flags=re.MULTILINE)[-1]
        assert {last_user} == {service["user"] for service in OWN.values()}


def test_the_images_install_only_pinned_versions() -> None:
    installs = re.findall(r"pip install (.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert len(installs) == DOCKERFILE.count("pip install")
    for install in installs:
        assert re.search(r"-c \S*constraints\.txt", install), install
        assert "==" not in install
