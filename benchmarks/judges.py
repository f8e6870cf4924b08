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
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from judge_agreement import Prompt, against_gold, all_levels, bias_of, pair_scores, pairs
from judge_figures import figures, show, show_bias, show_gold

from app.domain.judging import Comparison, Kind, Opinion, Question
from app.ports import Judge
from workers.judges.chat import ChatJudge
from workers.judges.reference import ReferenceJudge

PLAIN = ("reference", "longest", "shortest", "random")
TIMEOUT_S = 600.0
"""Of one request: a model on two cores answers many at once, and each of them slowly."""


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
