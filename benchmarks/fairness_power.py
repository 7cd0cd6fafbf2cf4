"""How often does the fairness audit raise an alarm where nothing is wrong, and how often does it find what is?

    python benchmarks/fairness_power.py                 400 reports a line, some 10 minutes on one core
    python benchmarks/fairness_power.py --quick --json  40 a line, under a minute; one JSON object as the last line
    python benchmarks/fairness_power.py --demo 5        the demo itself, with its planted bias and without, five seeds

Made-up test patients (one image each, binormal scores that are calibrated log-odds, AUROC 0.85, four negatives a positive) at 4
and 10 hospitals of 50 and 200 positives. Each report compares hospitals, sexes (2) and age bands (4) in AUROC, sensitivity,
false positive rate and calibration slope: 12 tests, one Holm family. One hospital's AUROC is lower by the gap; sex and age
never matter. Where nothing differs four times as many reports are made. "naive" is the rule that most toolkits offer: largest
minus smallest above the margin (0.05 for AUROC, 0.10 for rates).

--demo renders the demo's hospitals, trains the demo's plan with its privacy and audits the final model on the test patients,
under differential privacy too: how often it fails with the planted bias, and without. About two and a half minutes a seed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

SITES, POSITIVES, GAPS = (4, 10), (50, 200), (0.0, 0.025, 0.05, 0.10, 0.15, 0.20)
NEGATIVES = 4  # a positive
NULL = 4  # times as many reports where nothing differs: alarms there are to be rare
Cell = dict[str, Any]


def measure(n_sites: int, positives: int, gap: float, repeats: int) -> Cell:
    """One line: shares of `repeats` reports, and means of the hospitals' AUROC gap and of its null gap."""
    from evaluation.audit.fairness import fairness_rows
    from tests.evaluation.audit.fairness_groups import draw, figures, layout

    sites = tuple(f"h{number}" for number in range(n_sites))
    made, found = layout(sites), []
    for seed in range(repeats):
        rng = np.random.default_rng([n_sites, positives, round(1000 * gap), seed])
        rows = fairness_rows(
            made, ["finding"], [figures(made, draw(rng, sites, positives, NEGATIVES * positives, lower={"h0": gap}))]
        )
        tested = [row for row in rows if row.p is not None and row.gap is not None]
        (by_site,) = [row for row in tested if (row.attribute, row.figure) == ("site", "auroc")]
        others = [row for row in tested if row.attribute != "site"]
        found.append(
            {
                "any_alarm": any((row.p_holm or 0.0) <= 0.05 for row in tested),
                "any_fail": any(row.verdict == "fail" for row in tested),
                "other_fail": any(row.verdict == "fail" for row in others),
                "naive_any": any(row.gap.value > (row.margin.largest or math.inf) for row in tested),
                "fail": by_site.verdict == "fail",
                "differs": (by_site.p_holm or 0.0) <= 0.05,
                "pass": by_site.verdict == "pass",
                "naive": by_site.gap.value > 0.05,
                "lo_misses": by_site.gap.lo > gap,
                "hi_misses": by_site.gap.hi < gap,
                "gap": by_site.gap.value,
                "null_gap": by_site.null_gap,
            }
        )
    means = {name: round(float(np.mean([one[name] for one in found])), 4) for name in found[0]}
    return {"sites": n_sites, "positives": positives, "true_gap": gap, "repeats": repeats, **means}


def show(cells: list[Cell], console: Console) -> None:
    """Two tables: nothing is wrong, and one hospital is."""
    null = Table(title="No true difference: share of reports in which anything is called, in %")
    for column in ("hospitals", "positives each", "any fail", "any p_holm <= 0.05", "any naive", "AUROC gap", "null gap"):
        null.add_column(column, justify="right")
    power = Table(title="One hospital's AUROC is lower: share of reports that call the hospitals' AUROC gap, in %")
    names = ("fail", "differs", "pass", "naive", "other_fail")
    for column in (
        "hospitals",
        "positives each",
        "true gap",
        "fail",
        "p_holm <= 0.05",
        "pass",
        "naive",
        "any fail of sex or age",
    ):
        power.add_column(column, justify="right")
    for cell in cells:
        first = (str(cell["sites"]), str(cell["positives"]))
        if cell["true_gap"] == 0.0:
            shares = [_percent(cell[name]) for name in ("any_fail", "any_alarm", "naive_any")]
            null.add_row(*first, *shares, f"{cell['gap']:.3f}", f"{cell['null_gap']:.3f}")
        else:
            power.add_row(*first, f"{cell['true_gap']:g}", *(_percent(cell[name]) for name in names))
    console.print(null, power)


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 reports a line")
    parser.add_argument("--repeats", type=int, default=None, help="reports a line; default 400")
    parser.add_argument("--demo", type=int, default=0, metavar="SEEDS", help="so many seeds of the demo instead")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    console, start = Console(stderr=True, width=None if sys.stderr.isatty() else 160), time.perf_counter()
    if arguments.demo:
        import fairness_demo

        with tempfile.TemporaryDirectory() as name:
            result = fairness_demo.measure(Path(name), range(arguments.demo), console)
        fairness_demo.show(result, console)
    else:
        repeats = arguments.repeats or (40 if arguments.quick else 400)
        cells = []
        with console.status("measuring") as status:
            for n_sites in SITES:
                for positives in POSITIVES:
                    for gap in GAPS:
                        status.update(f"{n_sites} hospitals of {positives} positives, true gap {gap}")
                        cells.append(measure(n_sites, positives, gap, repeats if gap else NULL * repeats))
        show(cells, console)
        result = {"benchmark": "fairness_power", "seconds": round(time.perf_counter() - start, 1), "cells": cells}
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
