"""A folder that looks like /sys/class/powercap, with counters in a test's hands."""

from __future__ import annotations

from pathlib import Path

RANGE_UJ = 262_143_328_850
"""As a Xeon has it."""


class Powercap:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, zone: str, name: str, *, uj: int = 0) -> None:
        folder = self.root / zone
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        (folder / "energy_uj").write_text(f"{uj}\n")

    def spend(self, zone: str, joules: float) -> None:
        """Advance the counter; it begins anew behind its range."""
        counter = self.root / zone / "energy_uj"
        counter.write_text(f"{int(int(counter.read_text()) + joules * 1e6) % RANGE_UJ}\n")
