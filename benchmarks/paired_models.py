"""Two models on the same test patients: how often the paired interval holds the truth, how long it is, what noise would do.

Part of benchmarks/evaluation.py (`--only paired`, `--only paired_under_noise`). Scores are binormal with AUROCs of 0.856 and
0.839, 30% positives, one image a patient, four hospitals; the errors of the two models correlate by `alike`.
"""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import numpy as np
from scipy.stats import norm

from evaluation import histograms, noisy_histograms
from evaluation.audit import content, ranking
from evaluation.audit.counting import TestRows, count_images
from evaluation.audit.edges import choose_edges
from evaluation.audit.layout import AuditLayout
from evaluation.delong import paired_delong
from evaluation.intervals import Z95
from privacy.noise import discrete_laplace
from protocol.plan.audit import Audit

SITES, PREVALENCE, APART = ("a", "b", "c", "d"), 0.3, (1.5, 1.4)
FAMILIES, EPSILON = 3, 3.0  # everyone, sex and age; one vote in each
Floats = np.ndarray[Any, np.dtype[np.float64]]


def _draw(rng: np.random.Generator, n: int, alike: float) -> tuple[np.ndarray[Any, Any], Floats, Floats]:
    """Labels and log-odds (n,) of both models."""
    labels = (rng.random(n) < PREVALENCE).astype(np.int64)
    own = rng.normal(size=n)
    other = alike * own + math.sqrt(1.0 - alike**2) * rng.normal(size=n)
    first, second = (apart * (x + apart * (labels - 0.5)) - 0.7 for x, apart in zip((own, other), APART, strict=True))
    return labels, first, second


def _audited(layout: AuditLayout, labels: np.ndarray[Any, Any], own: Floats, other: Floats) -> dict[str, Any]:
    logs = [np.stack([np.zeros(len(labels)), one], axis=1) for one in (own, other)]
    pooled = [histograms.histogram(labels, own)]
    edges, total = choose_edges(layout, pooled), np.zeros(layout.size, dtype=np.int64)
    for site, part in zip(SITES, np.array_split(np.arange(len(labels)), len(SITES)), strict=True):
        total += count_images(layout, site, edges, TestRows(labels[part], logs[0][part], part, [{}] * len(part), logs[1][part]))
    with mock.patch.object(content, "fairness_entry", return_value=None):
        return content.audit_content(layout, ["finding"], edges, total, SITES, None)


def _precision(apart: float) -> float:
    """Average precision of the distribution."""
    grid = np.linspace(-12.0, 12.0, 200_001)
    right, wrong = PREVALENCE * norm.sf(grid - apart / 2), (1 - PREVALENCE) * norm.sf(grid + apart / 2)
    return float(np.trapezoid(right / (right + wrong) * norm.pdf(grid - apart / 2), grid))


def paired(quick: bool) -> list[dict[str, Any]]:
    """How often the paired interval holds the true difference, and its width beside the exact and the independent one."""
    layout = AuditLayout(Audit(attributes=(), compare_with="sha256:" + "0" * 64, operating_points=(0.3,)), 1, False, ())
    truth = {
        "auroc": float(norm.cdf(APART[0] / math.sqrt(2.0)) - norm.cdf(APART[1] / math.sqrt(2.0))),
        "average_precision": _precision(APART[0]) - _precision(APART[1]),
    }
    found, repeats = [], 100 if quick else 500
    for n in (500, 2000):
        for alike in (0.5, 0.9, 0.99):
            rng = np.random.default_rng(n)
            hits: dict[str, list[bool]] = {name: [] for name in truth}
            widths: dict[str, list[float]] = {name: [] for name in truth}
            exact, apart, errors = [], [], []
            for _ in range(repeats):
                labels, own, other = _draw(rng, n, alike)
                audit = _audited(layout, labels, own, other)
                group, alone = audit["versus_baseline"]["classes"][0]["groups"][0], audit["classes"][0]["groups"][0]
                for name, value in truth.items():
                    hits[name].append(group[name]["lo"] <= value <= group[name]["hi"])
                    widths[name].append(group[name]["hi"] - group[name]["lo"])
                rows = paired_delong(labels, own, other)
                if rows is not None:
                    exact.append(2 * Z95 * math.sqrt(rows[2][0, 0] + rows[2][1, 1] - 2 * rows[2][0, 1]))
                    errors.append(group["auroc"]["value"] - (rows[0] - rows[1]))
                two = [one["hi"] - one["lo"] for one in (alone["auroc"], group["baseline"]["auroc"])]
                apart.append(math.hypot(*two))
            found.append(
                {
                    "n": n,
                    "alike": alike,
                    "repeats": repeats,
                    "coverage_auroc": round(float(np.mean(hits["auroc"])), 3),
                    "coverage_average_precision": round(float(np.mean(hits["average_precision"])), 3),
                    "width": round(float(np.mean(widths["auroc"])), 4),
                    "width_of_rows": round(float(np.mean(exact)), 4),
                    "width_unpaired": round(float(np.mean(apart)), 4),
                    "width_average_precision": round(float(np.mean(widths["average_precision"])), 4),
                    "auroc_rms_error": round(float(np.sqrt(np.mean(np.square(errors)))), 5),
                }
            )
    return found


