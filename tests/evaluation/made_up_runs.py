"""Made-up runs: scores drawn with a known AUROC, wrapped as the summary a finished job hands over."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from evaluation.noisy_histograms import count_votes
from evaluation.report.inputs import RoundSummary, RunSummary, SiteSummary
from evaluation.scoring import class_scores
from protocol.canonical import digest_json
from protocol.messages import Address, NoisyHistograms, PrivateScores, Receipt, Scores

ADDRESS = Address(job="demo", plan_digest="sha256:00", round=0, attempt=1)
RECEIPT = Receipt(cohort="3f2c", entries=4, head="sha256:11", public_key=b"k" * 32, signature=b"s" * 64)
GUARANTEE: dict[str, Any] = {
    "mechanism": "local",
    "secure_aggregation": False,
    "unit": "patient",
    "epsilon": 8.0,
    "delta": 1e-6,
    "noise_multiplier": 0.87,
    "sampling_rate": 0.1,
    "steps": 300,
    "clip_norm": 1.0,
    "epsilon_by_part": {"train": 8.0, "validation": 3.0, "test": 0.3},
    "batch_patients": 40,
    "max_images_per_patient": 8,
    "max_silos_per_patient": 1,
    "metrics_epsilon": 0.3,
}


def draw_rows(
    seed: int, n: int, separation: float, *, prevalence: float = 0.4, n_classes: int = 2, model: int = 0, own: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and log-probabilities (n, n_classes): Gaussian logits, those of the true class shifted up by `separation`.

    One seed is one set of images: labels and noise are the same, but for the share `own` of the variance, drawn by `model`.
    """
    rng = np.random.default_rng(seed)
    rest = np.full(n_classes - 1, prevalence / (n_classes - 1))
    labels = rng.choice(n_classes, size=n, p=[1 - prevalence, *rest])
    logits = rng.normal(size=(n, n_classes)) * np.sqrt(1 - own)
    logits += np.random.default_rng((seed, model)).normal(size=(n, n_classes)) * np.sqrt(own)
    logits[np.arange(n), labels] += separation
    return labels, logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def scores_of(
    labels: np.ndarray,
    log_probabilities: np.ndarray,
    alone: np.ndarray | None = None,
    *,
    kind: str = "federated",
    split: str = "test",
) -> Scores:
    n = len(labels)
    loss = float(-log_probabilities[np.arange(n), labels].mean()) if n else 0.0
    accuracy = float((log_probabilities.argmax(axis=1) == labels).mean()) if n else 0.0
    return Scores(ADDRESS, kind, split, n, loss, accuracy, class_scores(labels, log_probabilities, alone))


def draw_scores(
    seed: int,
    n: int,
    separation: float,
    *,
    prevalence: float = 0.4,
    n_classes: int = 2,
    kind: str = "federated",
    split: str = "test",
) -> Scores:
    """Scores of one model by itself, without a covariance."""
    rows = draw_rows(seed, n, separation, prevalence=prevalence, n_classes=n_classes)
    return scores_of(*rows, kind=kind, split=split)


def make_site(
    name: str, seed: int, n_test: int, *, n_classes: int = 2, alone: bool = True, personalised: bool = True
) -> SiteSummary:
    counts = (n_test * 2, *[n_test] * (n_classes - 1))
    separations = (1.15, 0.2 + 0.3 * (seed % 4), 1.2)
    (labels, federated), (_, baseline), (_, tuned) = (
        draw_rows(seed, n_test, separation, n_classes=n_classes, model=model, own=0.2)
        for model, separation in enumerate(separations)
    )
    beside = baseline if alone else None
    return SiteSummary(
        id=name,
        n_patients=int(n_test * 3.5),
        n_train=sum(counts),
        n_validation=n_test // 2,
        n_test=n_test,
        class_counts_train=counts,
        modalities=("DX",),
        manufacturers=("Siemens Healthineers", "Philips")[: 1 + seed % 2],
        store_digest="sha256:" + f"{seed:02x}" * 32,
        federated=scores_of(labels, federated, beside),
        alone=scores_of(labels, baseline, kind="alone") if alone else None,
        personalised=scores_of(labels, tuned, beside, kind="personalised") if personalised else None,
    )


def make_rounds(sites: tuple[SiteSummary, ...], n_rounds: int, *, n_classes: int = 2) -> tuple[RoundSummary, ...]:
    ids, rounds = tuple(site.id for site in sites), []
    for number in range(1, n_rounds + 1):
        failed = ids[-1] if len(ids) > 1 and number in (3, 4) else None
        trained = tuple(name for name in ids if name != failed)
        rounds.append(
            RoundSummary(
                round=number,
                attempt=1,
                seconds=12.5 + number,
                configured=ids,
                trained=trained,
                aggregated=trained,
                failures={failed: "DeadlineError: the round's deadline of 60 s passed"} if failed else {},
                train_loss={site: 0.72 * 0.88**number + 0.02 * index for index, site in enumerate(trained)},
                validation={
                    site.id: draw_scores(
                        1000 * index + number,
                        site.n_validation,
                        1.1 - 1.0 * 0.75**number,
                        n_classes=n_classes,
                        split="validation",
                    )
                    for index, site in enumerate(sites)
                    if site.n_validation
                },
            )
        )
    return tuple(rounds)


