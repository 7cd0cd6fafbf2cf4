"""Test rows of made-up hospitals, and their counts under a layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.audit.counting import TestRows as Rows
from evaluation.audit.counting import count_images
from evaluation.audit.edges import Edges, choose_edges
from evaluation.audit.layout import AuditLayout
from evaluation.histograms import histogram
from evaluation.scoring import log_odds, scored_classes
from protocol.plan.audit import Audit

SITES = ("a", "b", "c")


def layout(n_classes: int = 2, *, private: bool = False, sites: tuple[str, ...] = SITES, **audit: object) -> AuditLayout:
    """`n_classes` of the task; scored are one of two, or all."""
    return AuditLayout(Audit(**audit), len(scored_classes(n_classes)), private, sites)  # type: ignore[arg-type]


def binormal(
    rng: np.random.Generator, n: int, *, prevalence: float = 0.3, apart: float = 1.5, scale: float = 1.0, centre: float = -0.7
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and log-odds (n,): unit normals `apart`; exactly calibrated at scale 1 if `centre` is logit(prevalence)."""
    labels = (rng.random(n) < prevalence).astype(np.int64)
    x = rng.normal(apart * labels - apart / 2.0, 1.0)
    return labels, scale * (apart * x + centre)


def logs(odds: np.ndarray) -> np.ndarray:
    """Logits (n, 2) with these log-odds of the second class."""
    return np.stack([np.zeros(len(odds)), odds], axis=1)


def attributes(rng: np.random.Generator, n: int, unknown: float = 0.05) -> list[dict[str, str | int | None]]:
    """Sex and age of n images."""
    sexes = np.where(rng.random(n) < unknown, "", rng.choice(["F", "M"], n))
    return [{"sex": str(sex) or None, "age": int(age)} for sex, age in zip(sexes, rng.integers(20, 95, n), strict=True)]


def hospitals(
    rng: np.random.Generator, n: int, sites: Sequence[str] = SITES, images: int = 1, **scores: float
) -> dict[str, Rows]:
    """`n` images at each site, `images` of each patient, two classes."""
    made = {}
    for site in sites:
        labels, odds = binormal(rng, n, **scores)
        made[site] = Rows(labels, logs(odds), np.arange(n) // images, attributes(rng, n))
    return made


def pooled_grid(rows: Mapping[str, Rows], n_classes: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
    """The fixed-grid histograms of each scored class over all sites."""
    found = []
    for index in scored_classes(n_classes):
        pairs = [histogram(one.labels == index, log_odds(one.log_probabilities, index)) for one in rows.values()]
        found.append((np.sum([p for p, _ in pairs], axis=0), np.sum([n for _, n in pairs], axis=0)))
    return found


def summed(shape: AuditLayout, rows: Mapping[str, Rows], n_classes: int = 2) -> tuple[tuple[Edges, ...], np.ndarray]:
    """Edges chosen from the rows, and the sum of the hospitals' vectors."""
    edges = choose_edges(shape, pooled_grid(rows, n_classes))
    return edges, np.sum([count_images(shape, site, edges, one) for site, one in rows.items()], axis=0)


def pool(rows: Mapping[str, Rows]) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and log-odds (n,) of everybody, two classes."""
    parts = list(rows.values())
    odds = [one.log_probabilities[:, 1] - one.log_probabilities[:, 0] for one in parts]
    return np.concatenate([one.labels for one in parts]), np.concatenate(odds)
