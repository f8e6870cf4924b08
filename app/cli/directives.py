"""`sprout directives`: the current mixes, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from app.cli.stack import running
from app.domain.intensity import Origin
from app.settings import load

Figures = Mapping[str, Any]


@click.command()
@click.option("--json", "raw", is_flag=True, help="Print the API's answer as it is.")
def directives(raw: bool) -> None:
    """Show the current directive mix of every workload, and why it is what it is."""
    with running(load()) as client:
        found = client.directives()
    if raw:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        show(Console(), found)


def show(console: Console, found: Figures) -> None:
    """A row for each mix, strata below their workload, and what all of them rest on."""
    run, mixes = found["run"], found["mixes"]
    if run is None:
        console.print("No directive mix has been computed yet: the scheduler does so at its start and every period.")
        return
    if mixes:
        console.print(_table(mixes))
    else:
        console.print("No workload has been seen yet.")
    for line in (*_reasons(run), *_kept(run, mixes)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(mixes: Sequence[Figures]) -> Table:
    table = Table(title="Directive mixes", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("workload", overflow="fold")
    levels = max(len(mix["probabilities"]) for mix in mixes)
    for heading in (*(f"L{level}" for level in range(levels)), "energy", "of L0", "quality"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("limit")
    table.add_column("evidence")
    for floor, members in groupby(sorted(mixes, key=_place), key=lambda mix: mix["floor"]):
        strata = list(members)
        if strata[0]["workload"] != floor:
            table.add_row(floor)
        for mix in strata:
            name = mix["workload"] if mix["workload"] == floor else f"  {mix['workload'].removeprefix(floor)}"
            table.add_row(name, *_cells(mix, levels))
    return table


def _place(mix: Figures) -> tuple[str, int, str]:
    """Strata stand behind their workload, in the order of their numbers."""
    return mix["floor"], len(mix["workload"]), mix["workload"]


def _cells(mix: Figures, levels: int) -> Iterator[str]:
    shares = [*mix["probabilities"], *(0.0 for _ in range(levels - len(mix["probabilities"])))]
    yield from (f"{share:.0%}" for share in shares)
    energy_j = _expected(mix, "energy_j")
    at_l0 = mix["levels"].get("L0", {}).get("energy_j")
    yield f"{energy_j:.1f} J" if energy_j is not None else "-"
    yield f"{energy_j / at_l0:.0%}" if energy_j is not None and at_l0 else "-"
    gain, base = _expected(mix, "claimed_gain"), mix["base_quality"]
    yield f"{gain / base:+.1%}" if gain is not None and base else "-"
    yield _limit(mix)
    yield f"{mix['evidence']}, {mix['verdicts']:.0f} verdicts" if mix["verdicts"] else mix["evidence"]


def _expected(mix: Figures, figure: str) -> float | None:
    """Mean over the mix; None when it is not known of a level in use."""
    parts = [
        (share, mix["levels"].get(f"L{level}", {}).get(figure))
        for level, share in enumerate(mix["probabilities"])
        if share
    ]
    return None if any(value is None for _, value in parts) else sum(share * value for share, value in parts)


def _limit(mix: Figures) -> str:
    """What keeps the mix from saving more."""
    if mix["binding"]:
        return "quality floor"
    return "only L0 is known" if mix["levels"].keys() <= {"L0"} else "none"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def _reasons(run: Figures) -> Iterable[str]:
    computed = f"The latest run, of {_moment(run['created_at'])}"
    if run["outcome"] == "solved":
        yield f"{computed}, solved it: {run['reason']}."
        yield f"Solver: {run['solver_status']}"
    else:
        yield f"{computed}, fell back: {run['reason']}"
    point = run["intensity"]
    if point is None:
        yield "Carbon intensity: not known."
    else:
        age = f", {point['age_h']} h old" if point["age_h"] else ""
        # Runs from before figures said how they were had went by stored hours.
        origin = point.get("origin", Origin.MEASURED)
        had = "" if origin in (Origin.MEASURED, Origin.LAST_GOOD, Origin.STATIC) else f", {origin}"
        yield (
            f"Carbon intensity of {point['zone']}: {point['intensity_g_per_kwh']:.0f} gCO2eq/kWh since "
            f"{_moment(point['start'])}{age} ({point['basis']}{had}, from {point['provider']}); phi {run['phi']:.2f} "
            f"in the range of the past {run['past_hours']} hours that are known."
        )
    rule = run["policy"]
    yield (
        f"Policy {rule['name']}: floor {rule['mode']}, xi {rule['xi']:g}, worth of quality {rule['quality_worth']:g}, "
        f"confidence {rule['confidence']:g}, {rule['kept_at_l0']:.1%} kept at L0."
    )
    yield "Quality is the claimed difference to L0's, relative to L0's; energy is what a request is expected to use."


def _kept(run: Figures, mixes: Sequence[Figures]) -> Iterator[str]:
    """Which mixes the latest run left as they were."""
    older = sorted((mix["created_at"], mix["workload"]) for mix in mixes if mix["created_at"] != run["created_at"])
    for moment, kept in groupby(older, key=lambda mix: mix[0]):
        yield f"Of {_moment(moment)}, an earlier run: {', '.join(name for _, name in kept)}."
