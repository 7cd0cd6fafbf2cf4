"""What a check says, and the checks of this machine: its clock, and whether it can keep a plan's own code apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from privacy.sandbox import available
from protocol.consortium.certificates import load_certificate
from protocol.consortium.files import read_public
from protocol.consortium.folder import PartyFolder
from silo_node.policy import load_policy
from silo_node.service.config import Places, SiloConfig

Verdict = Literal["ok", "warning", "failed"]
_SKEW_WARN_S = 60.0


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found, and if it is not ok what to do."""

    name: str
    verdict: Verdict
    says: str
    do: str = ""


def check_clock(where: Places, ahead_s: float | None) -> Check:
    """Against the broker's clock, if this one was found so many seconds ahead of it; else whether somebody keeps this one.

    Jobs run with a clock that is wrong: nothing is decided by it. But certificates begin and end by it, and the times in the
    ledger and the log are its own. It cannot be before the newest thing that the coordinator signed.
    """
    now = datetime.now(UTC)
    issued = load_certificate(read_public(PartyFolder(where.kit).certificate).decode("utf-8", "replace")).not_valid_before_utc
    if (behind := (issued - now).total_seconds()) > 0:
        return Check("clock", "failed", f"{behind:.0f} s before the certificate was made", "set the clock by NTP")
    says = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if ahead_s is not None:
        says += f", {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the broker's"
        if abs(ahead_s) > _SKEW_WARN_S:
            does = (
                "set this machine's clock by NTP; if it is right by a clock you trust, tell the coordinator to set the broker's"
            )
            return Check("clock", "warning", says, does)
        return Check("clock", "ok", says)
    if Path("/run/systemd/timesync/synchronized").exists() or Path("/var/lib/chrony/drift").exists():
        return Check("clock", "ok", f"{says}, kept by NTP")
    return Check(
        "clock", "warning", f"{says}; the broker told no time, and no NTP is seen here", "compare with a clock you trust"
    )


def check_code(config: SiloConfig, where: Places) -> Check:
    """Whether plans with a program of their own may run here, and whether this machine can keep them apart.

    Where the policy refuses them, nothing is asked of the machine. Raises PolicyError.
    """
    policy = load_policy(where.policy)
    if policy.custom_code == "refused":
        return Check("code", "ok", "plans with a program of their own are refused")
    if (why := available()) is not None:
        do = "mend that, or set custom_code: refused in the policy; until then such plans fail here"
        return Check("code", "failed", why, do)
    if (policy.approval or config.approval) == "local":
        do = "set approval: officers in the policy, or custom_code: refused"
        return Check("code", "warning", "programs of plans may run, kept apart, and nobody here reads them before", do)
    return Check("code", "ok", "programs of plans that the officers approve may run, kept apart")
