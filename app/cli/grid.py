"""`sprout grid`: carbon intensity now and ahead, and whether its source works."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from app.cli.stack import database_url, running
from app.domain.batch import LONGEST_WINDOW_H
from app.domain.errors import ConfigurationError, IntensityUnavailable, ServiceUnavailable, SproutError
from app.domain.intensity import HOUR, IntensityPoint
from app.domain.units import hour_of
from app.grid.providers import provider
from app.ports import IntensityProvider
from app.services import intensity
from app.services.context import SystemClock
from app.settings import Settings, load
from app.store.database import Database

Figures = Mapping[str, Any]

CHECKED = timedelta(hours=24)
SHOWN_H = 24
BAR = 24
"""Characters of the longest bar."""

_zone = click.option("--zone", help="Only this zone of SPROUT_ZONES.")
_raw = click.option("--json", "raw", is_flag=True, help="Print the API's answer as it is.")


@click.group()
def grid() -> None:
    """Carbon intensity of the grid: now, ahead, and where it comes from."""


@grid.command()
@_zone
@_raw
def now(zone: str | None, raw: bool) -> None:
    """Show the present figure of every zone, how it was had, and the past 24 hours."""
    zones = _ask(zone)
    if raw:
        click.echo(json.dumps(zones, ensure_ascii=False, indent=2))
    else:
        show_now(Console(), zones)


@grid.command()
@_zone
@click.option(
    "--hours", type=click.IntRange(1, LONGEST_WINDOW_H), default=SHOWN_H, show_default=True, help="How far ahead."
)
@_raw
def forecast(zone: str | None, hours: int, raw: bool) -> None:
    """Show what is expected of the coming hours, by whom, and how earlier forecasts fared."""
    zones = _ask(zone)
    if raw:
        click.echo(json.dumps(zones, ensure_ascii=False, indent=2))
        return
    console = Console()
    for entry in zones:
        show_forecast(console, entry, hours)


def _ask(zone: str | None) -> Sequence[Figures]:
    with running(load()) as client:
        return _chosen(client.intensity()["zones"], zone)


def _chosen(zones: Sequence[Figures], zone: str | None) -> Sequence[Figures]:
    known = [entry["zone"] for entry in zones]
    if zone is not None and zone not in known:
        raise click.BadParameter(f"there is no zone '{zone}', only {', '.join(known)}.", param_hint="--zone")
    return [entry for entry in zones if zone in (None, entry["zone"])]


def show_now(console: Console, zones: Sequence[Figures]) -> None:
    table = _table(
        "Carbon intensity now, and in the past 24 hours, gCO2eq/kWh", ("zone", "origin", "hour (UTC)", "from")
    )
    for heading in ("now", "min", "mean", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in zones:
        present, past = entry["present"], [hour["intensity_g_per_kwh"] for hour in entry["past"]]
        range_ = (min(past), sum(past) / len(past), max(past)) if past else ()
        cells = [f"{grams:.0f}" for grams in (present["intensity_g_per_kwh"], *range_)]
        hour = f"{datetime.fromisoformat(present['start']):%m-%d %H:%M}"
        table.add_row(entry["zone"], present["origin"], hour, present["provider"], *cells)
    console.print(table)
    working = ", ".join(f"{entry['zone']} {entry['devices']:.3g}" for entry in zones)
    console.print(f"Devices that work: {working}.", highlight=False, soft_wrap=True)
    for basis in sorted({entry["basis"] for entry in zones}):
        console.print(f"Basis: {basis}. Figures on another basis cannot be compared with these.", soft_wrap=True)


def show_forecast(console: Console, entry: Figures, hours: int) -> None:
    """The coming hours, and what forecasts of earlier ones were worth."""
    ahead = entry["forecast"][:hours]
    if not ahead:
        console.print(f"No forecast of {entry['zone']} is stored yet: one is learned from the stored hours.")
        return
    table = _table(f"Forecast of {entry['zone']}, gCO2eq/kWh, {entry['basis']}", ("hour (UTC)",))
    table.add_column("expected", justify="right", no_wrap=True)
    table.add_column("±, 9 of 10", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=BAR)
    table.add_column("by", overflow="fold")
    most = max(hour["intensity_g_per_kwh"] for hour in ahead)
    for hour in ahead:
        grams, error = hour["intensity_g_per_kwh"], hour["error_90"]
        bar = "█" * round(BAR * grams / most) if most else ""
        within = "-" if error is None else f"{error * grams:.0f}"
        start = f"{datetime.fromisoformat(hour['start']):%m-%d %H:%M}"
        table.add_row(start, f"{grams:.0f}", within, bar, hour["provider"])
    console.print(table)
    for line in (*_issues(ahead), *_scored(entry["scores"])):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(title: str, headings: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _issues(ahead: Sequence[Figures]) -> Iterator[str]:
    for name in dict.fromkeys(hour["provider"] for hour in ahead):
        issued = max(datetime.fromisoformat(hour["issued_at"]) for hour in ahead if hour["provider"] == name)
        yield f"Issued by {name}: {issued:%Y-%m-%d %H:%M} UTC."


def _scored(scores: Sequence[Figures]) -> Iterator[str]:
    if not scores:
        yield "No forecast has met its figure yet."
    for name in dict.fromkeys(score["provider"] for score in scores):
        own = [score for score in scores if score["provider"] == name]
        errors = ", ".join(
            f"{score['lead_h']} h {score['mape']:.1%}" if score["mape"] is not None else f"{score['lead_h']} h -"
            for score in own
        )
        zero = sum(score["zero_hours"] for score in own)
        left_out = f"; {zero} figures of 0 left out" if zero else ""
        yield f"Mean error of {name} by hours ahead, past 35 days: {errors}{left_out}."


@grid.command()
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="How far back.")
@_zone
def backfill(days: int, zone: str | None) -> None:
    """Fetch past hours into the database: the built-in forecast learns from them, and the ledger is settled."""
    settings = load()
    zones, source, moment = _own_zones(settings, zone), provider(settings), _now(settings)
    _check_stack(settings, zones)
    failed, past = False, "day" if days == 1 else f"{days} days"
    with closing(Database(database_url(settings))) as database:
        for name in zones:
            try:
                changed = intensity.backfill(database, settings, source, name, days, moment)
                click.echo(f"{name}: {changed} hours of the past {past} are new or have another figure.")
            except IntensityUnavailable as exc:
                failed = True
                click.echo(f"{name}: {exc.message}", err=True)
    if failed:
        sys.exit(1)


def _check_stack(settings: Settings, zones: Sequence[str]) -> None:
    """A running stack's database gets no figures that are not its own: the settings here may be others.

    Raises:
        ConfigurationError: a zone or the basis differs.
    """
    if settings.database_url is not None:
        return
    with running(settings) as client:
        known = {entry["zone"]: entry["basis"] for entry in client.intensity()["zones"]}
    for zone in zones:
        if known.get(zone) != settings.basis:
            raise ConfigurationError(
                f"The running stack has {', '.join(known)} on the basis {' and '.join({*known.values()})}, and the "
                f"settings here say {zone}, {settings.basis}: give this command the settings of the stack."
            )


@grid.command()
@_zone
def check(zone: str | None) -> None:
    """Ask the configured source, without a database, and say what it gives. Exits with 1 if it fails."""
    settings = load()
    zones = _own_zones(settings, zone)
    source = provider(settings)
    click.echo(f"Source: {source.name}. Basis: {settings.basis}.")
    moment = _now(settings)
    failed = False
    for name in zones:
        try:
            for line in checked(source, settings, name, moment):
                click.echo(f"{name}: {line}")
        except SproutError as exc:
            failed = True
            click.echo(f"{name}: {exc.message}", err=True)
    if failed:
        sys.exit(1)


def _now(settings: Settings) -> datetime:
    return SystemClock(speed=settings.clock_speed, start=settings.clock_start).now()


def _own_zones(settings: Settings, zone: str | None) -> Sequence[str]:
    return [entry["zone"] for entry in _chosen([{"zone": name} for name in settings.all_zones], zone)]


def checked(source: IntensityProvider, settings: Settings, zone: str, moment: datetime) -> Iterator[str]:
    """What the source gives of a zone, sentence by sentence.

    Raises:
        SproutError: it fails.
    """
    end = hour_of(moment) + HOUR
    points = intensity.fetch(source, settings.basis, zone, end - CHECKED, end)
    if not points:
        raise ServiceUnavailable(f"{source.name} answers, but knows none of the past 24 hours.")
    yield _hours(points, end)
    estimated = sum(point.is_estimated for point in points)
    yield f"{estimated} of them are estimates, which the source may revise." if estimated else "No hour is an estimate."
    ahead = source.forecast(zone, moment)
    if ahead is None:
        yield "It gives no forecast: the built-in one, learned from the stored hours, serves."
    else:
        hours = max((ahead.end - hour_of(moment)) // HOUR, 0)
        yield f"Its own forecast, issued {ahead.issued_at:%Y-%m-%d %H:%M} UTC, reaches {hours} hours ahead."


def _hours(points: Sequence[IntensityPoint], end: datetime) -> str:
    newest = points[-1]
    age = (end - HOUR - newest.start) // HOUR
    late = f", {age} h behind the present one" if age else ""
    return (
        f"{len(points)} of the past {CHECKED // HOUR} hours are known, the newest is {newest.start:%Y-%m-%d %H:%M} UTC "
        f"with {newest.intensity_g_per_kwh:.0f} gCO2eq/kWh{late}."
    )
