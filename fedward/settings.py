"""How a federation on one machine is run: where it writes, how it computes, what its hospitals allow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Where a run writes, how it computes, and what its hospitals allow. `threads` 0: one per core, at most 8; one under
    a private plan.

    `policy` stands for every hospital's own file; without it each store's neighbour NAME.policy.yaml does. `accept_no_dp`
    and `accept_code` say for every hospital that a plan without differential privacy, or one with a program of its own, may
    run. `ledgers` is the folder of the cohorts' ledgers; without it each lies beside its store, where the next run finds it.
    `homes` is the folder of the silos' keys and newest receipts; without it the user's data folder, where neither a new `out`
    nor a lost ledger forgets them.
    """

    out: Path
    resume: bool = False
    tracking_uri: str = ""
    device: str = "auto"
    threads: int = 0
    policy: Path | None = None
    accept_no_dp: bool = False
    ledgers: Path | None = None
    homes: Path | None = None
    accept_code: bool = False
