"""`sprout evaluations`: what is known of the quality of answers, and what is being done about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from app.cli.stack import running
from app.settings import load

Figures = Mapping[str, Any]
ROUNDS_SHOWN = 5


@click.command()
@click.option("--model", help="By default the installation's own.")
@click.option("--json", "raw", is_flag=True, help="Print the API's answer as it is.")
def evaluations(model: str | None, raw: bool) -> None:
    """Show how good answers are at each level, and when and why that is measured."""
    with running(load()) as client:
        found = client.evaluations(model)
    if raw:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        show(Console(), found)


def show(console: Console, found: Figures) -> None:
    """A row for each workload and level, one for each round, and what both rest on."""
    levels = found["levels"]
    if levels:
        console.print(_levels(levels, {each["workload"]: each for each in found["saved"]}))
    else:
        console.print("Nothing has been judged yet.")
    if found["rounds"]:
        console.print(_rounds(found["rounds"][:ROUNDS_SHOWN]))
    for line in _notes(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place > 1 else "left", overflow="fold")
    return table


def _levels(levels: Sequence[Figures], saved: Mapping[str, Figures]) -> Table:
    table = _table("Answers beside those at L0", "workload", "level", "verdicts", "win rate", "90 %", "saved")
    for each in levels:
        low, high = each["interval"]
        name = each["workload"] if each["kind"] == "preference" else f"{each['workload']} ({each['kind']})"
        table.add_row(
            name,
            f"L{each['level']}",
            f"{each['verdicts']:.0f}",
            f"{each['win_rate']:.1%}",
            f"{low:.1%} to {high:.1%}",
            _saved(saved.get(each["workload"])),
        )
    return table


def _saved(each: Figures | None) -> str:
    if each is None or not each["l0_footprint_g"]:
        return "-"
    return f"{1 - each['footprint_g'] / each['l0_footprint_g']:.0%}"


def _rounds(rounds: Sequence[Figures]) -> Table:
    table = _table("Rounds", "opened", "because", "judged", "failed", "waiting", "budget", "spent")
    for each in rounds:
        table.add_row(
            _moment(each["opened_at"]),
            each["reason"],
            *(str(each[name]) for name in ("judged", "failed", "waiting")),
            f"{each['budget_g']:.3g} g",
            f"{each['spent_g']:.3g} g",
        )
    return table


def _notes(found: Figures) -> Iterator[str]:
    decision = found["decision"]
    if decision is None:
        yield "No tick has decided about evaluation yet: the scheduler does so every minute."
    else:
        yield f"Now ({_moment(decision['at'])}, {decision['zone']}): {decision['reason'].rstrip('.')}."
    if found["judge"] == "none":
        yield "SPROUT_JUDGE names no judge: only answers to lines with a reference answer are held against it."
    for each in found["judges"]:
        yield (
            f"Judge {each['judge']}: position bias {each['position_bias']:+.0%} over {each['pairs']:.0f} pairs, length "
            f"bias {each['length_bias']:+.0%} (± {each['length_bias_sd']:.0%})"
            + ("." if each["is_believed"] else "; it mostly follows the place, and is not believed.")
        )
    overhead = found["overhead"]
    if overhead["share"] is not None:
        grams, share = overhead["footprint_g"], overhead["share"]
        yield f"Evaluation emitted {grams:.3g} g in 30 days, {share:.2%} of what was served."
    yield "Win rate: wins and half of the ties against L0's answer; 50 % is as good as L0."
    yield "Saved: of the workload at all levels, in 30 days."
    for event in found["events"]:
        yield f"{_moment(event['at'])}: {event['message']}"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
