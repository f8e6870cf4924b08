"""Asking a judge about recorded answers, and holding what it says against GPT-4's picks and against references."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from judge_figures import Score, share

from app.domain.bias import Counted, biases
from app.domain.judging import Comparison, Opinion, Outcome, Question, Vote, outcome, vote, without_judge
from app.domain.preference import Tally
from app.domain.reference import is_correct
from app.ports import Judge

SEED = 1
CHECKED = ("math", "mmlu", "scienceqa", "triviaqa", "naturalqa")
"""Workloads whose references can mostly be checked."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    id: str
    workload: str
    question: Question
    answers: tuple[str, ...]
    """By level."""
    pick: int
    """The level that GPT-4 preferred."""

    def same(self, level: int, other: int) -> bool:
        return without_judge(self.answers[level], self.answers[other]) is Outcome.TIE

    @property
    def distinct(self) -> Sequence[int]:
        """One level for each answer that differs."""
        levels = range(len(self.answers))
        return [level for level in levels if not any(self.same(level, before) for before in range(level))]


def ask(judge: Judge, comparisons: Sequence[Comparison]) -> Mapping[str, Opinion]:
    given: dict[str, Opinion] = {}
    shown_at = time.monotonic()
    with closing(judge.judge(comparisons)) as groups:
        for group in groups:
            given |= {opinion.key: opinion for opinion in group}
            if time.monotonic() - shown_at > 30:
                shown_at = time.monotonic()
                print(f"  {judge.name}: {len(given)} of {len(comparisons)}", file=sys.stderr, flush=True)
    return given


# All levels at once, as in the paper.


def all_levels(judge: Judge, prompts: Sequence[Prompt]) -> tuple[Sequence[Score], Mapping[str, Any]]:
    """Scores, and how often each place was preferred."""
    orders: dict[str, list[int]] = {}
    comparisons = []
    for prompt in prompts:
        order = list(prompt.distinct)
        random.Random(f"{SEED} {prompt.id}").shuffle(order)
        if len(order) > 1:
            orders[prompt.id] = order
            answers = tuple(prompt.answers[level] for level in order)
            comparisons.append(Comparison(key=prompt.id, question=prompt.question, answers=answers))
    given = ask(judge, comparisons)
    frequent = most_frequent((prompt.workload, prompt.pick) for prompt in prompts)
    scores, places = [], Counter[int]()
    for prompt in prompts:
        if (order := orders.get(prompt.id)) is None:
            continue
        chance = 1 / len(order)
        preferred = given[prompt.id].preferred
        if preferred is not None and len(order) == len(prompt.answers):
            places[preferred + 1] += 1
        scores.append(
            Score(
                workload=prompt.workload,
                compared=1,
                agreed=chance if preferred is None else float(prompt.same(order[preferred], prompt.pick)),
                chance=chance,
                majority=float(prompt.same(frequent[prompt.workload], prompt.pick)),
                named=int(preferred is not None),
            )
        )
    total = places.total()
    faults = Counter(opinion.fault for opinion in given.values() if opinion.fault)
    return scores, {
        "places": {str(place): places[place] / total for place in sorted(places)},
        "faults": dict(faults.most_common(5)),
        "prompt_tokens": sum(opinion.prompt_tokens for opinion in given.values()),
    }


# Pairs with L0, as in live service.


@dataclass(frozen=True, kw_only=True)
class Judged:
    prompt: Prompt
    level: int
    outcome: Outcome
    asked: bool
    """False where nobody need be."""
    votes: Sequence[Vote]


def pairs(judge: Judge, prompts: Sequence[Prompt]) -> tuple[Sequence[Judged], Mapping[str, Any]]:
    places = (0, 1) if judge.heeds_order else (0,)
    comparisons, settled = [], []
    for prompt in prompts:
        for level in range(1, len(prompt.answers)):
            shown = prompt.answers[level], prompt.answers[0]
            known = without_judge(*shown)
            if known is not None:
                settled.append(Judged(prompt=prompt, level=level, outcome=known, asked=False, votes=()))
                continue
            comparisons += [
                Comparison(
                    key=f"{prompt.id}/{level}/{at}", question=prompt.question, answers=shown if at == 0 else shown[::-1]
                )
                for at in places
            ]
    given = ask(judge, comparisons)
    by_id = {prompt.id: prompt for prompt in prompts}
    found, faults = [], Counter[str]()
    for key in dict.fromkeys(one.key.rpartition("/")[0] for one in comparisons):
        opinions = [given[f"{key}/{at}"] for at in places]
        if bad := [opinion.fault for opinion in opinions if opinion.fault]:
            faults[bad[0]] += 1
            continue
        votes = [vote(opinion.preferred, level_at=at) for at, opinion in zip(places, opinions, strict=True)]
        prompt_id, _, level = key.rpartition("/")
        found.append(Judged(prompt=by_id[prompt_id], level=int(level), outcome=outcome(votes), asked=True, votes=votes))
    return [*settled, *found], {"faults": dict(faults.most_common(5)), "faulty": faults.total()}


