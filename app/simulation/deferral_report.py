"""Replays of deferral as tables, for a terminal of 80 columns and for a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.domain.batch import Schedule
from app.simulation.comparison import Comparison, Row
from app.simulation.deferral import WINDOW_H, Load
from app.simulation.foresight import Forecasts
from app.simulation.report import terms
from app.simulation.summary import policies, spread

G_PER_KG = 1000.0
ALL = "total_"
"""Prefix of the figures with idle machines, and the embodied carbon of all their time."""
FIGURES = ("base_g", "saved_g", "saving")
BASE = "BASE"

Way = tuple[str, str, str | None]
"""Policy, schedule and forecast."""


@dataclass(frozen=True, kw_only=True)
class Table:
    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]

    @property
    def markdown(self) -> str:
        rows = [self.headings, ["---"] * len(self.headings), *self.lines]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""])


def tables_of(rows: Sequence[Row]) -> Sequence[Table]:
    """For rows of `app.simulation.deferral`, or of `app.simulation.together`."""
    return _together_tables(rows) if any(row["schedule"] == Schedule.ASAP for row in rows) else _deferral_tables(rows)


def _deferral_tables(rows: Sequence[Row]) -> Sequence[Table]:
    """Savings by zone-month and forecast: as attributed to the work, and of all that the machines emit."""
    kinds = list(dict.fromkeys(row["forecast"] for row in rows))
    stretches: dict[str, dict[str, Row]] = {}
    for row in rows:
        stretches.setdefault(f"{row['zone']} {row['month']}".strip(), {})[row["forecast"]] = row
    if len(stretches) > 1:
        stretches["mean"] = {kind: _mean([row for row in rows if row["forecast"] == kind]) for kind in kinds}
    tables = [
        Table(
            title=title,
            headings=("zone", "at once", *kinds),
            lines=[
                (name, _kg(own[kinds[0]][f"{prefix}base_g"]), *(_saved(own[kind], prefix) for kind in kinds))
                for name, own in stretches.items()
            ],
        )
        for prefix, title in (("", "Attributed to the work"), (ALL, "With idle machines"))
    ]
    return tables + _ratios(stretches)


def _mean(rows: Sequence[Row]) -> Row:
    return {
        f"{prefix}{name}": float(np.mean([row[f"{prefix}{name}"] for row in rows]))
        for prefix in ("", ALL)
        for name in FIGURES
    }


def _kg(grams: float) -> str:
    return f"{grams / G_PER_KG:.0f} kg"


def _saved(row: Row, prefix: str) -> str:
    return f"{row[f'{prefix}saving']:.1%} {_kg(row[f'{prefix}saved_g'])}"


def _ratios(stretches: Mapping[str, Mapping[str, Row]]) -> list[Table]:
    """The saving with the built-in forecast, as multiples of the saving with others."""
    own, *others = (kind.value for kind in Forecasts)
    known = [kind for kind in others if kind in next(iter(stretches.values()))]
    if not known or own not in next(iter(stretches.values())):
        return []
    lines = [
        (name, *(_ratio(rows[own]["saving"], rows[kind]["saving"]) for kind in known))
        for name, rows in stretches.items()
    ]
    return [Table(title="Built-in, in multiples of", headings=("zone", *known), lines=lines)]


def _ratio(saving: float, other: float) -> str:
    return f"{saving / other:.2f}" if other > 0 else "-"


def _together_tables(rows: Sequence[Row]) -> Sequence[Table]:
    """Every policy at once and deferred, over all zone-months and seeds; then by zone-month."""
    overall = Table(title="Directives and deferral", headings=TOGETHER, lines=_together(rows))
    ways, names = _ways(rows), list(dict.fromkeys((row["zone"], row["month"]) for row in rows))
    lines = []
    for zone, month in names:
        savings = {way: _mean_saving(_of(rows, way, zone, month)) for way in ways}
        cells = [f"{savings[way]:.1%}{_multiplied(savings, way)}" for way in ways]
        lines.append((f"{zone} {month}", *cells))
    return [overall, Table(title="Saving (if multiplied)", headings=("zone", *map(_label, ways)), lines=lines)]


def _mean_saving(rows: Sequence[Row]) -> float:
    return float(np.mean([row["saving"] for row in rows]))


def _multiplied(savings: Mapping[Way, float], way: Way) -> str:
    """What directives and deferral would save if each kept its share of what the other leaves."""
    policy, schedule, forecast = way
    alone = savings.get((policy, Schedule.ASAP.value, None)), savings.get((BASE, schedule, forecast))
    if policy == BASE or schedule == Schedule.ASAP or None in alone:
        return ""
    return f" ({1 - np.prod([1 - saving for saving in alone if saving is not None]):.1%})"


TOGETHER = ("policy", "saving", "with idle", "overall", "worst", "s/request", "missed")


def _ways(rows: Sequence[Row]) -> Sequence[Way]:
    """Without BASE at once, against which all are held."""
    found = dict.fromkeys((row["policy"], str(row["schedule"]), row["forecast"]) for row in rows)
    return [way for name in policies(rows) for way in found if way[0] == name][1:]


def _of(rows: Sequence[Row], way: Way, zone: str | None = None, month: str | None = None) -> Sequence[Row]:
    return [
        row
        for row in rows
        if (row["policy"], row["schedule"], row["forecast"]) == way
        and zone in (None, row["zone"])
        and month in (None, row["month"])
    ]


def _label(way: Way) -> str:
    policy, schedule, forecast = way
    return policy if schedule == Schedule.ASAP else f"{policy}, {forecast}"


def _together(rows: Sequence[Row]) -> Sequence[Sequence[str]]:
    lines = []
    for way in _ways(rows):
        own = _of(rows, way)
        missed = str(sum(row["missed"] for row in own)) if way[1] == Schedule.CARBON else ""
        means = (_figure(own, f"{ALL}saving", ".1%"), _figure(own, "preference", ".1%"))
        worst, device_s = spread(own, "worst_preference"), _figure(own, "device_s_per_request", ".2f")
        lines.append((_label(way), str(spread(own, "saving")), *means, str(worst or "-"), device_s, missed))
    return lines


def _figure(rows: Sequence[Row], name: str, form: str) -> str:
    found = spread(rows, name)
    return f"{found.mean:{form}}" if found else "-"


def legend(comparison: Comparison, load: Load, rows: Sequence[Row]) -> list[str]:
    """What the figures mean and what they rest on."""
    deferred = [row for row in rows if row["schedule"] == Schedule.CARBON]
    counts = {name: sum(row[name] for row in deferred) for name in ("batches", "missed", "told", "missed_promised")}
    lines = [
        f"{load.requests_per_hour} requests an hour in batches of {load.shards} shards, to end within {WINDOW_H} h; "
        f"capacity for {load.capacity:g} times as much, {load.idle_w:g} W idle. Planned anew every hour.",
        f"{counts['batches']} batches: {counts['missed']} missed their deadline, {counts['missed_promised']} of them "
        f"promised; {counts['told']} were told at admission that they might.",
        "Saving: grams against always L0, each request in the hour of its arrival; attributional, average intensity, "
        "GPU energy only. With idle: of all that the machines emit, at work and idle.",
    ]
    if len(deferred) == len(rows):
        return lines
    return [
        *lines,
        terms(comparison, rows),
        "Overall, worst: preference, as in the replay of policies. s/request: mean device-seconds. Evaluation is "
        "charged. If multiplied: were the work that is left as easily moved.",
    ]


def write(tables: Sequence[Table], notes: Sequence[str], folder: Path) -> Path:
    """Write `report.md` into `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.md"
    lines = ["# Replay of deferral", "", *(f"{note}\n" for note in notes), *(table.markdown for table in tables)]
    page.write_text("\n".join(lines), encoding="utf-8")
    return page
