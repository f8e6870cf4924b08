from __future__ import annotations

import pytest

from app.domain.errors import InvalidInput
from app.domain.workload import DEFAULT_WORKLOAD, floor_of, parse_workload, stratum_name


@pytest.mark.parametrize("name", [DEFAULT_WORKLOAD, "a", "9", "News-Summaries_v1.2", "x" * 64])
def test_workload_names(name: str) -> None:
    assert parse_workload(name, param="p") == name


@pytest.mark.parametrize("name", ["", ".x", "_x", "x" * 65, "a b", "a\n", "ß"])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InvalidInput, match="starting with a letter or digit") as refusal:
        parse_workload(name, param="metadata.sprout_workload")
    assert refusal.value.param == "metadata.sprout_workload"


def test_a_stratum_is_covered_by_the_floor_of_its_workload() -> None:
    assert floor_of(stratum_name("news-summaries", 3)) == "news-summaries"
    assert floor_of("news-summaries") == "news-summaries"


def test_no_declared_workload_can_be_mistaken_for_a_stratum() -> None:
    with pytest.raises(InvalidInput):
        parse_workload(stratum_name("news", 0), param="p")
