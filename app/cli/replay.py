"""`sprout replay`: policies run over recorded history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich import box
from rich.console import Console
from rich.table import Table

from app.domain.batch import Schedule
from app.domain.errors import ConfigurationError
from app.domain.optimizer import FloorMode, FloorRule
from app.simulation.comparison import POLICIES, Comparison, Row, run
from app.simulation.deferral import Deferral, Load
from app.simulation.deferral import run as defer
from app.simulation.deferral_report import legend as deferral_legend
from app.simulation.deferral_report import tables_of
from app.simulation.deferral_report import write as write_deferral
from app.simulation.foresight import Forecasts
from app.simulation.partition import Workloads
from app.simulation.replay import Conditions
from app.simulation.report import BRIEF_HEADINGS, brief_cells, legend, write
from app.simulation.summary import summarize
from app.simulation.together import run as together

DEFAULTS = Comparison(dataset=Path())
LOAD = Load()


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
@click.option(
    "--schedule",
    type=click.Choice([schedule.value for schedule in Schedule]),
    default=Schedule.ASAP.value,
    show_default=True,
    help="`carbon` moves work to clean hours, at most 24 hours on: alone, or together with the directives of --policy.",
)
@click.option(
    "--forecast",
    "forecasts",
    multiple=True,
    type=click.Choice([kind.value for kind in Forecasts]),
    help="To move work by; may be given again. By default all, and with --policy built-in.",
)
@click.option(
    "--recorded",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV of forecasts by the day, to move work by in place of DATASET's zone-months.",
)
@click.option(
    "--capacity",
    type=click.FloatRange(1),
    default=LOAD.capacity,
    show_default=True,
    help="Of the machines that moved work runs on, in multiples of what arrives.",
)
@click.option("--idle-w", type=click.FloatRange(0), default=LOAD.idle_w, show_default=True, help="Of an idle device.")
@click.option("--as-published", is_flag=True, help="The authors' replay with its flaws, beside their figures.")
@click.option("--seeds", type=click.IntRange(1), default=DEFAULTS.seeds, show_default=True, help="Random halves.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write every run's row.")
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Write a page with plots here.")
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    *,
    json_path: Path | None,
    report: Path | None,
    schedule: str,
    forecasts: Sequence[str],
    recorded: Path | None,
    capacity: float,
    idle_w: float,
    **options: Any,
) -> None:
    """Run policies over the recorded history of DATASET, hour by hour.

    Policies learn from rounds of evaluation on one half of the judged requests and are scored on the other; they see
    the past only. docs/replay.md says what every figure means.
    """
    _check_together(ctx)
    comparison = _comparison(**options)
    _check_targets(json_path, report)
    if schedule == Schedule.CARBON:
        kinds = tuple(Forecasts(name) for name in dict.fromkeys(forecasts))
        load = replace(
            LOAD, requests_per_hour=comparison.conditions.requests_per_hour, capacity=capacity, idle_w=idle_w
        )
        alone = not options["policies"]
        rows = _deferred(comparison, load, kinds, recorded) if alone else together(comparison, load, kinds)
        page = _show_deferred(comparison, load, rows, report)
    else:
        rows = run(comparison)
        _show(comparison, rows)
        page = write(comparison, rows, report) if report else None
    if json_path:
        json_path.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    if page:
        click.echo(f"Report: {page}")


OF_DEFERRAL = ("forecasts", "recorded", "capacity", "idle_w")
NOT_OF_RECORDED = ("policies", "zone", "month")


def _check_together(ctx: click.Context) -> None:
    """Raises UsageError where one option would be passed over in silence because of another."""
    given = {
        option.name: option.opts[0]
        for option in ctx.command.params
        if ctx.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    }
    deferred = ctx.params["schedule"] == Schedule.CARBON
    refused = [(name, "needs --schedule carbon") for name in OF_DEFERRAL if not deferred]
    refused += [("as_published", "cannot be had with --schedule carbon")] if deferred else []
    refused += [(name, "cannot be had with --recorded") for name in NOT_OF_RECORDED if "recorded" in given]
    for name, why in refused:
        if name in given:
            raise click.UsageError(f"{given[name]} {why}.")


def _deferred(
    comparison: Comparison, load: Load, forecasts: tuple[Forecasts, ...], recorded: Path | None
) -> Sequence[Row]:
    return defer(
        Deferral(
            dataset=comparison.dataset,
            recorded=recorded,
            forecasts=forecasts,
            load=load,
            zone=comparison.zone,
            month=comparison.month,
        )
    )


def _show_deferred(comparison: Comparison, load: Load, rows: Sequence[Row], report: Path | None) -> Path | None:
    tables, notes = tables_of(rows), deferral_legend(comparison, load, rows)
    console = Console()
    for table in tables:
        shown = Table(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for place, heading in enumerate(table.headings):
            shown.add_column(heading, no_wrap=place > 0)
        for line in table.lines:
            shown.add_row(*line)
        console.print(shown)
    for note in notes:
        console.print(note, highlight=False)
    return write_deferral(tables, notes, report) if report else None


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