def paired_under_noise(quick: bool) -> list[dict[str, Any]]:
    """Median width of the interval of the difference if it rested on a noised table of both scores: no plan may ask for it.

    `beside`: the table and both models' histograms share the epsilon. `instead`: the table takes the histogram's place, and
    both models' figures are made from its margins. `unpaired`: two jobs as they are. The covariance's own noise is left out.
    """
    edges = np.sort(np.append(noisy_histograms.EDGES, 0.0))
    bins, found = len(edges) + 1, []
    for n in (500, 2000, 5000, 20_000) if quick else (500, 2000, 5000, 20_000, 100_000):
        rng, widths = np.random.default_rng(n), []
        for _ in range(10 if quick else 60):
            labels, own, other = _draw(rng, n, 0.9)
            joint = np.zeros((2, bins, bins))
            np.add.at(joint, (1 - labels, np.searchsorted(edges, own, "right"), np.searchsorted(edges, other, "right")), 1)
            widths.append(_widths(joint))
        unpaired, beside, instead = (round(float(np.median(one)), 4) for one in zip(*widths, strict=True))
        found.append({"n": n, "alike": 0.9, "unpaired": unpaired, "beside": beside, "instead": instead})
    return found


def _widths(joint: Floats) -> tuple[float, float, float]:
    """Of the exact table (2, bins, bins): unpaired, beside, instead."""
    sides = (joint.sum(axis=2), joint.sum(axis=1))
    once, thrice = FAMILIES / EPSILON, 3 * FAMILIES / EPSILON
    alone = [_ranked(_noisy(one, once), _variance(once)) for one in sides]
    own = [_noisy(one, thrice) for one in sides]
    table = _noisy(joint, once)
    margins, bins = [table.sum(axis=2), table.sum(axis=1)], joint.shape[1]
    return (
        _width(alone, 0.0),
        _width([_ranked(one, _variance(thrice)) for one in own], _together(_noisy(joint, thrice), *own)),
        _width([_ranked(one, bins * _variance(once)) for one in margins], _together(table, *margins)),
    )


def _noisy(counts: Floats, scale: float) -> Floats:
    return counts + sum(discrete_laplace(counts.size, scale).reshape(counts.shape) for _ in SITES)


def _variance(scale: float) -> float:
    return len(SITES) * noisy_histograms.noise_variance(scale)


def _ranked(counts: Floats, variance: float) -> ranking.Ranked | None:
    return ranking.auroc(counts[0], counts[1], (1.0, 1.0), variance)


def _together(table: Floats, own: Floats, other: Floats) -> float:
    """Twice the covariance of the two AUROCs."""
    if min(own.sum(axis=1).min(), other.sum(axis=1).min()) <= 0.0:
        return 0.0
    total = 0.0
    for label in (0, 1):
        moves = []
        for counts in (own, other):
            placed = ranking.placements(counts[0], counts[1])[label]
            n = counts[label].sum()
            moves.append((placed - (counts[label] * placed).sum() / n) / n)
        total += 2.0 * float(moves[0] @ table[label] @ moves[1])
    return total


def _width(two: list[ranking.Ranked | None], together: float) -> float:
    """NaN where an AUROC cannot be told; never below what the noise on the two values alone gives."""
    known = [one for one in two if one is not None]
    if len(known) < 2:
        return math.nan
    noise = sum(one.noise for one in known)
    return 2 * Z95 * math.sqrt(max(noise, sum(one.sampling for one in known) + noise - together))
