"""A comparison as a page of Markdown, with its plots beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from app.simulation import plots
from app.simulation.comparison import Comparison, Row
from app.simulation.summary import Reproduced, Spread, Summary, policies, reproduced, summarize

NOT_AVAILABLE = "not available"

HEADINGS = (
    "policy",
    "saving",
    "overall preference",
    "worst workload",
    "which",
    "evaluation",
    "rounds",
    "in cleanest third",
    "g/request",
)


def cells(summary: Summary) -> tuple[str, ...]:
    """The figures of one policy under HEADINGS."""
    return (
        summary.policy if summary.policy != "OURS" else f"OURS, {summary.floor_mode}, {summary.workloads}",
        with_lower(summary.saving),
        str(summary.preference) if summary.preference else NOT_AVAILABLE,
        with_lower(summary.worst) if summary.worst else NOT_AVAILABLE,
        summary.worst_workload,
        f"{summary.overhead:.2%}",
        f"{summary.rounds:.0f}",
        cleanness(summary),
        f"{summary.grams_per_request:.4f}",
    )


BRIEF_HEADINGS = ("policy", "saving", "overall", "worst", "which", "evaluation")


def brief_cells(summary: Summary) -> tuple[str, ...]:
    """The figures of one policy under BRIEF_HEADINGS, which fit a terminal of 80 columns."""
    return (
        summary.policy,
        str(summary.saving),
        str(summary.preference or "-"),
        str(summary.worst or "-"),
        summary.worst_workload,
        f"{summary.overhead:.2%}",
    )


def with_lower(spread: Spread) -> str:
    return f"{spread} (≥ {spread.lower:.1%})"


def terms(comparison: Comparison, rows: Sequence[Row]) -> str:
    """What the runs have in common, in a sentence."""
    months = len({(row["zone"], row["month"]) for row in rows})
    draws = f"{comparison.seeds} seeds x {months} zone-months"
    if comparison.as_published:
        return (
            f"{draws}, as published: the intensity's range is that of the whole year, so the future is seen. Mean ± "
            "standard deviation between seeds. For reproduction only."
        )
    rule, conditions = comparison.rule, comparison.conditions
    source = (
        f"learned from {comparison.fit.name}" if comparison.fit else "one random half learned from, the other scored"
    )
    return (
        f"{draws}, {source}; xi {rule.xi:g}, confidence {comparison.confidence:g}, worth of quality "
        f"{rule.quality_worth:g}, {rule.kept_at_l0:.0%} kept at L0, {conditions.requests_per_hour} requests an hour."
    )


def legend(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    """What the figures mean and what they rest on."""
    if comparison.as_published:
        return [terms(comparison, rows)]
    return [
        terms(comparison, rows),
        "Saving: grams against always L0, evaluation charged (answers at every level; the judge's own energy is "
        "unknown). Preference: share of prompts answered at the level that the judge picked, relative to L0's. Worst "
        "workload: the lowest of each run, then the mean over runs.",
        "Mean ± standard deviation between seeds; in brackets, what nine runs in ten reach. Direct intensity, "
        "attributional, GPU energy only.",
        *_rounds(summarize(rows)),
    ]


def _rounds(summaries: Iterable[Summary]) -> list[str]:
    """When evaluation ran; nothing where none did."""
    found = [f"{each.policy} {each.rounds:.0f} ({cleanness(each)})" for each in summaries if each.clean_rounds]
    if not found:
        return []
    return [f"Rounds of evaluation a run, and share in the cleanest third of its hours: {', '.join(found)}."]


def cleanness(summary: Summary) -> str:
    return f"{summary.clean_rounds.mean:.0%}" if summary.clean_rounds else "-"


def write(comparison: Comparison, rows: Sequence[Row], folder: Path) -> Path:
    """Write `report.md` and its plots into `folder`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Replay", "", *(f"{line}\n" for line in legend(comparison, rows))]
    lines += _table(HEADINGS, (cells(summary) for summary in summarize(rows)))
    if comparison.as_published:
        lines += ["", "## Beside the published figures", "", *_reproduction(reproduced(rows))]
    else:
        lines += ["", "## By workload", "", *_by_workload(rows)]
        for name, title in plots.draw(comparison, rows, folder):
            lines += ["", f"## {title}", "", f"![{title}]({name})"]
    page = folder / "report.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return page


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _reproduction(lines: Sequence[Reproduced]) -> list[str]:
    headings = ("zone", "month", "policy", "saving", "published", "ours over seeds", "preference", "published ")
    return _table(
        headings,
        (
            (
                line.zone,
                line.month,
                line.policy,
                str(line.saving),
                f"{line.published_saving:.1%}",
                line.within,
                str(line.preference) if line.preference else NOT_AVAILABLE,
                f"{line.published_preference:.1%}",
            )
            for line in lines
        ),
    )


def _by_workload(rows: Sequence[Row]) -> list[str]:
    headings = ("policy", "workload", "saving", "preference", "accuracy", "accuracy at L0")
    lines = []
    for policy in policies(rows):
        own = [row for row in rows if row["policy"] == policy]
        for workload in own[0]["per_workload"]:
            figures = [row["per_workload"][workload] for row in own if workload in row["per_workload"]]
            gold = [row["gold_accuracy"][workload] for row in own if workload in row["gold_accuracy"]]
            lines.append(
                (
                    policy,
                    workload,
                    _mean(figure["saving"] for figure in figures),
                    _mean(figure["preference"] for figure in figures),
                    _mean(figure["accuracy"] for figure in gold),
                    _mean(figure["at_l0"] for figure in gold),
                )
            )
    return _table(headings, lines)


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.1%}" if known else NOT_AVAILABLE
