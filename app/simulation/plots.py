"""The plots of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.errors import ConfigurationError
from app.simulation.comparison import Comparison, Example, Row, example
from app.simulation.summary import policies

COLOURS = {
    "BASE": "#666666",
    "CO2_OPT": "#b07aa1",
    "MODEL_OPT": "#9c755f",
    "SPROUT_STA": "#edc948",
    "SPROUT": "#f28e2b",
    "ORACLE": "#4e79a7",
    "OURS": "#2a9d4e",
}
LEVEL_COLOURS = ("#4e79a7", "#a0cbe8", "#2a9d4e", "#8cd17d", "#f28e2b", "#ffbe7d")


def draw(comparison: Comparison, rows: Sequence[Row], folder: Path) -> Iterator[tuple[str, str]]:
    """Write PNG files into `folder`; yields the name and title of each.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise ConfigurationError("Drawing plots needs matplotlib: pip install 'sprout[replay]'.") from exc
    for column, name, title in (
        ("preference", "saving-preference.png", "Saving against overall preference"),
        ("worst_preference", "saving-worst.png", "Saving against the worst workload's preference"),
    ):
        figure = Figure(figsize=(8, 5), layout="constrained")
        _scatter(figure.subplots(), rows, column, title)
        figure.savefig(folder / name, dpi=120)
        yield name, title
    figure = Figure(figsize=(10, 5), layout="constrained")
    _bars(figure.subplots(), rows)
    figure.savefig(folder / "by-workload.png", dpi=120)
    yield "by-workload.png", "Preference by workload"
    if "OURS" in policies(rows):
        shown = example(comparison)
        figure = Figure(figsize=(11, 6), layout="constrained")
        _mix_over_time(figure.subplots(2, 1, sharex=True, height_ratios=(3, 2)), shown)
        figure.savefig(folder / "mix.png", dpi=120)
        yield "mix.png", f"Directive mix of OURS in {shown.month.zone}, {shown.month.month}, above the intensity"


def _scatter(axes: Any, rows: Sequence[Row], column: str, title: str) -> None:
    for policy in policies(rows):
        points = np.array(
            [(row["saving"], row[column]) for row in rows if row["policy"] == policy and row[column] is not None]
        )
        if not len(points):
            continue
        colour = COLOURS[policy]
        axes.scatter(*(points * 100).T, s=8, alpha=0.25, color=colour, linewidths=0)
        mean = points.mean(axis=0) * 100
        axes.scatter(*mean, s=90, color=colour, edgecolors="black", label=policy, zorder=3)
    axes.axhline(100, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="Carbon saving against always L0 (%)", ylabel="Preference relative to L0 (%)", title=title)
    axes.grid(alpha=0.3)
    if axes.collections:
        axes.legend(loc="best", fontsize=9)


def _bars(axes: Any, rows: Sequence[Row]) -> None:
    workloads = list(rows[0]["per_workload"])
    shown = [policy for policy in policies(rows) if policy not in ("BASE", "MODEL_OPT")]
    width = 0.8 / max(len(shown), 1)
    for place, policy in enumerate(shown):
        means, sds = [], []
        for workload in workloads:
            figures = (row["per_workload"].get(workload, {}) for row in rows if row["policy"] == policy)
            values = [each["preference"] * 100 for each in figures if each.get("preference") is not None]
            means.append(np.mean(values) if values else np.nan)
            sds.append(np.std(values) if values else np.nan)
        positions = np.arange(len(workloads)) + (place - (len(shown) - 1) / 2) * width
        axes.bar(positions, means, width, yerr=sds, label=policy, color=COLOURS[policy], error_kw={"linewidth": 0.8})
    axes.axhline(100, color="black", linewidth=0.8, linestyle=":")
    axes.set_xticks(np.arange(len(workloads)), workloads)
    axes.set(ylabel="Preference relative to its own L0 (%)", title="Preference by workload, mean ± sd of runs")
    if shown:
        axes.legend(fontsize=9)
    axes.grid(axis="y", alpha=0.3)


def _mix_over_time(axes: Any, shown: Example) -> None:
    """The share of all requests at each level, hour by hour, above the carbon intensity of the zone."""
    shares = np.einsum("hc,hcl->hl", shown.class_traffic, shown.outcome.mixes) * 100
    days = np.arange(len(shares)) / 24
    axes[0].stackplot(
        days,
        shares.T,
        labels=[f"L{level}" for level in range(shares.shape[1])],
        colors=LEVEL_COLOURS[: shares.shape[1]],
        step="post",
    )
    axes[0].set(ylabel="Share of requests (%)", ylim=(0, 100))
    axes[0].set_title(f"OURS in {shown.month.zone}, {shown.month.month}", loc="left")
    # Above the plot: the area is all data.
    axes[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=shares.shape[1], frameon=False)
    axes[1].plot(days, shown.intensity, color="black", linewidth=0.9)
    axes[1].set(xlabel="Days", ylabel="Intensity (gCO2eq/kWh)", ylim=(0, None), xlim=(0, days[-1]))
    axes[1].grid(alpha=0.3)