def make_summary(
    n_tests: dict[str, int] | None = None,
    *,
    n_rounds: int = 10,
    n_classes: int = 2,
    alone: bool = True,
    personalised: bool = True,
) -> RunSummary:
    """A finished run; `n_tests` maps a hospital's name to its number of test images."""
    n_tests = n_tests or {"charite": 420, "san-raffaele": 260, "uz-leuven": 110, "st-elsewhere": 16}
    sites = tuple(
        make_site(name, index, n, n_classes=n_classes, alone=alone, personalised=personalised)
        for index, (name, n) in enumerate(n_tests.items(), start=1)
    )
    classes = [str(index) for index in range(n_classes)]
    names = ["no finding", "pneumonia", "effusion", "nodule"][:n_classes]
    plan: dict[str, Any] = {"name": "demo", "task": {"kind": "classification", "classes": classes, "class_names": names}}
    return RunSummary(
        job="demo-2026-11-02",
        title="Pneumonia on chest radiographs, four hospitals",
        intended_use="Research: rank frontal chest radiographs of adults for a second look. Not for clinical decisions.",
        generated_at="2026-11-02T09:30:00+00:00",
        plan=plan,
        plan_digest=digest_json(plan),
        model={
            "network": "DenseNet121",
            "n_parameters": 6955906,
            "digest": "sha256:" + "ab" * 32,
            "file": "model.safetensors",
            "personal": [],
        },
        privacy={"mechanism": "none", "secure_aggregation": False},
        rounds=make_rounds(sites, n_rounds, n_classes=n_classes),
        sites=sites,
        software={"fedward": "0.1.0", "torch": "2.13.0", "monai": "1.5.0"},
    )


def noised(scores: tuple[np.ndarray, np.ndarray], seed: int, epsilon: float, kind: str, split: str) -> PrivateScores:
    """Labels (n,) and log-probabilities (n, classes) as a private silo sends them; every row is a patient."""
    rng, labels = np.random.default_rng((seed, 99)), scores[0]
    pairs = count_votes(labels, scores[1], np.arange(len(labels)), lambda k: int(rng.integers(k)))
    scale = len(pairs) / epsilon
    q = -math.expm1(-1.0 / scale)

    def add(counts: np.ndarray) -> tuple[int, ...]:
        return tuple((counts + rng.geometric(q, len(counts)) - rng.geometric(q, len(counts))).tolist())

    classes = tuple(NoisyHistograms(add(positive), add(negative)) for positive, negative in pairs)
    return PrivateScores(ADDRESS, kind, split, epsilon, scale, classes, RECEIPT)


def make_private_summary(
    n_tests: dict[str, int] | None = None, *, n_rounds: int = 10, n_classes: int = 2, epsilon: float = 8.0
) -> RunSummary:
    """A finished run under mechanism local; `n_tests` maps a hospital's name to its number of test patients."""
    n_tests = n_tests or {"charite": 1400, "san-raffaele": 900, "uz-leuven": 520, "st-elsewhere": 60}
    summary = make_summary(n_tests, n_rounds=n_rounds, n_classes=n_classes, alone=False, personalised=False)
    sites, rounds = [], []
    for index, site in enumerate(summary.sites, start=1):
        rows = draw_rows(index, n_tests[site.id], 1.15, n_classes=n_classes)
        unknown = dict.fromkeys(("n_patients", "n_train", "n_validation", "n_test"))
        empty = {"class_counts_train": (), "modalities": (), "manufacturers": (), "store_digest": ""}
        scores = noised(rows, index, 0.3, "federated", "test")
        sites.append(dataclasses.replace(site, **unknown, **empty, federated=scores))
    for one in summary.rounds:
        validation = {
            site: noised(
                draw_rows(1000 * index + one.round, n // 2, 1.1 - 0.75**one.round, n_classes=n_classes),
                1000 * index + one.round,
                0.3,
                "federated",
                "validation",
            )
            for index, (site, n) in enumerate(n_tests.items())
        }
        spent = epsilon * math.sqrt(one.round / n_rounds)
        rounds.append(dataclasses.replace(one, train_loss={}, validation=validation, epsilon=spent))
    return dataclasses.replace(
        summary,
        sites=tuple(sites),
        rounds=tuple(rounds),
        privacy=GUARANTEE | {"epsilon": epsilon, "epsilon_by_part": {"train": epsilon, "validation": 3.0, "test": 0.3}},
    )