WORTH = {Outcome.WIN: 1.0, Outcome.TIE: 0.5, Outcome.LOSS: 0.0}


def pair_scores(judged: Sequence[Judged]) -> Sequence[Score]:
    """Where GPT-4's pick is one of the two answers of a pair that differ."""
    held = [
        (each, each.prompt.same(each.prompt.pick, each.level))
        for each in judged
        if each.asked and any(each.prompt.same(each.prompt.pick, level) for level in (0, each.level))
    ]
    frequent = most_frequent(((each.prompt.workload, each.level), won) for each, won in held)
    by_prompt: dict[str, list[tuple[Judged, bool]]] = defaultdict(list)
    for each, won in held:
        by_prompt[each.prompt.id].append((each, won))
    return [
        Score(
            workload=own[0][0].prompt.workload,
            compared=len(own),
            agreed=sum(WORTH[each.outcome] if won else 1 - WORTH[each.outcome] for each, won in own),
            chance=len(own) / 2,
            majority=sum(float(frequent[each.prompt.workload, each.level] == won) for each, won in own),
            named=sum(each.outcome is not Outcome.TIE for each, _ in own),
        )
        for own in by_prompt.values()
    ]


def most_frequent(found: Any) -> Mapping[Any, Any]:
    counts: dict[Any, Counter[Any]] = defaultdict(Counter)
    for key, value in found:
        counts[key][value] += 1
    return {key: counter.most_common(1)[0][0] for key, counter in counts.items()}


def bias_of(judge: Judge, judged: Sequence[Judged]) -> Mapping[str, float | None]:
    """As `app.domain.bias` finds it in live service."""
    cells: dict[tuple[str, int, int], list[Judged]] = defaultdict(list)
    for each in judged:
        if each.asked:
            difference = len(each.prompt.answers[each.level]) - len(each.prompt.answers[0])
            sign = (difference > 0) - (difference < 0)
            cells[each.prompt.workload, each.level, sign].append(each)
    counted = []
    for (workload, level, sign), members in cells.items():
        said = [each.outcome for each in members]
        both = [tuple(each.votes) for each in members if len(each.votes) == 2]
        counted.append(
            Counted(
                judge=judge.name,
                workload=workload,
                level=level,
                longer=sign,
                tally=Tally(
                    wins=said.count(Outcome.WIN), ties=said.count(Outcome.TIE), losses=said.count(Outcome.LOSS)
                ),
                pairs=len(both),
                first_twice=both.count((Vote.LEVEL, Vote.L0)),
                second_twice=both.count((Vote.L0, Vote.LEVEL)),
            )
        )
    if not counted:
        return {}
    bias = biases(counted)[judge.name]
    decided = [each for each in judged if each.asked and each.outcome is not Outcome.TIE and lengths_differ(each)]
    longer = sum((each.outcome is Outcome.WIN) == is_longer(each) for each in decided)
    return {
        "position": bias.position if bias.pairs else None,
        "length": bias.length,
        "length_sd": bias.length_sd,
        "longer_preferred": longer / len(decided) if decided else None,
        "swayed_by_order": sum(set(each.votes) == {Vote.LEVEL, Vote.L0} for each in judged) / max(bias.pairs, 1),
    }


def lengths_differ(each: Judged) -> bool:
    return len(each.prompt.answers[each.level]) != len(each.prompt.answers[0])


def is_longer(each: Judged) -> bool:
    return len(each.prompt.answers[each.level]) > len(each.prompt.answers[0])


def against_gold(prompts: Sequence[Prompt]) -> Mapping[str, Any]:
    """What references say of the answers, and whether GPT-4 prefers the only right one."""
    found = {}
    for workload in CHECKED:
        own = [prompt for prompt in prompts if prompt.workload == workload]
        right = [
            (prompt, [is_correct(prompt.question.prompt, prompt.question.reference or "", text)
                      for text in prompt.answers])
            for prompt in own
        ]  # fmt: skip
        checked = [(prompt, marks) for prompt, marks in right if None not in marks]
        if not checked:
            continue
        only = [(prompt, marks.index(True)) for prompt, marks in checked if marks.count(True) == 1]
        agreed = sum(prompt.same(level, prompt.pick) for prompt, level in only)
        found[workload] = {
            "prompts": len(own),
            "checked": len(checked),
            "accuracy": [share(sum(bool(marks[level]) for _, marks in checked), len(checked))
                         for level in range(len(own[0].answers))],
            "differ": share(sum(len(set(marks)) > 1 for _, marks in checked), len(checked)),
            "one_right": len(only),
            "gpt4_agrees": share(agreed, len(only)),
        }  # fmt: skip
    return found
