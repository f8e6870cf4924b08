"""The closing table of a run: what was answered at which level, and what it used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from app.domain.batch import Schedule
from app.domain.errors import MixedBases
from app.domain.intensity import Origin, one_basis
from app.domain.units import kwh
from app.services.l0_cost import L0Method

Figures = Mapping[str, Any]


def show_reports(console: Console, reports: Sequence[Figures]) -> None:
    """One row per workload and level over all `reports`, totals, and the estimate of L0's cost.

    A run that was priced on several accounting bases has a table for each: their footprints have no sum.
    """
    levels = [row for report in reports for row in report["levels"]]
    bases = _bases(levels)
    for number, basis in enumerate(bases or [""]):
        # What never ran has no basis, and stands in the first table.
        own = [row for row in levels if row["intensity_basis"] == basis or not (number or row["intensity_basis"])]
        title = "What this run used" + (f", footprint on the basis {basis}" if len(bases) > 1 else "")
        console.print(_table(title, own))
    for line in notes(reports, [row for row in levels if row["answered"]]):
        console.print(line, highlight=False, soft_wrap=True)


def _bases(rows: Iterable[Figures]) -> Sequence[str]:
    return sorted({row["intensity_basis"] for row in rows} - {""})


def _table(title: str, levels: Sequence[Figures]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("workload", no_wrap=True)
    table.add_column("level")
    for heading in ("requests", "tokens in", "out", "mean", "energy", "footprint"):
        table.add_column(heading, justify="right", no_wrap=True)
    answered = [row for row in levels if row["answered"]]
    for workload, level in sorted({(row["workload"], row["level"]) for row in answered}):
        rows = [row for row in answered if (row["workload"], row["level"]) == (workload, level)]
        table.add_row(workload, f"L{level}", *_cells(rows))
    table.add_section()
    table.add_row("answered", "", *_cells(answered))
    failed = [row for row in levels if not row["answered"]]
    if failed:
        table.add_row("failed", "", *_cells(failed))
    return table


def _cells(rows: Sequence[Figures]) -> Iterable[str]:
    requests, tokens = _sum(rows, "requests"), _sum(rows, "completion_tokens")
    return (
        f"{requests:.0f}",
        f"{_sum(rows, 'prompt_tokens'):.0f}",
        f"{tokens:.0f}",
        f"{tokens / requests:.1f}" if requests else "-",
        energy(_sum(rows, "energy_j")),
        grams(_sum(rows, "operational_g") + _sum(rows, "embodied_g")),
    )


def _sum(rows: Iterable[Figures], name: str) -> float:
    return float(sum(row[name] for row in rows))


def energy(joules: float) -> str:
    """Watt-hours, as people read them."""
    watt_hours = kwh(joules) * 1000
    return f"{watt_hours / 1000:.3f} kWh" if watt_hours >= 1000 else f"{watt_hours:.3f} Wh"


def grams(amount: float) -> str:
    """Grams of CO2 equivalent; milligrams where grams would read 0."""
    return f"{amount:.2f} g" if abs(amount) >= 1 else f"{amount * 1000:.2f} mg"


def notes(reports: Sequence[Figures], answered: Sequence[Figures]) -> Sequence[str]:
    """What the figures rest on, line by line."""
    bases = sorted({basis for report in reports for basis in report["energy_bases"]})
    lines = [
        f"Energy is {' and '.join(bases) or 'not known'}"
        f"{' (from watts in the settings and CPU time, no sensor)' if 'modelled' in bases else ''}; "
        f"carbon intensity: {_carbon(reports)}; footprint = operational + embodied.",
        *_settled(answered),
        *_l0_lines(reports, answered),
        *_hindsight_lines(reports),
    ]
    machines = [report["machines"] for report in reports]
    used, idle = _sum(machines, "energy_j"), _sum(machines, "idle_energy_j")
    own = sum(_sum(report["levels"], "energy_j") for report in reports)
    if used:
        other = max(used - idle - own, 0.0)
        lines.append(
            f"The workers metered {energy(used)} meanwhile: {energy(own)} for this run, {energy(idle)} idle, "
            f"{energy(other)} other, repeated or aborted work."
        )
    for workload, mix in sorted({name: mix for report in reports for name, mix in report["mixes"].items()}.items()):
        shares = ", ".join(f"L{level} {share:.0%}" for level, share in enumerate(mix["probabilities"]))
        mean = f", mean of {mix['mixes']} classes of its prompts" if mix["mixes"] > 1 else ""
        lines.append(f"Directive mix of {workload} now{mean}: {shares}; evidence of its quality: {mix['evidence']}.")
    return lines


HAD = {
    Origin.ESTIMATED: "an estimate",
    Origin.LAST_GOOD: "the last known hour's figure",
    Origin.FORECAST: "a forecast",
    Origin.ZONE_MEAN: "the zone's mean",
    Origin.STATIC: "the declared figure",
}
"""How figures were had that are not the measured ones of their hour."""


def _carbon(reports: Sequence[Figures]) -> str:
    """The bases, and how many requests were priced with something else than the measured figure of their hour."""
    counts = [count for report in reports for count in report["intensity_origins"]]
    bases = sorted({count["basis"] for count in counts})
    total = sum(count["requests"] for count in counts)
    by_origin = {origin: sum(count["requests"] for count in counts if count["origin"] == origin) for origin in HAD}
    parts = [
        f"{number} of {total} requests priced with {HAD[origin]}" for origin, number in by_origin.items() if number
    ]
    return "; ".join([" and ".join(bases) or "not known", *parts])


def _settled(answered: Sequence[Figures]) -> Iterable[str]:
    """What was priced anew since it was recorded, basis by basis."""
    for basis in _bases(answered):
        rows = [row for row in answered if row["intensity_basis"] == basis and row["first_operational_g"] is not None]
        if rows:
            yield (
                f"Figures of some hours changed since ({basis}): {grams(_sum(rows, 'operational_g'))} operational, "
                f"first priced at {grams(_sum(rows, 'first_operational_g'))}. Output files keep the first figures."
            )


def _l0_lines(reports: Sequence[Figures], answered: Sequence[Figures]) -> Iterable[str]:
    estimates = [estimate for report in reports for estimate in report["l0"]]
    if not answered:
        return
    try:
        one_basis(_bases(answered))
    except MixedBases as exc:
        yield f"What L0 would have cost: not estimated. {exc.message}"
        return
    if not all(map(_is_estimated, reports)):
        yield "What L0 would have cost: not known yet (too few requests of this workload ran at L0)."
        return
    if all(estimate["method"] == L0Method.PINNED for estimate in estimates):
        yield "What L0 would have cost: not estimated, because every level was pinned."
        return
    joules, gram = _sum(estimates, "energy_j"), _sum(estimates, "footprint_g")
    spent = _sum(answered, "operational_g") + _sum(answered, "embodied_g")
    decided = [estimate["method"] for estimate in estimates if estimate["method"] not in UNDECIDED]
    basis = "; ".join(sorted(set(decided or (estimate["method"] for estimate in estimates))))
    would = f"L0 would have cost (estimate) {energy(joules)} and {grams(gram)}"
    if L0Method.PRIOR in decided:
        yield f"{would}. Nothing is claimed as saved: this rests on a {basis}."
        return
    low, high = (sum(estimate["footprint_g_interval"][end] for estimate in estimates) for end in (0, 1))
    change = f"{abs(gram - spent) / gram:.0%} ({grams(abs(gram - spent))})" if gram else "nothing"
    verdict = f"this run used {change} {'less' if gram >= spent else 'more'}"
    if low <= spent <= high:
        verdict += ", which is within the interval" if high > low else ""
    within = f", 90 % interval {grams(low)} to {grams(high)}" if high > low else ""
    yield f"{would}{within}: {verdict}. Rests on: {basis}."


def _hindsight_lines(reports: Sequence[Figures]) -> Iterable[str]:
    """What waiting brought, of batches that waited for cleaner hours."""
    for found in (report["hindsight"] for report in reports):
        if found is None or found["schedule"] != Schedule.CARBON:
            continue
        actual = found["actual_g"]
        line = (
            f"It waited for cleaner hours: {grams(actual)}, planned were {grams(found['planned_g'])}; "
            f"{found['share_as_planned']:.0%} of the requests ran in the hours of the first plan."
        )
        if found["at_once_g"] is not None:
            line += f" Run at once, the same would have been {grams(found['at_once_g'])} (estimate)."
        if found["cleanest_g"] is not None:
            spare = max(actual - found["cleanest_g"], 0.0)
            line += f" Forecast errors and lack of room cost {grams(spare)}."
        yield f"{line} Attributional, {found['intensity_basis']}."


UNDECIDED = frozenset({L0Method.ACTUAL, L0Method.PINNED})
"""Parts of a run in which the mix decided nothing say nothing of what it saved."""


def _is_estimated(report: Figures) -> bool:
    """Whether there is an estimate of every workload that has answers."""
    answered = {row["workload"] for row in report["levels"] if row["answered"]}
    return answered <= {estimate["workload"] for estimate in report["l0"]}
