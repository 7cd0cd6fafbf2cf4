"""What local training minimises: cross-entropy with the plan's balancing, and FedProx's proximal term."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from protocol.plan.training import Loss


class Objective:
    """Cross-entropy on logits, balanced for the class frequencies of one silo.

    `prior_adjustment` tau adds tau * log(prior) to the logits while training (Menon et al., "Long-tail learning via logit
    adjustment", ICLR 2021), so that the network itself learns what does not depend on how frequent a class is at this
    hospital. Frequencies are smoothed by one image a class, so that an absent class has a finite prior.

    A weighted mean is divided by the sum of its weights, which for a single image cancels the weight; `by_image` divides by
    the number of images instead, so that class weights also hold for the few images of one patient.
    """

    def __init__(
        self, loss: Loss, class_counts: npt.NDArray[np.int64], device: torch.device, *, by_image: bool = False
    ) -> None:
        counts = torch.as_tensor(class_counts, dtype=torch.float32, device=device)
        smoothed = (counts + 1.0) / (counts + 1.0).sum()
        self._offset = loss.prior_adjustment * smoothed.log() if loss.prior_adjustment else None
        self._weights = None
        if loss.class_weights == "balanced":
            self._weights = torch.where(counts > 0, counts.sum() / (len(counts) * counts.clamp(min=1.0)), 0.0)
        elif not isinstance(loss.class_weights, str):
            self._weights = torch.tensor(loss.class_weights, dtype=torch.float32, device=device)
        self._smoothing, self._by_image = loss.label_smoothing, by_image

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of logits (n, classes) against labels (n,)."""
        if self._offset is not None:
            logits = logits + self._offset
        reduction = "none" if self._by_image else "mean"
        loss = functional.cross_entropy(
            logits, labels, weight=self._weights, label_smoothing=self._smoothing, reduction=reduction
        )
        return loss.mean()


@torch.no_grad()
def proximal_step(parameters: Sequence[torch.Tensor], anchor: Sequence[torch.Tensor], strength: float) -> None:
    """Move `parameters` towards `anchor` by the proximal operator of mu/2 |w - anchor|^2 after a step of rate lr.

    w <- anchor + (w - anchor) / (1 + lr * mu), with `strength` = lr * mu: the backward half of forward-backward splitting
    (Parikh & Boyd, "Proximal Algorithms", 2014, section 4.2) on FedProx's local objective (Li et al. 2020, equation 2). It
    has the same fixed point as adding the term to the loss, and is stable for every mu (docs/decisions/0001).
    """
    if parameters:
        torch._foreach_lerp_(list(parameters), list(anchor), strength / (1.0 + strength))


@torch.no_grad()
def squared_distance(parameters: Sequence[torch.Tensor], anchor: Sequence[torch.Tensor]) -> float:
    """|w - anchor|^2 over all parameters."""
    return float(sum(((p - a).double() ** 2).sum() for p, a in zip(parameters, anchor, strict=True)))
