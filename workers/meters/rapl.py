"""Energy that processors measure themselves: RAPL, as Linux shows it under /sys/class/powercap."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from app.domain.errors import ConfigurationError
from app.ports import EnergyBasis

POWERCAP = Path("/sys/class/powercap")
ZONE = re.compile(r"intel-rapl:\d+(:\d+)?")
"""Of AMD processors too. The zones `intel-rapl-mmio:...` show the same packages a second time."""


@dataclass
class _Domain:
    """A counter that begins anew at zero behind `range_uj`."""

    path: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0

    def read_uj(self) -> int:
        """Microjoules since construction."""
        now_uj = int(self.path.read_text())
        step_uj = now_uj - self.last_uj
        self.last_uj = now_uj
        self.total_uj += step_uj if step_uj >= 0 else step_uj + self.range_uj
        return self.total_uj


class RaplMeter:
    """Packages and memory of this machine, summed.

    Disks, fans, power supplies and GPUs are not in it. The domain `psys`, where there is one, is left out, because it
    contains the packages; `core` and `uncore` are left out, because packages contain them. A counter that passes its
    range twice between two readings looks as if it had done so once: a worker reads every ten seconds at least.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        """Raises ConfigurationError: there are no such counters, or they cannot be read."""
        try:
            self._domains = [_domain(zone) for zone in _zones(root)]
        except PermissionError as exc:
            raise ConfigurationError(
                f"{exc.filename} can be read by root only: run `chmod a+r` on it at every start of the machine, or set "
                "SPROUT_METER=model."
            ) from exc
        except (OSError, ValueError) as exc:
            raise ConfigurationError(
                f"The counters under {root} cannot be read ({exc}): set SPROUT_METER=model."
            ) from exc
        if not self._domains:
            raise ConfigurationError(f"{root} shows no RAPL counter: set SPROUT_METER=model.")

    @staticmethod
    def available(root: Path = POWERCAP) -> bool:
        """Whether the processors count their energy and this process may read it."""
        try:
            RaplMeter(root)
        except ConfigurationError:
            return False
        return True

    @property
    def basis(self) -> EnergyBasis:
        return "measured"

    def energy_j(self) -> float:
        return sum(domain.read_uj() for domain in self._domains) / 1e6


def _zones(root: Path) -> list[Path]:
    found = sorted(root.iterdir()) if root.is_dir() else []
    return [zone for zone in found if ZONE.fullmatch(zone.name) and _counts(zone)]


def _counts(zone: Path) -> bool:
    name = (zone / "name").read_text().strip()
    return name.startswith("package") or name == "dram"


def _domain(zone: Path) -> _Domain:
    counter = zone / "energy_uj"
    return _Domain(
        path=counter,
        range_uj=int((zone / "max_energy_range_uj").read_text()),
        last_uj=int(counter.read_text()),
    )
