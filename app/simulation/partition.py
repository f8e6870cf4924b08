"""How the requests of a replay are told apart: into the classes that get a mix each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from app.simulation.dataset import Floats, Ints, Recording


class Workloads(StrEnum):
    """Which classes there are."""

    DECLARED = "declared"
    """The dataset's own workloads, each with strata of its own; the floor covers the workload."""
    DISCOVERED = "discovered"
    """Found from the prompt text alone; the floor covers the class."""
    NONE = "none"
    """All requests are one class."""


@dataclass(frozen=True, kw_only=True)
class Classes:
    names: tuple[str, ...]
    floors: tuple[str, ...]
    """The workload whose floor covers each class."""

    @cached_property
    def strata(self) -> Sequence[Ints]:
        """The classes under each floor."""
        floors = np.array(self.floors)
        return [np.flatnonzero(floors == floor) for floor in dict.fromkeys(self.floors)]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Classes, and the class of every request that is learned from and that is scored."""

    classes: Classes
    fit: Ints
    score: Ints


def cells(recording: Recording, member: Ints, number: int) -> Floats:
    """W x C: the share of each class among a workload's requests; rows sum to 1, or to 0 without requests."""
    workloads = len(recording.workloads)
    counts = np.bincount(recording.workload * number + member, minlength=workloads * number)
    table = counts.reshape(workloads, number).astype(float)
    return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1.0))
