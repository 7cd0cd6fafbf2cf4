"""On one machine: where each hospital's policy and ledger lie, and whether enough hospitals allow a plan."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from protocol.errors import CohortError, PolicyError
from protocol.plan import Plan

if TYPE_CHECKING:
    from fedward.settings import Settings
    from silo_node.cohort import CohortStore
    from silo_node.governance.approvals import Approvals
    from silo_node.policy import Policy


def ledger_of(store: Path, folder: Path | None) -> Path:
    """The ledger of the cohort in `store`: beside it, so that it outlives every run; or in `folder`."""
    store = store.absolute()
    return (folder or store.parent) / f"{store.name}.ledger.jsonl"


def ledgers_beside(stores: Mapping[str, Path]) -> list[str]:
    """Names of the ledgers that lie beside the stores."""
    return [ledger.name for store in stores.values() if (ledger := ledger_of(store, None)).exists()]


def home_of(ledger: Path, folder: Path | None) -> Path:
    """Where the silo with this ledger keeps its key and newest receipt: by the ledger's place, in the user's data folder."""
    if folder is None:
        named = os.environ.get("FEDWARD_HOME")
        folder = Path(named) if named else platformdirs.user_data_path("fedward")
    place = hashlib.sha256(str(ledger.absolute()).encode()).hexdigest()[:16]
    home = folder / "silos" / f"{ledger.name.removesuffix('.ledger.jsonl')}-{place}"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home


def approvals_of(name: str, policy: Policy, store: Path) -> Approvals:
    """On one machine the operator approves the plan by running it; a policy that asks its officers is not passed over.

    Raises ApprovalError for such a policy: their decisions are known to the hospital's own node only.
    """
    from protocol.errors import ApprovalError
    from silo_node.governance.approvals import ApprovedLocally

    if policy.approval == "officers":
        raise ApprovalError(
            f"{name}: the policy beside {store.name} says approval: officers, so only the hospital's own node may run plans. "
            "`fedward submit` hands a plan over."
        )
    return ApprovedLocally()


def policies_of(stores: Mapping[str, Path], settings: Settings) -> dict[str, Policy]:
    """Each hospital's policy. Raises PolicyError naming every wrong key with its line, StoreError if there is no such store."""
    from silo_node.cohort import CohortStore
    from silo_node.policy import load_policy

    if settings.policy is not None and not settings.policy.exists():
        raise PolicyError(f"{settings.policy}: no such file; `fedward silo policy FILE` writes one.")
    policies = {}
    for name, store in stores.items():
        store = store.absolute()
        if not store.is_dir():
            CohortStore.open(store, verify=False)  # says what is wrong
        policy = load_policy(settings.policy or store.with_name(f"{store.name}.policy.yaml"))
        policies[name] = policy.model_copy(update=_accepted(settings))
    return policies


def _accepted(settings: Settings) -> dict[str, object]:
    """What the command line says in the name of every hospital of this machine."""
    said: dict[str, object] = {"allow_without_privacy": True} if settings.accept_no_dp else {}
    return said | ({"custom_code": "approved"} if settings.accept_code else {})


def refuse_plan(plan: Plan, policies: Mapping[str, Policy]) -> None:
    """Raises PolicyError before anything is read if so many hospitals refuse `plan` that no round can reach its quorum."""
    from privacy.guarantee import guarantee_of

    guarantee = None if plan.privacy.mechanism == "none" else guarantee_of(plan)
    reasons = {}
    for name, policy in policies.items():
        try:
            policy.admit(plan, guarantee)
        except PolicyError as error:
            reasons[name] = str(error)
    if len(policies) - len(reasons) >= plan.federation.quorum:
        return
    if len(set(reasons.values())) == 1:
        raise PolicyError(f"{', '.join(reasons)}: {next(iter(reasons.values()))}")
    raise PolicyError("\n".join(f"{name}: {reason}" for name, reason in reasons.items()))


def refuse_unlabelled(plan: Plan, cohorts: Mapping[str, CohortStore]) -> None:
    """Raises CohortError if not one image of some hospital has a class of the plan: mostly a misspelt target.

    A hospital refuses no private plan for it, as that would leave. Here nothing leaves, and patients should not pay for noise.
    """
    target, classes = plan.task.target, frozenset(plan.task.classes)
    empty = [
        name for name, store in cohorts.items() if not any(sample.labels.get(target) in classes for sample in store.samples)
    ]
    if empty:
        raise CohortError(
            f"no image of {', '.join(empty)} has a label {target!r} that is one of {', '.join(sorted(classes))}; nothing was "
            "charged. Mend task.target or task.classes: `fedward silo show STORE` lists the labels."
        )
