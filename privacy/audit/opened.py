"""Mechanism distributed: the sums that secure aggregation opens, less what colluding hospitals know of them.

Each hospital of a sum does what it does in training (silo_node.training.private, held to the bit by a test): the integer sum of
its sampled patients, plus its share of the noise, modulo 2^width. There are no more hospitals in the sum than it must have (U),
and c of them side with the aggregator and take their own part out again. What is left holds exactly the noise of U - c shares:
the least that anybody can ever see, and what the guarantee was computed from.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from privacy.audit.stream import Seen, Stream, Sums
from privacy.clipping import SCALE
from privacy.per_patient import Loss
from privacy.randomness import Integers, SecureBits
from privacy.secure_aggregation.masking import Unsigned
from privacy.secure_aggregation.payload import wrapped
from privacy.secure_aggregation.sizing import noise_share, sizing
from privacy.step import Batch, PrivateStep
from protocol.errors import InputError
from protocol.plan import Plan
from protocol.secure_aggregation import SCHEMA, Manifest, Member


def manifest_of(plan: Plan, silos: int) -> Manifest:
    """The numbers that `silos` hospitals would be shown under `plan`; their keys are zeros.

    Raises InputError for fewer hospitals than the plan's quorum, PlanError where so many cannot aggregate securely.
    """
    wanted = sizing(plan, silos)
    if wanted.min_survivors > silos:
        raise InputError(f"--silos {silos}: federation.quorum is {plan.federation.quorum}, and no sum has fewer. Take as many.")
    return Manifest(
        schema=SCHEMA,
        job="audit",
        plan_digest=plan.digest,
        roster=tuple(Member(f"hospital-{number}", bytes(32)) for number in range(1, silos + 1)),
        threshold=wanted.threshold,
        min_survivors=wanted.min_survivors,
        colluders=wanted.colluders,
        size=1,
        width_bits=wanted.width_bits,
        parameters=wanted.parameters(),
    )


@dataclasses.dataclass(frozen=True)
class OpenedSums(Stream):
    """What the aggregator and c hospitals see of the sums of U hospitals. The patients are at the other U - c, in turn."""

    manifest: Manifest

    @property
    def honest(self) -> int:
        """Hospitals whose noise nobody else knows."""
        return self.manifest.min_survivors - self.manifest.colluders

    @property
    def share(self) -> float:
        """Standard deviation of one hospital's noise, in clip norms."""
        return noise_share(self.step.noise_multiplier, self.manifest)

    @property
    def adversary(self) -> str:
        """Who sees what."""
        colluders = self.manifest.colluders
        who = f"the aggregator with {colluders} of {len(self.manifest.roster)} hospitals" if colluders else "the aggregator"
        noise = ", knows those hospitals' noise" if colluders else ""
        return f"a white-box adversary, {who}, who sees every opened sum{noise} and chose the patients' gradients"

    @property
    def mechanism(self) -> dict[str, Any]:
        """Name and numbers."""
        return {
            "name": "distributed",
            **self._figures(),
            "silos": len(self.manifest.roster),
            "min_survivors": self.manifest.min_survivors,
            "colluders": self.manifest.colluders,
            "noise_share": self.share,
            "width_bits": self.manifest.width_bits,
        }

    @property
    def what(self) -> str:
        """What is released."""
        return "opened sums"

    @property
    def detail(self) -> str:
        """How the noise comes together, and the least of it."""
        u, n, width = self.manifest.min_survivors, len(self.manifest.roster), self.manifest.width_bits
        return (
            f"{n} hospitals, {u} of them in a sum modulo 2^{width}; {self.manifest.colluders} may collude, so {self.honest} "
            f"shares of noise_multiplier {self.share:.4g} make up the whole"
        )

    def released(self, network: nn.Module, loss: Loss, patients: int, batch: Batch) -> Seen:
        """The opened sum without the colluders' parts."""
        homes = [range(hospital, patients, self.honest) for hospital in range(self.honest)]
        bits = [SecureBits() for _ in range(self.manifest.min_survivors)]
        return self._seen(self.step, network, loss, batch, homes, bits) / np.float64(SCALE)

    def sums(self) -> Sums:
        """Sums with noise that is always the same: a float in it, or a sum that wraps around, would show in a difference.

        All patients are at one hospital: there they could move each other.
        """
        everybody = dataclasses.replace(self.step, sampling_rate=1.0)  # draws no bits, so all of them are the noise's
        keys = [os.urandom(32) for _ in range(self.manifest.min_survivors)]  # nothing is released: they may serve again

        def total(network: nn.Module, loss: Loss, patients: int, batch: Batch) -> Integers:
            bits = [SecureBits.from_key(key) for key in keys]
            return self._seen(everybody, network, loss, batch, [range(patients)], bits)

        return total

    def _seen(
        self,
        step: PrivateStep,
        network: nn.Module,
        loss: Loss,
        batch: Batch,
        homes: Sequence[range],
        bits: Sequence[SecureBits],
    ) -> Integers:
        """`homes`: the patients of the first hospitals. `bits`: one stream a hospital, the colluders' last."""
        share, width = self.share, self.manifest.width_bits
        parts: list[Unsigned] = []
        for hospital, own in enumerate(bits):
            here = homes[hospital] if hospital < len(homes) else range(0)
            parts.append(wrapped(step.part(share, network, loss, len(here), _of(batch, here), own), width))
        total = np.zeros_like(parts[0])
        for part in parts:
            total += part
        for known in parts[self.honest :]:
            total -= known
        return total.view(f"<i{width // 8}").astype(np.int64)


def _of(batch: Batch, patients: range) -> Batch:
    return lambda number, bits: batch(patients[number], bits)
