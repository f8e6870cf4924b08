"""What `make install` installs: one exact version of everything."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
SERVER_WHEELS = 4
"""Linux and macOS, each on x86_64 and arm64."""


def _lines(path: str) -> Iterator[str]:
    text = (ROOT / path).read_text().replace("\\\n", " ")
    return (line.split(" --hash")[0].strip() for line in text.splitlines() if not line.startswith("#"))


def _requirements(path: str) -> list[Requirement]:
    return [Requirement(line) for line in _lines(path)]


PINS = {canonicalize_name(pin.name): pin for pin in _requirements("constraints.txt")}


def test_every_constraint_is_one_exact_version() -> None:
    assert len(PINS) == len(list(_lines("constraints.txt")))
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in _lines("constraints.txt"))


def test_everything_that_is_installed_by_name_is_pinned() -> None:
    declared = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    for requirement in [*map(Requirement, declared), *_requirements("requirements/vllm-cpu.txt")]:
        if requirement.marker is None or requirement.marker.evaluate():
            pin = PINS[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(next(iter(pin.specifier)).version), requirement


def test_the_servers_are_hashed_for_every_platform_and_pinned_alike() -> None:
    servers = _requirements("requirements/servers.txt")
    assert {server.name for server in servers} == set(PROJECT["optional-dependencies"]["embedded"])
    assert all(PINS[server.name].specifier == server.specifier for server in servers)
    hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}\b", (ROOT / "requirements/servers.txt").read_text())
    assert len(set(hashes)) == len(hashes) == len(servers) * SERVER_WHEELS


def test_numpy_fits_its_types() -> None:
    """numpy-typing-compat carries the last numpy release that it knows in its own version: 2.3 in 20251206.2.3."""
    series = next(iter(PINS["numpy-typing-compat"].specifier)).version.partition(".")[2]
    assert next(iter(PINS["numpy"].specifier)).version.startswith(f"{series}.")


def test_both_builds_of_vllm_are_one_release_and_torch_is_pinned_by_the_makefile_alone() -> None:
    assert PINS["vllm"].specifier == PINS["vllm-cpu"].specifier
    assert "torch" not in PINS
    (pin,) = re.findall(r"^TORCH := (torch==[\d.]+)", MAKEFILE, flags=re.MULTILINE)
    assert any(Requirement(pin).specifier.contains(_version(needed)) for needed in _vllm_needs("torch"))


def test_what_vllm_needs_is_listed() -> None:
    """Fails after an upgrade of vllm-cpu until its list is written again."""
    left_out = {"torch", "torchvision", "torchaudio", "torchcodec", "xgrammar"}
    needed = [str(r) for r in _vllm_needs() if r.name not in left_out]
    assert list(_lines("requirements/vllm-cpu.txt")) == needed


def _version(requirement: Requirement) -> str:
    return next(iter(requirement.specifier)).version


def _vllm_needs(name: str | None = None) -> list[Requirement]:
    try:
        needed = [Requirement(line) for line in requires("vllm-cpu") or ()]
    except PackageNotFoundError:
        pytest.skip("this environment has no vllm-cpu")
    return [r for r in needed if "extra" not in str(r.marker) and name in (None, r.name)]
