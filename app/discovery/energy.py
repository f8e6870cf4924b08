"""What answers at any level tell of the energy at L0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.arrays import Floats
from app.domain.workload import floor_of


def logarithms(energies_j: Sequence[float] | Floats) -> Floats:
    """Natural logarithms of energies in joules; NaN where an energy is not known or 0."""
    energies = np.array(energies_j, dtype=float)
    energies[~(np.isfinite(energies) & (energies > 0))] = np.nan
    return np.asarray(np.log(energies))


def as_at_l0(names: Sequence[str], levels: Sequence[int], energies_j: Sequence[float] | Floats) -> Floats:
    """N energies (J), as if all answers had been given at L0; NaN where an energy is not known or 0.

    Within each workload the logarithm of energy is taken as a part of the stratum (`names` are mix names) plus a part
    of the level, by least squares; the level's part is replaced by L0's, or by that of the lowest level where L0 never
    ran. The stratum's part matters: a level that is drawn most where answers are long is not to blame for their length.
    """
    found = logarithms(energies_j)
    members: dict[str, list[int]] = {}
    for row in np.flatnonzero(np.isfinite(found)):
        members.setdefault(floor_of(names[row]), []).append(int(row))
    for rows in members.values():
        found[rows] -= _parts_of_levels(
            [names[row] for row in rows], np.array([levels[row] for row in rows]), found[rows]
        )
    return np.asarray(np.exp(found))


def _parts_of_levels(names: Sequence[str], levels: NDArray[np.int64], target: Floats) -> Floats:
    """N: how much each row's level adds to the logarithm, beside the lowest level."""
    strata, stratum = np.unique(np.array(names), return_inverse=True)
    found, level = np.unique(levels, return_inverse=True)
    design = np.hstack([np.eye(len(strata))[stratum], np.eye(len(found))[level]])
    parts = np.linalg.lstsq(design, target)[0][len(strata) :]
    return np.asarray((parts - parts[0])[level])
