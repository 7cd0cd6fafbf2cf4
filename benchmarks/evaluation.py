"""How much does it cost to evaluate from summed counts what scikit-learn would see in pooled rows? Do the intervals hold?

    python benchmarks/evaluation.py                 100 cohorts a size, 500 repetitions of the intervals, some minutes
    python benchmarks/evaluation.py --quick --json  20 cohorts, 200 repetitions, a minute or two; a JSON object as the last line

Scores are binormal with a true AUROC of 0.85, exactly calibrated, 30% positives, split over four hospitals, one image a
patient. Every figure goes the whole way: the hospitals' counts on the fixed grid, the edges made from their sum, the hospitals'
counts by group, noise as hospitals draw it (epsilon 3 over all counts), their sum, and what the report would say. Errors are
those of the AUROC against scikit-learn's on the pooled rows; the truth that intervals should hold is that of the distribution.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from evidence import verification
from paired_models import paired, paired_under_noise
from rich.console import Console
from rich.table import Table
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation import histograms, noisy_histograms
from evaluation.audit import content
from evaluation.audit.counting import TestRows, count_images, count_votes, noised
from evaluation.audit.edges import choose_edges
from evaluation.audit.layout import AuditLayout
from privacy.noise import discrete_laplace
from privacy.randomness import SecureBits
from protocol.plan.audit import Audit

TRUE_AUROC, PREVALENCE, POINT, DECISION = 0.85, 0.3, 0.3, 0.3
SITES = ("a", "b", "c", "d")
APART = math.sqrt(2.0) * float(norm.ppf(TRUE_AUROC))
CENTRE = math.log(PREVALENCE / (1.0 - PREVALENCE))
SIZES = (500, 2000, 5000, 20_000)
Rows = dict[str, TestRows]
# What knowledge/evaluation.md measured with the prototypes before this was built.
KNOWN = {
    "auroc_error": "0.0001 to 0.0004 at 100 bins",
    "coverage": "0.92 to 0.96 without noise, 0.95 with noise and corrected variances",
}


def draw(rng: np.random.Generator, n: int) -> Rows:
    """n patients over four hospitals."""
    labels = (rng.random(n) < PREVALENCE).astype(np.int64)
    x = rng.normal(APART * labels - APART / 2.0, 1.0)
    logs = np.stack([np.zeros(n), APART * x + CENTRE], axis=1)
    sexes, ages = rng.choice(["F", "M"], n), rng.integers(20, 95, n)
    values = [{"sex": str(sex), "age": int(age)} for sex, age in zip(sexes, ages, strict=True)]
    parts = np.array_split(np.arange(n), len(SITES))
    return {
        site: TestRows(labels[part], logs[part], part, [values[row] for row in part])
        for site, part in zip(SITES, parts, strict=True)
    }


def federated(layout: AuditLayout, rows: Rows) -> dict[str, Any]:
    """Both passes, noise and sum; the content of the report's first class."""
    if layout.private:
        edges, bits = choose_edges(layout), SecureBits()
        mask, scale = {site: noised(layout, site) for site in SITES}, layout.votes / layout.audit.epsilon
        vectors = [
            count_votes(layout, site, edges, one, lambda k: k - 1) + mask[site] * discrete_laplace(layout.size, scale, bits)
            for site, one in rows.items()
        ]
    else:
        grids = [histograms.histogram(one.labels, one.log_probabilities[:, 1]) for one in rows.values()]
        edges = choose_edges(layout, [(sum(p for p, _ in grids), sum(n for _, n in grids))])  # type: ignore[list-item]
        vectors = [count_images(layout, site, edges, one) for site, one in rows.items()]
    summed = np.sum(vectors, axis=0)
    with mock.patch.object(content, "fairness_entry", return_value=None):  # measured in fairness_power.py
        found: dict[str, Any] = content.audit_content(layout, ["finding"], edges, summed, SITES, None)["classes"][0]
    return found


def layout_of(private: bool, **audit: Any) -> AuditLayout:
    """Everyone, sex and age, of sums over hospitals: noise is on three counts of each patient."""
    options: dict[str, Any] = {"operating_points": (POINT,)} | audit
    return AuditLayout(Audit(**options), 1, private, ())


# ------------------------------------------------------------------------------------------------------------------- parts


