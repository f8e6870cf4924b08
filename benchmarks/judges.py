"""How far a judge agrees with GPT-4's recorded preferences, and how biased it is.

    python benchmarks/judges.py --dataset PATH/responses.jsonl.gz [--judges reference longest shortest random]
        [--limit N] [--json FILE]
    python benchmarks/judges.py --dataset ... --judges openai --url http://host:8000/v1 --model NAME [--key KEY]
    python benchmarks/judges.py --dataset ... --judges bundled --limit 20

Each judge is asked in two forms. *All*: which of all levels' answers is best, shuffled, once, as in the paper. *Pairs*:
each level's answer beside L0's, in both orders where the judge heeds order, as in live service; held against GPT-4
where its pick is one of the two. Equal answers are shown once, and named by any of their levels. A judge that names
none has agreed by as much as chance would. `bundled` is this worker's own engine, as SPROUT_* variables configure it.
`--limit` takes that many prompts of each workload. Intervals are 95 %, from the spread over prompts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.bias import Counted, biases
from app.domain.judging import Comparison, Kind, Opinion, Outcome, Question, Vote, outcome, vote, without_judge
from app.domain.preference import Tally
from app.domain.reference import is_correct
from app.ports import Judge
from workers.judges.chat import ChatJudge
from workers.judges.reference import ReferenceJudge

Z_95 = 1.96
SEED = 1
OVERALL = "overall"
CHECKED = ("math", "mmlu", "scienceqa", "triviaqa", "naturalqa")
"""Workloads whose references can mostly be checked."""
PLAIN = ("reference", "longest", "shortest", "random")
TIMEOUT_S = 600.0
"""Of one request: a model on two cores answers many at once, and each of them slowly."""


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


class Minded:
    """A judge whose mind is a function of the answers' texts."""

    model = ""
    kind = Kind.PREFERENCE
    heeds_order = True

    def __init__(self, name: str, mind: Callable[[Comparison], int | None]) -> None:
        self.name = name
        self._mind = mind

    def judge(self, comparisons: Sequence[Comparison]) -> Generator[Sequence[Opinion], None, None]:
        yield [Opinion(key=one.key, preferred=self._mind(one)) for one in comparisons]


def by_length(sign: int) -> Callable[[Comparison], int | None]:
    def mind(comparison: Comparison) -> int | None:
        lengths = [sign * len(answer) for answer in comparison.answers]
        return lengths.index(max(lengths)) if lengths.count(max(lengths)) == 1 else None

    return mind


def at_random(comparison: Comparison) -> int:
    return random.Random(comparison.key).randrange(len(comparison.answers))


@contextmanager
def judge_of(name: str, options: argparse.Namespace) -> Iterator[Judge]:
    with ExitStack() as stack:
        match name:
            case "reference":
                yield ReferenceJudge()
            case "longest" | "shortest":
                yield Minded(name, by_length(1 if name == "longest" else -1))
            case "random":
                yield Minded(name, at_random)
            case "bundled":
                # Loading vLLM takes seconds, and only this judge needs it.
                from app.settings import load
                from workers.lifecycle import build_engine

                settings = load()
                engine = stack.enter_context(closing(build_engine(settings)))
                yield ChatJudge(engine, name="engine", model=settings.served_name, timeout_s=TIMEOUT_S)
            case _:
                from workers.engines.openai import OpenAIEngine

                server = OpenAIEngine(options.url, api_key=options.key, concurrency=16, model=options.model)
                engine = stack.enter_context(closing(server))
                yield ChatJudge(engine, name="openai", model=options.model, timeout_s=TIMEOUT_S)


def read(path: Path, limit: int | None) -> Sequence[Prompt]:
    found: list[Prompt] = []
    seen: Counter[str] = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for text in file:
            row = json.loads(text)
            workload = row["workload"]
            seen[workload] += 1
            if limit is not None and seen[workload] > limit:
                continue
            levels = sorted(row["responses"])
            found.append(
                Prompt(
                    id=row["request_id"],
                    workload=workload,
                    question=Question(prompt=row["prompt"], reference=row["reference"]),
                    answers=tuple(row["responses"][level] for level in levels),
                    pick=int(row["gpt4_preferred_level"]),
                )
            )
    return found


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


@dataclass(frozen=True, kw_only=True)
class Score:
    """How far a judge agreed on one prompt: sums over what was compared there."""

    workload: str
    compared: int
    agreed: float
    chance: float
    majority: float
    """What always naming the workload's most frequent preference agrees by."""
    named: int
    """Comparisons in which the judge named one."""


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


# Figures.


def ratio(scores: Sequence[Score], value: Callable[[Score], float]) -> tuple[float, float]:
    """Mean over what was compared, and half of its interval; what is of one prompt is not independent."""
    compared = sum(score.compared for score in scores)
    mean = sum(value(score) for score in scores) / compared
    spread = sum((value(score) - mean * score.compared) ** 2 for score in scores)
    return mean, Z_95 * math.sqrt(spread) / compared


