"""Test rows of made-up hospitals under two models, and the audit of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from evaluation.audit import content
from evaluation.audit.layout import AuditLayout
from tests.evaluation.audit.made_up_rows import SITES, Rows, attributes, layout, logs, summed

OTHER = "sha256:" + "ab" * 32
APART = (1.6, 1.3)  # of the final model's scores, and of the other's


def paired_layout(n_classes: int = 2, *, sites: tuple[str, ...] = SITES, **audit: object) -> AuditLayout:
    return layout(n_classes, sites=sites, compare_with=OTHER, **audit)


def scores(
    rng: np.random.Generator, labels: np.ndarray, alike: float, spread: float = 1.0, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds (n,) of both models, whose errors correlate by `alike`; `spread` and `shift` the other's."""
    own = rng.normal(size=len(labels))
    other = alike * own + np.sqrt(1.0 - alike**2) * rng.normal(size=len(labels))
    first, second = (apart * (x + apart * (labels - 0.5)) - 0.7 for x, apart in zip((own, other), APART, strict=True))
    return first, spread * second + shift


def both(
    rng: np.random.Generator, n: int, alike: float = 0.9, sites: Sequence[str] = SITES, images: int = 1, **other: float
) -> dict[str, Rows]:
    """`n` images at each site; the `images` of a patient have one label and move together."""
    made = {}
    for site in sites:
        labels = (rng.random(n // images + 1) < 0.3).astype(np.int64).repeat(images)[:n]
        own, second = scores(rng, labels, alike, **other)
        made[site] = Rows(labels, logs(own), np.arange(n) // images, attributes(rng, n), logs(second))
    return made


def audited(shape: AuditLayout, rows: Mapping[str, Rows]) -> dict[str, Any]:
    """report.json's `audit` of these rows, without the tests of fairness."""
    edges, total = summed(shape, rows)
    with mock.patch.object(content, "fairness_entry", return_value=None):
        return content.audit_content(shape, ["finding"], edges, total, list(rows), None)


def everyone(rows: Mapping[str, Rows]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, log-odds of both models and patients (n,) of all hospitals."""
    parts = list(rows.values())
    own, other = (
        np.concatenate([one[:, 1] - one[:, 0] for one in each])
        for each in ([x.log_probabilities for x in parts], [x.baseline for x in parts])
    )
    patients = np.concatenate([x.patients + 10_000 * index for index, x in enumerate(parts)])
    return np.concatenate([x.labels for x in parts]), own, other, patients


def swapped(rows: Mapping[str, Rows]) -> dict[str, Rows]:
    """The other model as the final one."""
    return {site: replace(one, log_probabilities=one.baseline, baseline=one.log_probabilities) for site, one in rows.items()}
