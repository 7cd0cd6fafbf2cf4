"""Does it help the worst-served hospital: q_ffl, worst_site, recalibration, thresholds of one's own? And what does it cost?

    python benchmarks/mitigation.py                 40 seeds, about a minute on one core
    python benchmarks/mitigation.py --quick --json  8 seeds, figures as JSON

No images and no messages: hospitals with ten features a patient train one logistic regression (full batch, five local steps a
round, 60 rounds). Weights, maps and thresholds are the very functions that silos and the aggregator call; that masked sums and
whole jobs do the same is tested (tests/aggregator/test_fair_jobs.py). Test figures are on 4,000 new patients of each hospital.
Differences from uniform are paired by seed, with the 95% interval of their mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import expit
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from evaluation.recalibration import Recalibration, fit, own_thresholds  # noqa: E402
from protocol.plan.fairness import ascend, loss_steps, shares  # noqa: E402
from protocol.plan.federation import Federation  # noqa: E402

Floats = NDArray[np.float64]
Rows = tuple[Floats, NDArray[np.int64]]
SITES, FEATURES, ROUNDS, STEPS, RATE, TESTED = ("a", "b", "c", "d", "e"), 10, 60, 5, 0.5, 4000
TRAINED = 300  # patients of each hospital
ALIKE = 0.35  # cosine between the odd hospital's label relation and the others'

AS_IT_IS = Recalibration()
PLANS: dict[str, dict[str, Any]] = {
    "uniform": {"weighting": "uniform"},
    "q_ffl, q 0.5": {"weighting": "q_ffl", "fairness_q": 0.5},
    "q_ffl, q 1": {"weighting": "q_ffl", "fairness_q": 1.0},
    "q_ffl, q 2": {"weighting": "q_ffl", "fairness_q": 2.0},
    "q_ffl, q 5": {"weighting": "q_ffl", "fairness_q": 5.0},
    "worst_site, rate 0.5": {"weighting": "worst_site", "fairness_rate": 0.5},
    "worst_site, rate 2": {"weighting": "worst_site", "fairness_rate": 2.0},
    "worst_site, rate 2, floor 0.75": {"weighting": "worst_site", "fairness_rate": 2.0, "fairness_floor": 0.75},
    "worst_site by loss, rate 0.5": {"weighting": "worst_site", "fairness_measure": "loss", "fairness_rate": 0.5},
}


@dataclass(frozen=True)
class Hospital:
    """What it trains on, what it validates on, and many new patients."""

    train: Rows
    validation: Rows
    test: Rows


def federation(seed: int, *, odd: bool, validated: int, shifts: Sequence[float] = (0.0,) * 5) -> dict[str, Hospital]:
    """Five hospitals; `odd`: the label of the last depends on the features in another way. `shifts` move prevalence."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=FEATURES)
    common *= 2.0 / np.linalg.norm(common)
    other = rng.normal(size=FEATURES)
    other -= common * (other @ common) / (common @ common)
    other *= 2.0 / np.linalg.norm(other)
    turned = ALIKE * common + np.sqrt(1.0 - ALIKE**2) * other

    def rows(truth: Floats, shift: float, n: int) -> Rows:
        features = rng.normal(size=(n, FEATURES))
        return features, (rng.random(n) < expit(features @ truth + shift)).astype(np.int64)

    made = {}
    for silo, shift in zip(SITES, shifts, strict=True):
        truth = turned if odd and silo == SITES[-1] else common
        made[silo] = Hospital(*(rows(truth, shift, n) for n in (TRAINED, validated, TESTED)))
    return made


def train(hospitals: Mapping[str, Hospital], plan: Federation) -> Floats:
    """The final model, (FEATURES + 1,): weights and level."""
    model, weights = np.zeros(FEATURES + 1), dict.fromkeys(hospitals, 1.0 / len(hospitals))
    for _ in range(ROUNDS):
        deltas = {silo: _local(model, one.train) - model for silo, one in hospitals.items()}
        told: Mapping[str, float] = dict.fromkeys(hospitals, 1.0)
        if plan.weighting == "q_ffl":
            told = {silo: loss_steps(plan, loss(model, one.train)) / plan.weight_bound for silo, one in hospitals.items()}
        elif plan.weighting == "worst_site":
            told = shares(weights)
        model = model + sum(told[silo] * deltas[silo] for silo in hospitals) / sum(told.values())
        if plan.weighting == "worst_site":
            weights = ascend(plan, weights, {silo: _badness(plan, model, one.validation) for silo, one in hospitals.items()})
    return model


