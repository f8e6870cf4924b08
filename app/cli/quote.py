"""`sprout batch quote`: what a batch would emit and when it would end, before it is submitted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from app.cli.source import endpoint_of, first_model
from app.cli.stack import running
from app.cli.tables import grams
from app.domain.batch import Schedule
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import InvalidInput
from app.domain.request import WORKLOAD_KEY
from app.settings import load


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="INPUT.jsonl")
@click.option("--window", default="24h", show_default=True, help="Longest completion window, 1h to 7d.")
@click.option("--workload", help="Workload of every line that does not name its own.")
@click.option("--level", help="Level (L0, L1, L2) to which every line is pinned.")
@click.option("--zones", help="Zones it may run in, such as GB,FR, or `any`; by default the first of SPROUT_ZONES.")
@click.option("--json", "raw", is_flag=True, help="Print the API's answer as it is.")
def quote(source: Path, window: str, workload: str | None, level: str | None, zones: str | None, raw: bool) -> None:
    """Ask what INPUT.jsonl would emit, and when it would end, without submitting it.

    Its lines are counted by workload here; nothing is uploaded.
    """
    requests = count(source, workload or ENDPOINTS[endpoint_of(source)].workload)
    with running(load()) as client:
        found = client.quote(
            requests,
            completion_window=window,
            zones=zones,
            level=level,
            bytes=source.stat().st_size,
            model=first_model(source),
        )
    if raw:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        show(Console(), found)


def count(source: Path, workload: str) -> Mapping[str, int]:
    """Non-blank lines by the workload that they declare.

    Raises:
        InvalidInput: a line is no JSON object; it names the line.
    """
    found: Counter[str] = Counter()
    with source.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                found[_declared(line, number) or workload] += 1
    if not found:
        raise InvalidInput(f"{source} has no requests: write one JSON object per line.")
    return found


def _declared(line: bytes, number: int) -> str | None:
    try:
        name = ((json.loads(line)["body"]).get("metadata") or {}).get(WORKLOAD_KEY)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise InvalidInput(f"Line {number} is not a request: it needs custom_id, method, url and body.") from exc
    return name if isinstance(name, str) else None


def show(console: Console, found: Mapping[str, Any]) -> None:
    """A row for each option, and what the figures are."""
    table = Table(
        title=f"{found['requests']} requests", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for heading in ("schedule", "window"):
        table.add_column(heading, no_wrap=True)
    table.add_column("done by", no_wrap=True)
    for heading in ("footprint", "9 in 10 within"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("in time", no_wrap=True)
    for option in found["options"]:
        table.add_row(*_cells(option))
    console.print(table)
    late = [option for option in found["options"] if not option["in_time"]]
    if late:
        console.print(late[-1]["reason"], highlight=False, soft_wrap=True)
    console.print(
        f"Expected CO2eq, operational and embodied, {found['intensity_basis']}: attributional, so it does not say what "
        "the grid would have emitted without you. In time: even at half the measured capacity.",
        highlight=False,
        soft_wrap=True,
    )
    if any(option["footprint_g_interval"] is None for option in found["options"]):
        console.print("No interval yet: too few forecasts have met their hour to know how they err.", soft_wrap=True)


def _cells(option: Mapping[str, Any]) -> tuple[str, ...]:
    interval = option["footprint_g_interval"]
    asap = option["schedule"] == Schedule.ASAP
    return (
        str(option["schedule"]),
        "" if asap else f"{option['window_h']:.0f}h",
        f"{datetime.fromisoformat(option['expected_end']):%a %H:%M} UTC",
        grams(option["footprint_g"]),
        f"{grams(interval[0])} - {grams(interval[1])}" if interval else "-",
        "yes" if option["in_time"] else "no",
    )
