from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.workload import floor_of
from app.simulation.comparison import Comparison, halves
from app.simulation.dataset import Recording
from app.simulation.partition import Classes, Workloads, cells, partition
from tests.support.recorded import WORKLOADS, a_recording

every_kind = pytest.mark.parametrize(
    ("workloads", "strata"), [(kind, strata) for kind in Workloads for strata in (True, False)]
)


@pytest.fixture(scope="module")
def parts(recorded: Path) -> tuple[Recording, Recording]:
    return halves(Comparison(dataset=recorded), 0)


@every_kind
def test_every_request_is_of_one_class(parts: tuple[Recording, Recording], workloads: Workloads, strata: bool) -> None:
    fit, score = parts
    found = partition(fit, score, workloads, strata=strata)
    number = len(found.classes.names)
    assert (len(found.fit), len(found.score)) == (len(fit), len(score))
    assert set(found.fit) | set(found.score) == set(range(number))
    assert len(set(found.classes.names)) == number == len(found.classes.floors)
    together = np.concatenate(found.classes.strata)
    assert sorted(together.tolist()) == list(range(number))


@every_kind
def test_of_what_is_scored_only_prompts_and_names_are_looked_at(
    parts: tuple[Recording, Recording], workloads: Workloads, strata: bool
) -> None:
    fit, score = parts
    unknown = np.full_like(score.energy_j, np.nan)
    blind = replace(score, pick=np.zeros_like(score.pick), energy_j=unknown, device_s=unknown, correct=unknown)
    found, again = (partition(fit, each, workloads, strata=strata) for each in (score, blind))
    assert found.classes == again.classes
    assert (found.fit == again.fit).all()
    assert (found.score == again.score).all()


def test_what_is_scored_teaches_nothing(parts: tuple[Recording, Recording]) -> None:
    fit, score = parts
    few = score.take(np.arange(5))
    for kind in (Workloads.DECLARED, Workloads.DISCOVERED):
        whole, less = (partition(fit, each, kind, strata=True) for each in (score, few))
        names = [[each.classes.names[index] for index in each.fit] for each in (whole, less)]
        assert names[0] == names[1]
        assert [whole.classes.names[index] for index in whole.score[:5]] == [
            less.classes.names[index] for index in less.score
        ]


def test_without_workloads_all_are_one_class(parts: tuple[Recording, Recording]) -> None:
    for strata in (True, False):
        found = partition(*parts, Workloads.NONE, strata=strata)
        assert found.classes == Classes(names=("service",), floors=("service",))
        assert not found.fit.any()
        assert not found.score.any()


def test_declared_workloads_without_strata_are_the_datasets_own(parts: tuple[Recording, Recording]) -> None:
    fit, score = parts
    found = partition(fit, score, Workloads.DECLARED, strata=False)
    assert found.classes == Classes(names=WORKLOADS, floors=WORKLOADS)
    assert (found.fit == fit.workload).all()
    assert (found.score == score.workload).all()


def test_strata_of_a_declared_workload_lie_under_its_floor(parts: tuple[Recording, Recording]) -> None:
    found = partition(*parts, Workloads.DECLARED, strata=True)
    assert len(found.classes.names) > len(set(found.classes.floors)) == len(WORKLOADS)
    for half, member in zip(parts, (found.fit, found.score), strict=True):
        declared = [half.workloads[index] for index in half.workload]
        assert [found.classes.floors[index] for index in member] == declared
    assert found.classes.floors == tuple(map(floor_of, found.classes.names))
    for rows in found.classes.strata:
        assert len({found.classes.floors[row] for row in rows}) == 1


def test_discovered_classes_do_not_know_the_declared_names(parts: tuple[Recording, Recording]) -> None:
    fit, score = parts
    renamed = [replace(half, workload=np.zeros_like(half.workload)) for half in (fit, score)]
    found, again = (partition(*each, Workloads.DISCOVERED, strata=True) for each in (parts, renamed))
    assert found.classes == again.classes
    assert (found.score == again.score).all()
    assert not set(found.classes.floors) & set(WORKLOADS)


def test_cells_are_shares_of_a_workload() -> None:
    recording = a_recording([0, 0, 0, 0, 2], [0] * 5, workloads=("u", "v", "w"))
    assert cells(recording, np.array([0, 1, 1, 1, 2]), 4).tolist() == [
        [0.25, 0.75, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 1, 0],
    ]