def _local(model: Floats, rows: Rows) -> Floats:
    features, labels = rows
    own = model.copy()
    for _ in range(STEPS):
        rest = expit(odds(own, features)) - labels
        own -= RATE * np.append(features.T @ rest, rest.sum()) / len(labels)
    return own


def _badness(plan: Federation, model: Floats, rows: Rows) -> float | None:
    if plan.fairness_measure == "loss":
        return min(loss(model, rows), plan.fairness_loss_bound)
    found = auroc(model, rows)
    return None if found is None else 1.0 - found


def odds(model: Floats, features: Floats) -> Floats:
    """Log-odds (n,) of features (n, FEATURES)."""
    found: Floats = features @ model[:-1] + model[-1]
    return found


def log_rows(model: Floats, features: Floats) -> Floats:
    """Log-probabilities (n, 2)."""
    at = odds(model, features)
    return np.column_stack([-np.logaddexp(0.0, at), -np.logaddexp(0.0, -at)])


def loss(model: Floats, rows: Rows, own: Callable[[Floats], Floats] = AS_IT_IS) -> float:
    """Mean cross-entropy, nats."""
    logs = own(log_rows(model, rows[0]))
    return float(-logs[np.arange(len(rows[1])), rows[1]].mean())


def auroc(model: Floats, rows: Rows) -> float | None:
    """None where a class is absent."""
    return None if len(set(rows[1].tolist())) < 2 else float(roc_auc_score(rows[1], odds(model, rows[0])))


# ------------------------------------------------------------------------------------------------------------------ weights


def weighted(seeds: int, *, odd: bool, validated: int, names: Sequence[str] = tuple(PLANS)) -> list[dict[str, Any]]:
    """Worst and mean test AUROC and loss for each plan, the first of which is uniform, with differences from it."""
    plans = {name: Federation(rounds=2, **PLANS[name]) for name in names}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in plans}
    for seed in range(seeds):
        hospitals = federation(seed, odd=odd, validated=validated)
        for name, plan in plans.items():
            model = train(hospitals, plan)
            aurocs = [auroc(model, one.test) or 0.5 for one in hospitals.values()]
            losses = [loss(model, one.test) for one in hospitals.values()]
            figures = {
                "worst_auroc": min(aurocs),
                "mean_auroc": statistics.mean(aurocs),
                "worst_loss": max(losses),
                "mean_loss": statistics.mean(losses),
            }
            for key, value in figures.items():
                found[name].setdefault(key, []).append(value)
    return [
        {"plan": name}
        | {key: round(statistics.mean(values), 4) for key, values in figures.items()}
        | {f"{key}_change": _change(values, found["uniform"][key]) for key, values in figures.items()}
        for name, figures in found.items()
    ]


def _change(values: Sequence[float], before: Sequence[float]) -> dict[str, float]:
    """Mean paired difference over seeds and its 95% interval (normal)."""
    differences = np.array(values) - np.array(before)
    half = 1.96 * differences.std(ddof=1) / np.sqrt(len(differences))
    return {
        "mean": round(differences.mean(), 4),
        "lo": round(differences.mean() - half, 4),
        "hi": round(differences.mean() + half, 4),
    }


# --------------------------------------------------------------------------------------------- recalibration and thresholds