def auroc_error(quick: bool) -> list[dict[str, Any]]:
    """Mean and root mean square error of the AUROC and of the average precision against scikit-learn on the pooled rows."""
    found = []
    for n in SIZES:
        for private in (False, True):
            rng, errors, bounds, shown = np.random.default_rng(n), [], [], 0
            for _ in range(20 if quick else 100):
                rows = draw(rng, n)
                labels = np.concatenate([one.labels for one in rows.values()])
                odds = np.concatenate([one.log_probabilities[:, 1] for one in rows.values()])
                group = federated(layout_of(private), rows)["groups"][0]
                exact = roc_auc_score(labels, odds), average_precision_score(labels, odds)
                if group["auroc"]["value"] is None or group["average_precision"]["value"] is None:
                    continue
                shown += 1
                errors.append([group["auroc"]["value"] - exact[0], group["average_precision"]["value"] - exact[1]])
                bounds.append(group["auroc"]["binning_bound"])
            each = np.array(errors).reshape(-1, 2)
            rms, mean = np.sqrt((each**2).mean(axis=0)), each.mean(axis=0)
            found.append(
                {
                    "n": n,
                    "noise": private,
                    "shown": shown,
                    "auroc_mean_error": round(float(mean[0]), 5),
                    "auroc_rms_error": round(float(rms[0]), 5),
                    "auroc_max_error": round(float(np.abs(each[:, 0]).max()), 5),
                    "certificate": round(float(np.max(bounds)), 5),
                    "average_precision_rms_error": round(float(rms[1]), 5),
                }
            )
    return found


def truths() -> dict[str, float]:
    """The figures of the distribution."""
    cut = (math.log(POINT / (1.0 - POINT)) - CENTRE) / APART
    sensitivity, fall_out = float(norm.sf(cut - APART / 2.0)), float(norm.sf(cut + APART / 2.0))
    called = PREVALENCE * sensitivity + (1.0 - PREVALENCE) * fall_out
    grid = np.linspace(-12.0, 12.0, 200_001)
    precision = (
        PREVALENCE
        * norm.sf(grid - APART / 2)
        / (PREVALENCE * norm.sf(grid - APART / 2) + (1 - PREVALENCE) * norm.sf(grid + APART / 2))
    )
    return {
        "auroc": TRUE_AUROC,
        "average_precision": float(np.trapezoid(precision * norm.pdf(grid - APART / 2), grid)),
        "sensitivity": sensitivity,
        "specificity": 1.0 - fall_out,
        "ppv": PREVALENCE * sensitivity / called,
        "intercept": 0.0,
        "slope": 1.0,
        "observed_expected": 1.0,
        "net_benefit": PREVALENCE * sensitivity - (1.0 - PREVALENCE) * fall_out * POINT / (1.0 - POINT),
    }


def coverage(quick: bool) -> list[dict[str, Any]]:
    """How often each 95% interval holds the truth, and how wide it is."""
    repeats, truth, found = 200 if quick else 500, truths(), []
    for n in (500, 2000):
        for private in (False, True):
            rng, layout = np.random.default_rng(n + 1), layout_of(private, decision_thresholds=(DECISION,))
            hits: dict[str, list[bool]] = {name: [] for name in truth}
            widths: dict[str, list[float]] = {name: [] for name in truth}
            for _ in range(repeats):
                one = federated(layout, draw(rng, n))
                group = one["groups"][0]
                figures = (
                    group["operating_points"][0] | group["calibration"] | {"net_benefit": one["decision_curve"][0]["model"]}
                )
                figures |= {name: group[name] for name in ("auroc", "average_precision")}
                for name, value in truth.items():
                    if figures[name]["value"] is not None:
                        hits[name].append(figures[name]["lo"] <= value <= figures[name]["hi"])
                        widths[name].append(figures[name]["hi"] - figures[name]["lo"])
            found.append(
                {
                    "n": n,
                    "noise": private,
                    "repeats": repeats,
                    "coverage": {name: round(float(np.mean(each)), 3) for name, each in hits.items() if each},
                    "width": {name: round(float(np.mean(each)), 4) for name, each in widths.items() if each},
                    "shown": {name: len(each) for name, each in hits.items()},
                }
            )
    return found


