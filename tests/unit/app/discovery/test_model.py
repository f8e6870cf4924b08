from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.discovery.model import FEWEST_PROMPTS, ClassModel, Fitted, fit
from app.domain.errors import InvalidInput
from app.domain.workload import floor_of
from app.simulation.dataset import load
from tests.support.plain_reading import plain_name, plain_point
from tests.support.prompts import KINDS, LONG, Example, examples
from tests.support.recorded import published_dataset

NAME = re.compile(r"class:\d+(~[1-6])?")
HOSTILE = {
    "one character": "a" * 1_000_000,
    "lines": "\n" * 1_000_000,
    "list marks": "- " * 500_000,
    "blanks": " \t" * 500_000,
    "question marks": "?" * 1_000_000,
    "Han": "中" * 1_000_000,
    "controls": "".join(map(chr, range(32))) * 1000,
    "emoji": "👩‍🌾🌱" * 100_000,
    "half a surrogate pair": "\ud800 \udfff" * 1000,
    "nothing": "",
}
SCRIPTS = (
    "请写一首关于{}的诗",
    "Сколько будет {} умножить на семь?",
    "اكتب قصة قصيرة عن {}",
    "ฉันมีแอปเปิ้ล {} ลูก",
    "{}についての詩を書いてください。",
    "Wie viele {} gibt es?",
)


def learn(found: list[Example], previous: ClassModel | None = None) -> Fitted:
    prompts = [example.prompt for example in found]
    return fit(prompts, [None] * len(found), [example.energy_j for example in found], previous=previous)


def floors(model: ClassModel, prompts: list[str]) -> list[str]:
    return [floor_of(name) for name in model.assign(prompts, [None] * len(prompts))]


@cache
def learned() -> Fitted:
    """From all kinds."""
    return learn(examples(800))


def test_kinds_of_prompts_become_discovered_workloads() -> None:
    unseen = examples(400, seed=9)
    found = floors(learned().model, [example.prompt for example in unseen])
    pairs = Counter(zip(found, (example.kind for example in unseen), strict=True))
    assert len(pairs) == len(set(found)) == len(KINDS)


def test_strata_tell_long_answers_from_short_ones() -> None:
    unseen = examples(400, seed=9)
    names = learned().model.assign([example.prompt for example in unseen], [None] * 400)
    longs = [name for name, example in zip(names, unseen, strict=True) if example.long]
    assert sum(name[-1] in "56" for name in longs) > 0.9 * len(longs)


def test_names_of_fitted_prompts_have_their_workloads_and_equal_strata() -> None:
    prompts = [example.prompt for example in examples(800)]
    assert [floor_of(name) for name in learned().names] == floors(learned().model, prompts)
    sizes = Counter(learned().names)
    for floor in {floor_of(name) for name in sizes}:
        own = [size for name, size in sizes.items() if floor_of(name) == floor]
        assert len(own) == 6
        assert max(own) - min(own) <= 2


def test_the_same_prompts_give_the_same_model() -> None:
    again = learn(examples(800))
    assert again.names == learned().names
    for name in ("centroids", "numbers", "issued"):
        assert np.array_equal(getattr(again.model, name), getattr(learned().model, name))
    assert np.array_equal(again.model.embedding.projection, learned().model.embedding.projection)
    assert np.array_equal(again.model.strata.coefficients, learned().model.strata.coefficients)


@given(st.lists(st.text(alphabet=st.characters(), max_size=80), max_size=6))
def test_every_prompt_has_a_name_that_its_company_does_not_change(prompts: list[str]) -> None:
    together = learned().model.assign(prompts, [None] * len(prompts))
    assert together == [learned().model.assign([prompt], [None])[0] for prompt in prompts]
    assert all(map(NAME.fullmatch, together))


def test_declared_workloads_keep_their_name_and_have_strata_of_their_own() -> None:
    found = examples(600)
    declared = ["mine" if example.kind == "sum" else None for example in found]
    model = fit([e.prompt for e in found], declared, [e.energy_j for e in found]).model
    prompt = found[2].prompt + LONG
    assert re.fullmatch(r"mine~\d", model.assign([prompt], ["mine"])[0])
    assert model.assign([prompt], ["never-seen"]) == ["never-seen"]
    assert re.fullmatch(r"class:\d+~\d", model.assign([prompt], [None])[0])


def test_without_energies_and_without_strata_workloads_are_whole() -> None:
    prompts = [example.prompt for example in examples(200)]
    unmeasured = fit(prompts, [None] * 200, [float("nan")] * 200)
    unwanted = fit(prompts, [None] * 200, [1.0 + row for row in range(200)], strata=1)
    assert unmeasured.names == unwanted.names == unwanted.model.assign(prompts, [None] * 200)
    assert all(name == floor_of(name) for name in unwanted.names)