def at_home(seeds: int, *, shifts: Sequence[float], validated: int) -> dict[str, Any]:
    """Uniform training, then what each hospital fits to `validated` patients: before and after on its test."""
    found: dict[str, list[float]] = {}
    wanted = 0.9
    for seed in range(seeds):
        hospitals = federation(seed, odd=False, validated=validated, shifts=shifts)
        model = train(hospitals, Federation(rounds=2, weighting="uniform"))
        pooled_labels = np.concatenate([one.test[1] for one in hospitals.values()])
        for method in ("none", "intercept", "platt"):
            own = {silo: _own(model, one.validation, method) for silo, one in hospitals.items()}
            losses = [loss(model, one.test, own[silo]) for silo, one in hospitals.items()]
            moved = np.concatenate([own[silo](log_rows(model, one.test[0])) for silo, one in hospitals.items()])
            expected = [np.exp(own[silo](log_rows(model, one.test[0])))[:, 1].mean() for silo, one in hospitals.items()]
            ratios = [abs(np.log(one.test[1].mean() / mean)) for one, mean in zip(hospitals.values(), expected, strict=True)]
            for key, value in {
                "mean_loss": statistics.mean(losses),
                "worst_loss": max(losses),
                "pooled_auroc": float(roc_auc_score(pooled_labels, moved[:, 1] - moved[:, 0])),
                "worst_log_observed_expected": float(max(ratios)),
            }.items():
                found.setdefault(f"{method}/{key}", []).append(value)
        for one in hospitals.values():
            (threshold,) = own_thresholds(one.validation[1], log_rows(model, one.validation[0]), wanted)
            at, positive = odds(model, one.test[0]), one.test[1] == 1
            for name, from_ in (("half", 0.0), ("own", threshold)):
                if from_ is not None:
                    found.setdefault(f"{name}/sensitivity", []).append(float((at[positive] >= from_).mean()))
                    found.setdefault(f"{name}/specificity", []).append(float((at[~positive] < from_).mean()))
            found.setdefault("own/without", []).append(float(threshold is None))
    spread = {f"{key}_sd": round(statistics.stdev(values), 4) for key, values in found.items() if "sensitivity" in key}
    means = {key: round(statistics.mean(values), 4) for key, values in found.items()}
    return {"validated": validated, "shifts": list(shifts)} | means | spread


def _own(model: Floats, rows: Rows, method: str) -> Recalibration:
    if method == "none":
        return Recalibration()
    return fit(rows[1], log_rows(model, rows[0]), "intercept" if method == "intercept" else "platt")


def measure(seeds: int) -> dict[str, Any]:
    """Everything."""
    return {
        "benchmark": "mitigation",
        "seeds": seeds,
        "weights": {
            "one odd hospital, 200 validation patients each": weighted(seeds, odd=True, validated=200),
            "one odd hospital, 30 validation patients each": weighted(seeds, odd=True, validated=30),
            "all alike, 30 validation patients each": weighted(seeds, odd=False, validated=30),
        },
        "at_home": [
            at_home(seeds, shifts=shifts, validated=validated)
            for shifts in ((-2.0, -1.0, 0.0, 1.0, 2.0), (0.0,) * 5)
            for validated in (20, 50, 200)
        ],
    }


def show(found: Mapping[str, Any], console: Console) -> None:
    """As tables."""
    for title, rows in found["weights"].items():
        table = Table(title=f"{title}; {found['seeds']} seeds")
        keys = ("worst_auroc", "mean_auroc", "worst_loss", "mean_loss")
        for column in ("plan", *keys):
            table.add_column(column)
        for row in rows:
            table.add_row(row["plan"], *(_cell(row[key], row[f"{key}_change"]) for key in keys))
        console.print(table)
    table = Table(title="fitted at home")
    figures = [key for key in found["at_home"][0] if key not in ("shifts", "validated")]
    for column in (
        "",
        *(f"{row['validated']} validated, {'shifted' if any(row['shifts']) else 'alike'}" for row in found["at_home"]),
    ):
        table.add_column(column)
    for key in figures:
        table.add_row(key, *(f"{row.get(key, float('nan')):.3f}" for row in found["at_home"]))
    console.print(table)


def _cell(value: float, change: Mapping[str, float]) -> str:
    return f"{value:.3f} ({change['mean']:+.3f}: {change['lo']:+.3f} to {change['hi']:+.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="8 seeds")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    arguments = parser.parse_args()
    found = measure(8 if arguments.quick else 40)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, Console(width=None if sys.stdout.isatty() else 200))


if __name__ == "__main__":
    main()
