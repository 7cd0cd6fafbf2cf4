"""Deterministic seeds for everything that is not privacy: initial weights, splits, shuffles, augmentation.

One plan seed gives an independent stream per purpose, site and round, so that no order of events changes a result.
Privacy noise and sampling never come from here; they come from the operating system.
"""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for `purpose`, e.g. `derive_seed(plan.seed, "shuffle", site, round)`."""
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