def cost(quick: bool) -> list[dict[str, Any]]:
    """Seconds and bytes of one hospital of 5,000 test images, and seconds to make the content of the report from the sum."""
    found = []
    plans: dict[str, tuple[int, dict[str, Any]]] = {
        "2 classes, sex, age": (2, {}),
        "2 classes, sex x age too": (2, {"intersections": (("sex", "age"),)}),
        "2 classes, sex, age, another model": (2, {"compare_with": "sha256:" + "0" * 64}),
        "7 classes, sex x age too": (7, {"intersections": (("sex", "age"),)}),
        "7 classes, sex x age too, another model": (
            7,
            {"intersections": (("sex", "age"),), "compare_with": "sha256:" + "0" * 64},
        ),
    }
    for name, (n_classes, audit) in plans.items():
        for private in (False,) if "compare_with" in audit else (False, True):
            rng, layout = (
                np.random.default_rng(3),
                AuditLayout(Audit(**audit), 1 if n_classes == 2 else n_classes, private, SITES),
            )
            n = 5000
            labels = rng.integers(0, n_classes, n)
            logs = rng.normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[labels]
            values: list[dict[str, Any]] = [
                {"sex": sex, "age": int(age)}
                for sex, age in zip(rng.choice(["F", "M"], n), rng.integers(20, 95, n), strict=True)
            ]
            other = logs + rng.normal(size=logs.shape) if layout.paired else None
            rows = TestRows(labels, logs, np.arange(n), values, other)
            grid = (np.ones(histograms.N_BINS, dtype=np.int64),) * 2
            edges = choose_edges(layout, [grid] * layout.n_classes)
            start = time.process_time()
            vector = (
                count_votes(layout, "a", edges, rows, lambda k: k - 1) if private else count_images(layout, "a", edges, rows)
            )
            if private:
                vector = vector + discrete_laplace(layout.size, layout.votes / layout.audit.epsilon) * noised(layout, "a")
            counting, start = time.process_time() - start, time.process_time()
            content.audit_content(layout, [str(one) for one in range(layout.n_classes)], edges, vector, ["a"], None)
            first = 2 * layout.n_classes * (noisy_histograms.N_BINS if private else histograms.N_BINS)
            found.append(
                {
                    "plan": name,
                    "noise": private,
                    "counts": layout.size,
                    "bytes_masked": 4 * layout.size,
                    "bytes_first_pass": 4 * first,
                    "seconds_silo": round(counting, 3),
                    "seconds_content": round(time.process_time() - start, 3),
                }
            )
            if quick and n_classes > 2:
                break
    return found


def receipts(quick: bool) -> list[dict[str, Any]]:
    """Seconds to check a thousand signed receipts and their root."""
    return [verification(receipts=1000, repeat=2 if quick else 10)]


# Each part prints one table and adds one list to the JSON. A measurement more is one function more here.
PARTS: dict[str, Callable[[bool], list[dict[str, Any]]]] = {
    "auroc_error": auroc_error,
    "coverage": coverage,
    "cost": cost,
    "receipts": receipts,
    "paired": paired,
    "paired_under_noise": paired_under_noise,
}


def table(name: str, rows: list[dict[str, Any]]) -> Table:
    """One part as a table; figures within figures get a line each."""
    flat = []
    for row in rows:
        inner = [key for key, value in row.items() if isinstance(value, dict)]
        if not inner:
            flat.append(row)
            continue
        outer = {key: value for key, value in row.items() if key not in inner}
        flat += [outer | {"figure": figure} | {key: row[key].get(figure) for key in inner} for figure in row[inner[-1]]]
    made = Table(title=name.replace("_", " ") + (f" (prototypes: {KNOWN[name]})" if name in KNOWN else ""))
    for key in flat[0]:
        made.add_column(key.replace("_", " "), justify="right")
    for row in flat:
        made.add_row(*("-" if row[key] is None else str(row[key]) for key in flat[0]))
    return made


def main() -> None:
    """Measure every part and print it."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--quick", action="store_true", help="fewer repetitions; a minute or two")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    cli.add_argument("--only", choices=list(PARTS), action="append", help="this part alone; may be given again")
    args = cli.parse_args()
    console, results = Console(stderr=True), {}
    console.width = max(console.width, 120)  # also where nobody watches
    for name in args.only or PARTS:
        with console.status(f"measuring {name}"):
            results[name] = PARTS[name](args.quick)
        console.print(table(name, results[name]))
    if args.json:
        print(json.dumps({"benchmark": "evaluation", "quick": args.quick, "prototypes": KNOWN} | results))


if __name__ == "__main__":
    main()
