"""The closing table of a run: what was answered at which level, and what it used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from app.domain.units import kwh
from app.services.l0_cost import L0Method

Figures = Mapping[str, Any]


def show_reports(console: Console, reports: Sequence[Figures]) -> None:
    """One row per workload and level over all `reports`, totals, and the estimate of L0's cost."""
    levels = [row for report in reports for row in report["levels"]]
    answered = [row for row in levels if row["answered"]]
    table = Table(title="What this run used", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("workload", no_wrap=True)
    table.add_column("level")
    for heading in ("requests", "tokens in", "out", "mean", "energy", "footprint"):
        table.add_column(heading, justify="right", no_wrap=True)
    for workload, level in sorted({(row["workload"], row["level"]) for row in answered}):
        rows = [row for row in answered if (row["workload"], row["level"]) == (workload, level)]
        table.add_row(workload, f"L{level}", *_cells(rows))
    table.add_section()
    table.add_row("answered", "", *_cells(answered))
    failed = [row for row in levels if not row["answered"]]
    if failed:
        table.add_row("failed", "", *_cells(failed))
    console.print(table)
    for line in notes(reports, answered):
        console.print(line, highlight=False, soft_wrap=True)


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
    carbon = sorted({basis for report in reports for basis in report["intensity_bases"]})
    lines = [
        f"Energy is {' and '.join(bases) or 'not known'}"
        f"{' (from watts in the settings and CPU time, no sensor)' if 'modelled' in bases else ''}; "
        f"carbon intensity: {', '.join(carbon) or 'not known'}; footprint = operational + embodied.",
        *_l0_lines(reports, answered),
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


def _l0_lines(reports: Sequence[Figures], answered: Sequence[Figures]) -> Iterable[str]:
    estimates = [estimate for report in reports for estimate in report["l0"]]
    if not answered:
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


UNDECIDED = frozenset({L0Method.ACTUAL, L0Method.PINNED})
"""Parts of a run in which the mix decided nothing say nothing of what it saved."""


def _is_estimated(report: Figures) -> bool:
    """Whether there is an estimate of every workload that has answers."""
    answered = {row["workload"] for row in report["levels"] if row["answered"]}
    return answered <= {estimate["workload"] for estimate in report["l0"]}