def test_where_all_is_declared_classes_are_learned_all_the_same() -> None:
    found = examples(400)
    model = fit([e.prompt for e in found], [e.kind for e in found], [e.energy_j for e in found]).model
    assert len(set(floors(model, [e.prompt for e in found]))) > 1


def test_a_refit_keeps_the_names() -> None:
    everything = examples(1200)
    before = learn(everything[:800])
    after = learn(everything[400:], before.model)
    unseen = [example.prompt for example in examples(400, seed=9)]
    pairs = list(zip(floors(before.model, unseen), floors(after.model, unseen), strict=True))
    assert sum(old == new for old, new in pairs) >= 0.9 * len(pairs)
    assert after.model.version == before.model.version + 1


def test_a_new_kind_gets_a_number_that_was_never_used() -> None:
    poems = [Example(kind="poem", prompt=f"请写一首关于{n}的诗", long=False, energy_j=300.0) for n in range(120)]
    joined = learn([*examples(800, seed=1), *poems], learned().model).model
    known = [example.prompt for example in examples(4, seed=4)]
    assert floors(joined, known) == floors(learned().model, known)
    assert set(floors(joined, [poem.prompt for poem in poems])) == {f"class:{learned().model.issued + 1}"}


def test_a_number_that_is_gone_is_never_used_again() -> None:
    everything = learn(examples(800)).model
    less = learn(examples(600, seed=1, kinds=["sum", "letter"]), replace(everything, issued=20)).model
    assert less.issued >= 20
    assert all(number in everything.numbers or number > 20 for number in less.numbers)


def test_too_few_prompts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 100 prompts; there are 99"):
        learn(examples(FEWEST_PROMPTS - 1))
    assert learn(examples(FEWEST_PROMPTS)).model.numbers


@pytest.mark.parametrize("prompts", [["hi"] * 150, [""] * 150, list(HOSTILE.values()) * 15], ids=["hi", "", "hostile"])
def test_odd_samples_give_a_model_too(prompts: list[str]) -> None:
    energies = [1.0 + row for row in range(150)]
    model = fit(prompts, [None] * 150, energies).model
    again = fit(prompts, [None] * 150, energies, previous=model).model
    assert set(floors(model, prompts)) == set(floors(again, prompts))
    for found in (model, again):
        assert np.isfinite(found.centroids).all()
        assert not any("\0" in term for term in found.embedding.vocabulary)


@pytest.mark.parametrize("prompt", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_prompts_are_assigned_at_once(prompt: str) -> None:
    start = time.process_time()
    assert NAME.fullmatch(learned().model.assign([prompt], [None])[0])
    assert time.process_time() - start < 0.5


def test_any_script_can_be_told_apart() -> None:
    prompts = [script.format(number) for number in range(60) for script in SCRIPTS]
    model = fit(prompts, [None] * len(prompts), [float("nan")] * len(prompts)).model
    found = floors(model, prompts)
    assert len(set(found)) >= 3
    assert found[:6] * 60 == found


PLAIN = [
    *(example.prompt for example in examples(100, seed=5)),
    *(script.format("١٢") * 30 for script in SCRIPTS),
    *HOSTILE.values(),
    Path(__file__).read_text(encoding="utf-8"),
]
"""More than are read together."""


def test_names_are_those_that_reading_step_by_step_gives() -> None:
    model, prompts = learned().model, PLAIN
    points = np.array([plain_point(model.embedding, prompt) for prompt in prompts])
    assert model.embedding(prompts) == pytest.approx(points, abs=1e-12)
    assert model.assign(prompts, [None] * len(prompts)) == [plain_name(model, prompt) for prompt in prompts]


@given(st.lists(st.text(alphabet=st.characters(), max_size=80), min_size=1, max_size=6))
def test_any_text_gets_the_name_that_reading_step_by_step_gives(prompts: list[str]) -> None:
    model = learned().model
    assert model.assign(prompts, [None] * len(prompts)) == [plain_name(model, prompt) for prompt in prompts]


def test_recorded_prompts_are_told_apart() -> None:
    recording = load(published_dataset()).recording
    rows = np.random.default_rng(0).permutation(len(recording))
    known, unseen = recording.take(rows[:3000]), recording.take(rows[3000:])
    model = fit(known.prompts, [None] * 3000, known.energy_j[:, 0]).model
    names = model.assign(unseen.prompts, [None] * len(unseen))
    assert names[::10] == [plain_name(model, prompt) for prompt in unseen.prompts[::10]]
    assert 4 <= len(set(map(floor_of, names))) <= 8
    pairs = Counter(zip(map(floor_of, names), unseen.workload, strict=True))
    best = {workload: max(n for (_, w), n in pairs.items() if w == workload) for workload in set(unseen.workload)}
    assert sum(best.values()) > 0.9 * len(unseen)
    for floor in set(map(floor_of, names)):
        own = [number for name, number in Counter(names).items() if floor_of(name) == floor]
        assert min(own) > 0.6 * sum(own) / len(own)
