"""What a silo says of how a model scores on its cohort."""

from __future__ import annotations

from msgspec import Struct

from protocol.messages.address import Address, Count, Finite, Positive, Receipt, Share


class Called(Struct, frozen=True, forbid_unknown_fields=True):
    """How many of one class's positives and negatives are called: from even odds on, and from the site's own threshold on.

    The threshold was chosen on validation patients and stays at the site: it is one patient's score.
    """

    positive_at_half: Count
    negative_at_half: Count
    positive_at_own: Count
    negative_at_own: Count


class ClassScores(Struct, frozen=True, forbid_unknown_fields=True):
    """How well one class is told from the rest at one site.

    `auroc` and its DeLong variance, by patient, come from the rows inside the hospital; they are None where a class is absent
    or all its images are of one patient.
    `histogram_*` count the scores (log-odds of the class) in the bins of `evaluation.histograms.EDGES`.
    `covariance_with_alone` is DeLong's covariance of this AUROC with that of the site's `alone` model on the same rows; None
    where it was not asked for, there is no such model, or a class is absent.
    `called` is there where the plan asks for thresholds of the sites' own and this site had the patients to choose one.
    """

    n_positive: Count
    n_negative: Count
    auroc: Share | None
    auroc_variance: Positive | None
    histogram_positive: tuple[Count, ...]
    histogram_negative: tuple[Count, ...]
    covariance_with_alone: Finite | None = None
    called: Called | None = None


class Scores(Struct, frozen=True, forbid_unknown_fields=True, tag="scores"):
    """How one model scored on one split: one ClassScores for a binary task, one per class otherwise."""

    address: Address
    kind: str
    split: str
    n: Count
    loss: Finite
    accuracy: Share
    classes: tuple[ClassScores, ...]


class NoisyHistograms(Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one class against the rest, counted in the bins of `evaluation.noisy_histograms.EDGES`, then noised.

    Each patient has one vote: one image, drawn at random. Noise is discrete Laplace on every bin, so counts may be negative.
    """

    positive: tuple[int, ...]
    negative: tuple[int, ...]


class PrivateScores(Struct, frozen=True, forbid_unknown_fields=True, tag="private-scores"):
    """How one model scored on one split under a private plan: noised histograms, one pair for a binary task.

    `epsilon` is what the release cost each patient of that split, `scale` that of the noise on each bin.
    """

    address: Address
    kind: str
    split: str
    epsilon: Positive
    scale: Positive
    classes: tuple[NoisyHistograms, ...]
    receipt: Receipt
