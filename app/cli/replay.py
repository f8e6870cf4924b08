"""`sprout replay`: policies run over recorded history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from app.domain.errors import ConfigurationError
from app.domain.optimizer import FloorMode, FloorRule
from app.simulation.comparison import POLICIES, Comparison, Row, run
from app.simulation.partition import Workloads
from app.simulation.replay import Conditions
from app.simulation.report import BRIEF_HEADINGS, brief_cells, legend, write
from app.simulation.summary import summarize

DEFAULTS = Comparison(dataset=Path())


class _ManyPolicies(click.Command):
    """Takes `--policy A B` for `--policy A --policy B`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        following = False
        for word in args:
            if following and word.upper() in POLICIES and spread[-1] != "--policy":
                spread.append("--policy")
            elif not (following and spread[-1] == "--policy"):
                following = word == "--policy"
            spread.append(word)
        return super().parse_args(ctx, spread)


@click.command(cls=_ManyPolicies)
@click.argument("dataset", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--fit",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Dataset to learn from, so that all of DATASET is scored; by default a random half of DATASET.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(POLICIES, case_sensitive=False),
    help="Several may follow; by default all.",
)
@click.option(
    "--workloads",
    type=click.Choice([kind.value for kind in Workloads]),
    default=DEFAULTS.workloads.value,
    show_default=True,
    help="Classes of prompts that OURS decides for.",
)
@click.option(
    "--strata/--no-strata",
    default=DEFAULTS.strata,
    show_default=True,
    help="Tell prompts inside a workload apart by their expected energy.",
)
@click.option(
    "--floor-mode",
    type=click.Choice([mode.value for mode in FloorMode]),
    default=DEFAULTS.rule.mode.value,
    show_default=True,
    help="Whose quality OURS keeps; the paper's policies always take the service.",
)
@click.option(
    "--xi",
    type=click.FloatRange(0, 1),
    default=DEFAULTS.rule.xi,
    show_default=True,
    help="Fraction of L0's quality that may be given up in the dirtiest hour.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=DEFAULTS.confidence,
    show_default=True,
    help="With which a claimed quality of OURS holds; 0.5 takes means at face value.",
)
@click.option(
    "--quality-worth",
    type=click.FloatRange(0),
    default=DEFAULTS.rule.quality_worth,
    show_default=True,
    help="Share of L0's footprint that all of L0's quality is worth to OURS; 0 is the paper's objective.",
)
@click.option(
    "--kept-at-l0",
    type=click.FloatRange(0, 1),
    default=DEFAULTS.rule.kept_at_l0,
    show_default=True,
    help="Share of requests that OURS keeps at L0 to measure what is saved.",
)
@click.option(
    "--requests-per-hour",
    type=click.IntRange(1),
    default=DEFAULTS.conditions.requests_per_hour,
    show_default=True,
    help="Traffic that rounds of evaluation are paid from.",
)
@click.option("--zone", help="Grid zone; by default all of the dataset's.")
@click.option("--month", help="Such as 2023-02; by default all of the dataset's.")
@click.option("--as-published", is_flag=True, help="The authors' replay with its flaws, beside their figures.")
@click.option("--seeds", type=click.IntRange(1), default=DEFAULTS.seeds, show_default=True, help="Random halves.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write every run's row.")
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Write a page with plots here.")
def replay(json_path: Path | None, report: Path | None, **options: Any) -> None:
    """Run policies over the recorded history of DATASET, hour by hour.

    Policies learn from rounds of evaluation on one half of the judged requests and are scored on the other; they see
    the past only. docs/replay.md says what every figure means.
    """
    comparison = _comparison(**options)
    _check_targets(json_path, report)
    rows = run(comparison)
    _show(comparison, rows)
    if json_path:
        json_path.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    if report:
        click.echo(f"Report: {write(comparison, rows, report)}")


def _comparison(
    *,
    policies: Sequence[str],
    workloads: str,
    floor_mode: str,
    xi: float,
    quality_worth: float,
    kept_at_l0: float,
    requests_per_hour: int,
    **others: Any,
) -> Comparison:
    return Comparison(
        policies=tuple(dict.fromkeys(policies)) or POLICIES,
        workloads=Workloads(workloads),
        rule=FloorRule(mode=FloorMode(floor_mode), xi=xi, quality_worth=quality_worth, kept_at_l0=kept_at_l0),
        conditions=Conditions(requests_per_hour=requests_per_hour),
        **others,
    )


def _check_targets(json_path: Path | None, report: Path | None) -> None:
    """Before minutes of replay, rather than after them.

    Raises:
        ConfigurationError: one of them cannot be written.
    """
    try:
        for folder in (json_path.parent if json_path else None, report):
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
        if json_path:
            json_path.touch()
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename} cannot be written: {exc.strerror}. Name another place.") from exc


def _show(comparison: Comparison, rows: Sequence[Row]) -> None:
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in BRIEF_HEADINGS:
        table.add_column(heading, no_wrap=heading != "which", overflow="fold")
    for summary in summarize(rows):
        table.add_row(*brief_cells(summary))
    console.print(table)
    for line in legend(comparison, rows):
        console.print(line, highlight=False)
    if comparison.as_published:
        console.print("--report DIR puts each figure beside the published one.", highlight=False)
