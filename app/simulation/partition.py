"""How the requests of a replay are told apart: into the classes that get a mix each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from app.domain.arrays import Floats, Ints
from app.domain.directive import L0
from app.domain.workload import floor_of
from app.simulation.dataset import Recording


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


def partition(fit: Recording, score: Recording, workloads: Workloads, *, strata: bool) -> Partition:
    """Tell requests apart by what `fit` teaches; of `score`, only prompts and declared workloads are looked at."""
    if workloads is Workloads.NONE or (workloads is Workloads.DECLARED and not strata):
        return _whole(fit, score, declared=workloads is Workloads.DECLARED)
    from app.discovery.model import fit as fit_classes
    from app.discovery.strata import STRATA

    named = workloads is Workloads.DECLARED
    fitted = fit_classes(fit.prompts, _declared(fit, named=named), fit.energy_j[:, L0], strata=STRATA if strata else 1)
    assigned = fitted.model.assign(score.prompts, _declared(score, named=named))
    names = tuple(sorted({*fitted.names, *assigned}))
    index = {name: number for number, name in enumerate(names)}
    return Partition(
        classes=Classes(names=names, floors=tuple(floor_of(name) for name in names)),
        fit=np.array([index[name] for name in fitted.names]),
        score=np.array([index[name] for name in assigned]),
    )


def _declared(recording: Recording, *, named: bool) -> list[str | None]:
    return [recording.workloads[index] if named else None for index in recording.workload]


def _whole(fit: Recording, score: Recording, *, declared: bool) -> Partition:
    names = fit.workloads if declared else ("service",)
    return Partition(
        classes=Classes(names=names, floors=names),
        fit=fit.workload if declared else np.zeros_like(fit.workload),
        score=score.workload if declared else np.zeros_like(score.workload),
    )


def cells(recording: Recording, member: Ints, number: int) -> Floats:
    """W x C: the share of each class among a workload's requests; rows sum to 1, or to 0 without requests."""
    workloads = len(recording.workloads)
    counts = np.bincount(recording.workload * number + member, minlength=workloads * number)
    table = counts.reshape(workloads, number).astype(float)
    return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1.0))