def figures(scores: Sequence[Score]) -> Mapping[str, Mapping[str, Any]]:
    """Per workload and overall."""
    found = {}
    for name in [*sorted({score.workload for score in scores}), OVERALL]:
        own = [score for score in scores if name in (OVERALL, score.workload)]
        compared = sum(score.compared for score in own)
        found[name] = {
            "compared": compared,
            "agreement": ratio(own, lambda score: score.agreed),
            "chance": ratio(own, lambda score: score.chance)[0],
            "majority": ratio(own, lambda score: score.majority)[0],
            "over_majority": ratio(own, lambda score: score.agreed - score.majority),
            "named": sum(score.named for score in own) / compared,
        }
    return found


def percent(value: tuple[float, float], sign: str = "") -> str:
    return f"{100 * value[0]:{sign}.1f} ± {100 * value[1]:.1f}"


def show(judge: str, form: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    for name, row in found.items():
        print(
            f"| {judge} | {form} | {name} | {row['compared']} | {row['named']:.0%} | {percent(row['agreement'])} "
            f"| {100 * row['chance']:.1f} | {100 * row['majority']:.1f} | {percent(row['over_majority'], '+')} |"
        )


def show_bias(rows: Mapping[str, Mapping[str, Any]]) -> None:
    print("\n| judge | position bias | order decides | length bias | longer preferred | first, second, third of all |")
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        bias, places = row["bias"], row["asked_all"]["places"]
        if not bias:
            continue
        shown = [
            "-" if bias["position"] is None else f"{bias['position']:+.2f}",
            "-" if bias["position"] is None else f"{bias['swayed_by_order']:.0%}",
            f"{bias['length']:+.2f} ± {bias['length_sd'] * Z_95:.2f}",
            "-" if bias["longer_preferred"] is None else f"{bias['longer_preferred']:.0%}",
            ", ".join(f"{share:.0%}" for share in places.values()),
        ]
        print(f"| {name} | " + " | ".join(shown) + " |")


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


def share(number: int, of: int) -> tuple[float, float]:
    """With half of its interval."""
    part = number / of if of else math.nan
    return part, Z_95 * math.sqrt(part * (1 - part) / of) if of else math.nan


def show_gold(found: Mapping[str, Any]) -> None:
    print("\n| workload | prompts | can be checked | right at L0, L1, L2, % | levels differ, % | one level right | "
          "GPT-4 prefers it, % |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for workload, row in found.items():
        accuracy = ", ".join(percent(value) for value in row["accuracy"])
        print(
            f"| {workload} | {row['prompts']} | {row['checked']} | {accuracy} | {percent(row['differ'])} "
            f"| {row['one_right']} | {percent(row['gpt4_agrees'])} |"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--judges", nargs="+", choices=[*PLAIN, "bundled", "openai"], default=PLAIN)
    parser.add_argument("--limit", type=int, help="prompts of each workload")
    parser.add_argument("--url", help="of the server that `openai` asks, ending in /v1")
    parser.add_argument("--model", help="that it is asked for")
    parser.add_argument("--key", help="bearer key of the server")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if "openai" in options.judges and not (options.url and options.model):
        parser.error("the judge `openai` needs --url and --model")
    if not options.dataset.is_file():
        sys.exit(f"{options.dataset} is absent: name the recorded answers, responses.jsonl.gz.")
    return options


def main() -> None:
    options = arguments()
    prompts = read(options.dataset, options.limit)
    print(f"{len(prompts)} prompts\n")
    print(
        "| judge | form | workload | compared | names one | agreement, % | chance, % | majority, % | difference to it |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows: dict[str, Any] = {}
    for name in options.judges:
        with judge_of(name, options) as judge:
            started = time.monotonic()
            scores, asked_all = all_levels(judge, prompts)
            judged, asked_pairs = pairs(judge, prompts)
            rows[name] = {
                "all": figures(scores),
                "pairs": figures(pair_scores(judged)),
                "bias": bias_of(judge, judged),
                "asked_all": asked_all,
                "asked_pairs": asked_pairs,
                "seconds": time.monotonic() - started,
            }
        show(name, "all", rows[name]["all"])
        show(name, "pairs", rows[name]["pairs"])
    show_bias(rows)
    gold = against_gold(prompts)
    show_gold(gold)
    for name, row in rows.items():
        faults = sum(row["asked_all"]["faults"].values()), row["asked_pairs"]["faulty"]
        print(f"\n{name}: {row['seconds']:.0f} s; faults: {faults[0]} in all levels, {faults[1]} pairs")
    if options.json:
        options.json.write_text(json.dumps({"prompts": len(prompts), "judges": rows, "gold": gold}, indent=1) + "\n")


if __name__ == "__main__":
    main()
