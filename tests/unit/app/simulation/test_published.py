from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.footprint import Hardware
from app.domain.trigger import PublishedTrigger
from app.simulation.dataset import Dataset, load
from app.simulation.published import PUBLISHED_NAMES, PublishedMonth
from tests.support.recorded import grams


def month(dataset: Dataset, *, index: int = 0, seed: int = 0, xi: float = 0.1) -> PublishedMonth:
    return PublishedMonth(dataset, dataset.months[index], xi=xi, hardware=Hardware(), seed=seed)


@pytest.fixture(scope="module")
def dataset(recorded: Path) -> Dataset:
    return load(recorded)


def test_rounds_are_those_of_the_published_trigger(dataset: Dataset) -> None:
    now = dataset.intensity["NORTH"][800:860]
    expected = PublishedTrigger(mean=float(now.mean())).rounds(now.tolist())
    assert len(expected) >= 2
    ran = month(dataset)
    assert ran.run("SPROUT").rounds == len(expected)
    assert ran.run("CO2_OPT").rounds == 0


def test_base_saves_nothing(dataset: Dataset) -> None:
    outcome = month(dataset).run("BASE")
    assert (outcome.saving, outcome.preference) == (0, 1)
    means, intensity = dataset.means, dataset.intensity["NORTH"][800:860]
    by_hour = [
        sum(
            share * grams(means.energy_j[index, 0], means.device_s[index, 0], intensity[hour])
            for index, share in enumerate(shares)
        )
        for hour, shares in enumerate(dataset.traffic[:60])
    ]
    assert outcome.grams_per_request == pytest.approx(np.mean(by_hour))


def test_the_same_seed_draws_the_same_prompts_and_another_seed_others(dataset: Dataset) -> None:
    # A workload of 90 prompts is drawn whole; with fewer shares it is not.
    rare = replace(dataset, traffic=np.tile([0.03, 0.03, 0.94], (60, 1)))
    first, again, other = (month(rare, seed=seed).run("CO2_OPT").preference for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", PUBLISHED_NAMES)
@pytest.mark.parametrize("index", [0, 2])
def test_every_policy_saves_within_what_is_possible(dataset: Dataset, name: str, index: int) -> None:
    outcome = month(dataset, index=index).run(name)
    assert 0 <= outcome.saving < 1
    assert outcome.grams_per_request > 0
    assert (outcome.preference is None) == (name == "MODEL_OPT")


def test_the_oracle_promises_more_than_it_delivers_where_long_answers_are_preferred(dataset: Dataset) -> None:
    """Its requests of greatest saving get the short answers; here they are those that L0 was preferred for."""
    recording = dataset.recording
    longest = np.argsort(-recording.energy_j[:, 0])
    pick = np.full(len(recording), 2)
    pick[longest[: len(pick) // 2]] = 0
    outcome = month(replace(dataset, recording=replace(recording, pick=pick))).run("ORACLE")
    assert outcome.preference is not None
    assert outcome.realised_preference is not None
    assert outcome.realised_preference < outcome.preference


def test_the_published_replay_sees_the_future_and_says_so(dataset: Dataset) -> None:
    """Its range of intensity is that of the whole year: an hour after the month changes what is decided in it."""
    later = dataset.intensity["NORTH"].copy()
    later[950] = 5000.0
    changed = replace(dataset, intensity={**dataset.intensity, "NORTH": later})
    assert month(changed).run("SPROUT").saving < month(dataset).run("SPROUT").saving
