"""The demo with its planted bias and its unbiased twin, audited: the part of `fairness_power.py --demo`."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from phantom_stores import fill_stores
from rich.console import Console
from rich.table import Table

from evaluation.audit.counting import TestRows, count_votes, noised
from evaluation.audit.edges import choose_edges
from evaluation.audit.fairness import fairness_rows
from evaluation.audit.fairness_rows import Row
from evaluation.audit.layout import AuditLayout, layout_of
from evaluation.audit.measuring import figures
from protocol.plan import Plan

# Noise grows with the families a patient votes in, so: hospitals and sexes, one threshold, most of what a hospital allows.
AUDIT = {"attributes": ["sex"], "epsilon": 5.9, "decision_thresholds": [0.5]}
EPSILONS = (3.0, 5.9, 10.0)
DRAWS = 20  # audits of one trained model, each with votes and noise of its own
Found = dict[str, Any]


def measure(root: Path, seeds: Iterable[int], console: Console) -> Found:
    """For each seed, each twin and each epsilon of the audit: the share of audits that fail, and what they name."""
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    found: Found = {"benchmark": "fairness_demo", "audit": AUDIT, "runs": []}
    for seed in seeds:
        for planted in (True, False):
            folder = root / f"{seed}-{'planted' if planted else 'twin'}"
            with console.status(f"seed {seed}, {folder.name}"):
                plan = make_plan(seed)
                stores = make_stores(folder / "stores", seed, planted=planted)
                model = train(plan, stores, folder / "out")
                rows = test_rows(plan, stores, model)
                for epsilon in EPSILONS:
                    asked = plan.evaluation.audit.model_copy(update={"epsilon": epsilon}) if plan.evaluation.audit else None
                    paid = plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"audit": asked})})
                    reports = [audit(paid, rows, draw) for draw in range(DRAWS)]
                    found["runs"].append({"seed": seed, "epsilon": epsilon, "planted": planted, **summary(reports)})
    return found


def make_plan(seed: int) -> Plan:
    """The demo's own, with an audit."""
    import fedward.demo

    plan = yaml.safe_load((Path(fedward.demo.__file__).parent / "plan.yaml").read_text(encoding="utf-8"))
    plan["seed"] = seed
    plan["evaluation"] |= {"every": plan["federation"]["rounds"], "audit": AUDIT}
    return Plan.model_validate_json(json.dumps(plan))


def make_stores(folder: Path, seed: int, *, planted: bool) -> dict[str, Path]:
    """The demo's hospitals in full size, with the bias that is planted in them or without."""
    from fedward.demo.phantoms.sites import SITES, unbiased

    return fill_stores(folder, [site if planted else unbiased(site) for site in SITES], seed)


def train(plan: Plan, stores: Mapping[str, Path], out: Path) -> Path:
    """The federation, as `fedward run` does it, but for the audit, of which many are to be made; the final model's file."""
    from fedward.federation import run_federation
    from fedward.settings import Settings

    plan = plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"audit": None})})
    return run_federation(plan, stores, Settings(out, threads=1, homes=out / "homes"), lambda *_: None).model


def test_rows(plan: Plan, stores: Mapping[str, Path], model: Path) -> dict[str, TestRows]:
    """Every hospital's test images under the model, as the hospital itself counts them."""
    from protocol.network import build_network, logits
    from protocol.vectors import load_tensors
    from silo_node.cohort import CohortStore
    from silo_node.training.cohort import load_cohort

    network = build_network(plan)
    network.load_state_dict({name: torch.as_tensor(value) for name, value in load_tensors(model).items()})
    network.eval()
    rows = {}
    for name, path in stores.items():
        cohort = load_cohort(CohortStore.open(path), plan, model.parent / "exact")
        part = np.array(cohort.parts.test)
        with torch.no_grad():
            logs = logits(network, torch.from_numpy(cohort.images[part])).double().log_softmax(1).numpy()
        sexes = [{"sex": cohort.samples[position].sex} for position in part]
        rows[name] = TestRows(cohort.labels[part], logs, cohort.patients[part], sexes)
    return rows


def audit(plan: Plan, rows: Mapping[str, TestRows], draw: int) -> tuple[Row, ...]:
    """One audit under the plan's privacy; votes and noise from a seeded generator, for this is a measurement."""
    layout = layout_of(plan, tuple(sorted(rows)))
    edges, rng = choose_edges(layout), np.random.default_rng(draw)
    summed = sum(
        _noised(layout, site, count_votes(layout, site, edges, one, lambda k: int(rng.integers(k))), rng)
        for site, one in rows.items()
    )
    return fairness_rows(layout, plan.task.class_names[-1:], figures(layout, edges, np.asarray(summed), len(rows)))


def _noised(layout: AuditLayout, site: str, votes: Any, rng: np.random.Generator) -> Any:
    noisy = noised(layout, site)
    p = 1.0 - float(np.exp(-layout.audit.epsilon / layout.votes))
    votes[noisy] += rng.geometric(p, noisy.sum()) - rng.geometric(p, noisy.sum())
    return votes


def summary(reports: list[tuple[Row, ...]]) -> Found:
    """Share of reports that fail, and of those that call each comparison; mean gaps of what could be compared."""
    failing = [{(row.attribute, row.figure): row for row in rows if row.verdict == "fail"} for rows in reports]
    named = sorted({key for one in failing for key in one})
    gaps: dict[str, list[float]] = {}
    for rows in reports:
        for row in rows:
            if row.gap is not None and row.p is not None:
                gaps.setdefault(f"{row.attribute} {row.figure}", []).append(row.gap.value)
    return {
        "fail": float(np.mean([bool(one) for one in failing])),
        "differs": float(np.mean([any((row.p_holm or 0.0) <= 0.05 for row in rows if row.p is not None) for rows in reports])),
        "called": {" ".join(key): round(float(np.mean([key in one for one in failing])), 3) for key in named},
        "worst": sorted({row.worst.name for one in failing for row in one.values() if row.worst is not None}),
        "gaps": {name: round(float(np.mean(values)), 3) for name, values in gaps.items()},
    }


def show(found: Found, console: Console) -> None:
    """One line a seed and twin."""
    table = Table(title=f"The demo under its own privacy, {DRAWS} audits of each model: share that fail, in %")
    for column in ("seed", "audit.epsilon", "bias", "fail", "p_holm <= 0.05", "called", "worst group"):
        table.add_column(column)
    for run in found["runs"]:
        called = ", ".join(f"{name} {100 * share:.0f}" for name, share in run["called"].items())
        share, differs = f"{100 * run['fail']:.0f}", f"{100 * run['differs']:.0f}"
        table.add_row(
            str(run["seed"]),
            f"{run['epsilon']:g}",
            "planted" if run["planted"] else "none",
            share,
            differs,
            called,
            ", ".join(run["worst"]),
        )
    console.print(table)
