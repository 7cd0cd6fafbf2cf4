"""What a manifest says besides who takes part: what the sum is for, the model it is made with, and its grid of integers.

The aggregator makes it from the plan; every silo makes it again from its own copy and compares. The model's digest is in it
because an aggregator that shows silos different models could make all but one of them answer what it knows beforehand
(Pasquini, Francati & Ateniese, CCS 2022): silos sign the manifest, so they are all shown the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from privacy.secure_aggregation.manifest import Rules
from privacy.secure_aggregation.masking import Unsigned
from privacy.secure_aggregation.payload import wrapped
from privacy.secure_aggregation.shares import checked, in_manifest
from privacy.secure_aggregation.sizing import sizing
from protocol.canonical import digest_bytes, digest_json
from protocol.errors import AggregationError
from protocol.messages import Edges
from protocol.plan import Plan
from protocol.secure_aggregation import AUDIT, SCHEMA, UPDATE, Manifest, Member

_EDGES = "edges"  # in the manifest of an audit
COUNT_BITS = 32  # of a count, whatever privacy.width_bits is for updates


def count_bound(n_silos: int) -> int:
    """The largest absolute count one silo may put into a sum of `n_silos`: then the sum cannot wrap around."""
    bound: int = (2 ** (COUNT_BITS - 1) - 1) // n_silos
    return bound


def propose(
    plan: Plan,
    job: str,
    members: Sequence[Member],
    purpose: str,
    size: int,
    model: bytes | memoryview | None,
    edges: Edges | None = None,
    shares: Mapping[str, float] | None = None,
) -> Manifest:
    """What every silo is shown first. `size` counts the values of a vector; `model` and `edges` are what a request carries.

    `shares`: what each update weighs, where that changes from round to round.
    """
    wanted = sizing(plan, len(members))
    width, parameters = _grid(plan, purpose, len(members))
    return Manifest(
        schema=SCHEMA,
        job=job,
        plan_digest=plan.digest,
        roster=tuple(members),
        threshold=wanted.threshold,
        min_survivors=wanted.min_survivors,
        colluders=wanted.colluders,
        size=size,
        width_bits=width,
        parameters=parameters
        | {"model": _digest(model)}
        | ({} if edges is None else {_EDGES: edges_digest(edges)})
        | in_manifest(plan, purpose == UPDATE, shares),
    )


def rules_for(plan: Plan, purpose: str, size: int, n_silos: int, shown: Manifest, job: str) -> Rules:
    """What a silo holds the `shown` manifest against.

    Its model and an audit's edges are held against those that come later (`check_model`, `check_agreed_edges`).
    """
    wanted = sizing(plan, n_silos)
    width, parameters = _grid(plan, purpose, n_silos)
    weighed = purpose == UPDATE and plan.federation.weighting == "worst_site"
    return Rules(
        job=job,
        plan_digest=plan.digest,
        size=size,
        width_bits=width,
        min_survivors=wanted.min_survivors,
        colluders=wanted.colluders,
        parameters=parameters
        | {name: shown.parameters.get(name) for name in _later(purpose)}
        | in_manifest(plan, purpose == UPDATE, checked(plan, shown) if weighed else None),
    )


def check_model(manifest: Manifest, model: bytes | memoryview | None) -> None:
    """Raises AggregationError if this is not the model that all silos of the attempt were told of."""
    check_digest(manifest, _digest(model))


def check_digest(manifest: Manifest, digest: str) -> None:
    """As `check_model`, for a model of which the silo has kept the digest."""
    if manifest.parameters.get("model") != digest:
        raise AggregationError("the model is not the one in the manifest that all silos agreed on; nothing was sent.")


def check_agreed_edges(manifest: Manifest, edges: Edges) -> None:
    """Raises AggregationError if these are not the edges that all silos of the attempt were told of.

    Else an aggregator could give one hospital edges between which nobody's score lies, and subtract the rest.
    """
    if manifest.parameters.get(_EDGES) != edges_digest(edges):
        raise AggregationError("the edges are not those in the manifest that all silos agreed on; nothing was sent.")


def edges_digest(edges: Edges) -> str:
    """What a manifest says of an audit's edges."""
    return digest_json([list(one) for one in edges])


def masked_counts(counts: npt.NDArray[np.int64], n_silos: int, *, noised: bool) -> Unsigned:
    """Counts, shape (size,), as integers of COUNT_BITS for a sum of `n_silos`, not yet masked.

    Noised counts beyond the bound are cut to it: that happens after the noise, so it costs no privacy, and a refusal would tell
    of it; noise that reaches so far leaves no figure anyway. Exact ones are refused, AggregationError.
    """
    bound = count_bound(n_silos)
    if not noised and len(counts) and int(np.abs(counts).max()) > bound:
        raise AggregationError(
            f"a count is larger than {bound}, so a sum of {n_silos} silos may wrap around; nothing was sent."
        )
    return wrapped(np.clip(counts, -bound, bound), COUNT_BITS)


def _later(purpose: str) -> tuple[str, ...]:
    """What a manifest holds the digest of, before it comes."""
    return ("model", _EDGES) if purpose == AUDIT else ("model",)


def _grid(plan: Plan, purpose: str, n_silos: int) -> tuple[int, dict[str, Any]]:
    """Bits of a value, and what else fixes the meaning of the integers."""
    if purpose == UPDATE:
        wanted = sizing(plan, n_silos)
        return wanted.width_bits, wanted.parameters() | {"purpose": purpose}
    return COUNT_BITS, {"purpose": purpose, "bound": count_bound(n_silos)}


def _digest(model: bytes | memoryview | None) -> str:
    return "" if model is None else digest_bytes(model)
