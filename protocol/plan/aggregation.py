"""The part of the plan about what becomes of the silos' updates: how they are put together, and when the result is rejected."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocol.plan.part import Part


class Mean(Part):
    """The weighted mean. The only one that needs no single update; one silo can move it anywhere."""

    name: Literal["mean"] = Field(description="weighted mean; the only one that needs no single update")


class Median(Part):
    """The median of every coordinate (Yin et al. 2018): holds while fewer than half of the silos are poisoned."""

    name: Literal["median"] = Field(
        description="coordinate-wise median; noise of mechanism local widens what it has to tell apart"
    )


class TrimmedMean(Part):
    """The mean of every coordinate without its largest and smallest values (Yin et al. 2018)."""

    name: Literal["trimmed_mean"] = Field(
        description="coordinate-wise mean without the extremes; noise of mechanism local widens what it has to tell apart"
    )
    trim: float = Field(gt=0.0, lt=0.5, description="fraction of the silos cut at each end, rounded down; above 0 to below 0.5")


class Krum(Part):
    """Krum and multi-Krum (Blanchard et al. 2017): the updates that lie nearest to most of the others."""

    name: Literal["krum"] = Field(
        description="mean of the `keep` updates nearest to their neighbours; noise of mechanism local widens all distances, so "
        "that only poison longer than the noise stands out"
    )
    byzantine: int = Field(ge=1, le=1000, description="f: poisoned silos to withstand; the quorum must be at least 2 f + 3")
    keep: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="m: updates that enter the mean; at most quorum - f - 2. 1 is Krum, more multi-Krum",
    )


Aggregation = Annotated[Mean | Median | TrimmedMean | Krum, Field(discriminator="name")]


class Guard(Part):
    """When the outcome of a round is rejected: the global model and the server's state go back to the last good ones.

    Both checks work on the aggregate alone. A rejected round is spent: it counts, it costs its epsilon, and the job goes on.
    """

    max_norm_ratio: float | None = Field(
        default=None,
        gt=1.0,
        le=1e6,
        description="reject a round whose mean update is this many times longer (L2) than the median of the accepted rounds so "
        "far, once there are 3; under privacy noise is most of that length, so poison must be longer than it. Left out: off",
    )
    max_validation_drop: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="reject the rounds since the last good validation if the pooled validation AUROC fell by more than this "
        "since then; only rounds that evaluation.every validates are judged, and it asks no release beyond those. Under "
        "privacy choose it wider than the noise of the AUROC. Left out: off",
    )
    max_rejected: int = Field(default=3, ge=0, le=1000, description="rejections in a row that are borne; one more ends the job")

    @property
    def active(self) -> bool:
        """Whether any round can be rejected."""
        return self.max_norm_ratio is not None or self.max_validation_drop is not None


def too_few(aggregation: Aggregation, quorum: int) -> str | None:
    """Why `aggregation` withstands nothing when only `quorum` updates come, and what to write instead; None if it does."""
    if isinstance(aggregation, Median) and quorum < 3:
        return f"aggregation: the median of {quorum} updates protects from nobody; raise quorum to 3 or more"
    if isinstance(aggregation, TrimmedMean) and int(aggregation.trim * quorum + 1e-9) < 1:
        return (
            f"aggregation.trim: {aggregation.trim:g} of {quorum} silos cuts none; raise trim or quorum until trim x quorum is 1"
        )
    if isinstance(aggregation, Krum):
        f, keep, sound = aggregation.byzantine, aggregation.keep, quorum - aggregation.byzantine - 2
        if quorum < 2 * f + 3:  # Blanchard et al. 2017, proposition 1
            return f"aggregation.byzantine: Krum withstands {f} among {2 * f + 3} silos or more, not {quorum}; raise quorum"
        if keep > sound:  # Damaskinos et al. 2019 (AggregaThor), theorem 1
            return f"aggregation.keep: of {quorum} updates, {f} poisoned, Krum can vouch for {sound}, not {keep}; lower keep"
    return None
