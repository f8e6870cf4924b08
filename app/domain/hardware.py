"""What is known of the machines that models run on: carbon of their making, lifetime, power. Each figure has a source.

The embodied carbon of a GPU is that of the card, from cradle to gate. Its share of the server around it is not in it:
SPROUT_EMBODIED_G adds it where it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

YEAR_S = 365 * 24 * 3600.0

CPU_SERVER = "cpu-server"


@dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator, or a whole machine without one."""

    embodied_g: float
    """gCO2eq emitted to make it."""
    lifetime_s: float
    idle_w: float
    busy_w: float
    """Used by the power model alone: where there is a sensor, power is measured."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the figures of a device come from; what Sprout derived says so, and how."""

    embodied: str
    lifetime: str
    power: str


GPU_LIFETIME = "five years, as in the paper's published code"
HGX_H100 = "NVIDIA, Product Carbon Footprint Summary for HGX H100 (2025, ISO 14067): 1 312 kg for eight GPUs"

DEVICES: Mapping[str, Device] = {
    "a100": Device(embodied_g=127_600.0, lifetime_s=5 * YEAR_S, idle_w=60.0, busy_w=400.0),
    "h100": Device(embodied_g=164_000.0, lifetime_s=5 * YEAR_S, idle_w=100.0, busy_w=700.0),
    "h200": Device(embodied_g=216_000.0, lifetime_s=5 * YEAR_S, idle_w=80.0, busy_w=700.0),
    "l40s": Device(embodied_g=100_000.0, lifetime_s=5 * YEAR_S, idle_w=53.0, busy_w=350.0),
    CPU_SERVER: Device(embodied_g=1_000_000.0, lifetime_s=4 * YEAR_S, idle_w=40.0, busy_w=120.0),
}

SOURCES: Mapping[str, Sources] = {
    "a100": Sources(
        embodied="Falk et al. 2025 (arXiv:2509.00093), life-cycle assessment of a dismantled A100 SXM 40 GB: 127.6 kg. "
        "The paper's published code has 26.357 kg, which the replay keeps",
        lifetime=GPU_LIFETIME,
        power="busy: NVIDIA's data sheet, A100 SXM, 400 W at most; idle: derived, 15 % of it",
    ),
    "h100": Sources(
        embodied=f"{HGX_H100}, of which one is an eighth; the board's switches and cooling are in it",
        lifetime=GPU_LIFETIME,
        power="busy: NVIDIA's data sheet, H100 SXM, 700 W at most; idle: derived, 15 % of it, rounded",
    ),
    "h200": Sources(
        embodied=f"derived: {HGX_H100}, of which 42 % is memory, taken 141/80 times for 141 GB instead of 80 GB. "
        "Denser memory chips make it an upper bound",
        lifetime=GPU_LIFETIME,
        power="busy: NVIDIA's data sheet, H200 SXM, 700 W at most; idle: Serial Alice, GPU Energy Benchmark (2026), "
        "80.3 W measured",
    ),
    "l40s": Sources(
        embodied="derived: the A100's assessment, whose chip is 81 % of it, with that part taken 609/826 times for the "
        "area of the chip. Another process and other memory make it a rough figure",
        lifetime=GPU_LIFETIME,
        power="busy: NVIDIA's data sheet, 350 W at most; idle: derived, 15 % of it, rounded",
    ),
    CPU_SERVER: Sources(
        embodied="Davy (Teads) 2021, Building an AWS EC2 Carbon Emissions Dataset, and Cloud Carbon Footprint after "
        "it: 1 000 kg for a server of one processor with little memory and no disks, from Dell's assessment of the "
        "R740, which has 4 283 kg with its large SSDs",
        lifetime="four years, as in Dell's product carbon footprints",
        power="assumed: a small server of one processor; no source. Measure yours",
    ),
}

NAMED_IN_DRIVER = {"H200": "h200", "H100": "h100", "A100": "a100", "L40S": "l40s"}


def of_gpu(model: str) -> str | None:
    """The name in `DEVICES` of the GPU that NVIDIA's driver calls `model`, such as `NVIDIA H100 80GB HBM3`."""
    return next((name for part, name in NAMED_IN_DRIVER.items() if part in model.replace("-", " ").split()), None)
