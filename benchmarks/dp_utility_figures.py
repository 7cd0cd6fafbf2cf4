"""What dp_utility.py found: summed up, as a table and as a picture."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dermoscopy_sites import JUDGED
from rich.console import Console
from rich.table import Table

COLOURS = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermilion: told apart by every eye
MARKS = {"local": ("o", "-"), "distributed": ("s", "-.")}
REFERENCES = {"best": ("--", "without privacy: plan.yaml"), "naive FedAvg": (":", "without privacy: naive FedAvg")}
Result = dict[str, Any]


def summarise(results: dict[tuple[str, float], list[Result]]) -> list[Result]:
    """Per mechanism and epsilon: each judged hospital's mean, lowest and highest seed, and the mean of the two."""
    rows = []
    for (mechanism, epsilon), seeds in results.items():
        values = {site: [seed["auroc"][site] for seed in seeds] for site in JUDGED}
        values["mean of the two"] = [statistics.mean(pair) for pair in zip(*values.values(), strict=True)]
        rows.append(
            {
                "mechanism": mechanism,
                "epsilon": None if math.isinf(epsilon) else epsilon,
                "noise_multiplier": seeds[0]["noise_multiplier"],
                "by_seed": values,
                "mean": {name: statistics.mean(found) for name, found in values.items()},
                "range": {name: [min(found), max(found)] for name, found in values.items()},
                "seconds": statistics.mean(seed["seconds"] for seed in seeds),
            }
        )
    return rows


def show(rows: Sequence[Result], reference: Result, seeds: Iterable[int], part: str, console: Console) -> None:
    """The table people read."""
    table = Table(title=f"{part.capitalize()} AUROC, mean over seeds {', '.join(map(str, seeds))} and range")
    for column in ("mechanism", "epsilon", "noise", *JUDGED, "mean of the two"):
        table.add_column(column, justify="left" if column in ("mechanism", "epsilon") else "right", no_wrap=True)
    for row in rows:
        spans = {name: f"{low:.2f}-{high:.2f}".replace("0.", ".") for name, (low, high) in row["range"].items()}
        cells = [f"{row['mean'][name]:.3f} ({span})" for name, span in spans.items()]
        epsilon = "infinite" if row["epsilon"] is None else f"{row['epsilon']:g}"
        table.add_row(row["mechanism"], epsilon, f"{row['noise_multiplier']:.3g}", *cells)
    for name in REFERENCES:
        if name in reference:
            cells = [f"{reference[name]['sites'][site]:.3f}" for site in JUDGED]
            table.add_row(name, "infinite", "none", *cells, f"{reference[name]['mean']:.3f}")
    console.print(table)


def plot(rows: Sequence[Result], reference: Result, path: Path) -> None:
    """AUROC over epsilon: a panel a hospital, every seed a point, the mean a line, non-private plans as level lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    epsilons = sorted({row["epsilon"] or math.inf for row in rows})
    places = range(len(epsilons))
    figure, axes = plt.subplots(1, len(JUDGED), figsize=(8.6, 3.8), sharey=True, layout="constrained")
    for site, colour, axis in zip(JUDGED, COLOURS, axes, strict=True):
        for mechanism, (marker, line) in MARKS.items():
            of = {epsilons.index(row["epsilon"] or math.inf): row for row in rows if row["mechanism"] == mechanism}
            if not of:
                continue
            means = [of[place]["mean"][site] for place in sorted(of)]
            axis.plot(sorted(of), means, color=colour, linewidth=2, linestyle=line, label=f"{mechanism}: mean")
            points = [(place, value) for place, row in of.items() for value in row["by_seed"][site]]
            look = {"s": 26, "marker": marker, "facecolor": "white", "edgecolor": colour, "zorder": 3}
            axis.scatter(*zip(*points, strict=True), **look, label=f"{mechanism}: one seed")
        for name, (style, label) in REFERENCES.items():
            if name in reference:
                axis.axhline(reference[name]["sites"][site], color="#444444", linestyle=style, linewidth=1.2, label=label)
        axis.axhline(0.5, color="#999999", linewidth=0.8)
        axis.annotate("chance", (places[-1], 0.5), xytext=(0, 3), textcoords="offset points", ha="right", color="#666666")
        axis.set_xticks(places, ["∞" if math.isinf(epsilon) else f"{epsilon:g}" for epsilon in epsilons])
        axis.set(title=site, xlabel="epsilon (a patient, delta 1e-6)", ylim=(0.47, 0.86))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e5e5e5")
    axes[0].set_ylabel("test AUROC")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8, frameon=False, ncols=4, handlelength=3.5
    )
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)


def read_reference(path: Path | None) -> Result:
    """The settings of the last line of `benchmarks/dermoscopy.py --json`; nothing without a file."""
    if path is None:
        return {}
    settings: Result = json.loads(path.read_text().strip().splitlines()[-1])["settings"]
    return settings
