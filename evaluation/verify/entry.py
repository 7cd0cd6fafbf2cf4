"""What a report says of its own evidence: `evidence` and `checks` in report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protocol.canonical import digest_bytes
from protocol.evidence.checkpoint import Checkpoint


def evidence_entry(data: bytes, checkpoint: Checkpoint, cosigned: Sequence[str], failures: Mapping[str, str]) -> dict[str, Any]:
    """report.json's `evidence` and `checks`; `data` is the checkpoint in canonical JSON, `failures` why a silo did not sign."""
    roster = [site.name for site in checkpoint.roster]
    signed = sorted(cosigned)
    silent = {site: failures.get(site, "no reason is known") for site in sorted(set(roster) - set(signed))}
    handed = len(checkpoint.chains)
    return {
        "evidence": {
            "checkpoint": digest_bytes(data),
            "merkle_root": checkpoint.root,
            "receipts": checkpoint.receipts,
            "final_model": checkpoint.model,
            "cosigned_by": signed,
            "not_cosigned": silent,
        },
        "checks": [
            _check(
                "receipts of every hospital are signed and without a gap", handed == len(roster), f"{handed} of {len(roster)}"
            ),
            _check("every hospital cosigned the checkpoint", not silent, f"{len(signed)} of {len(roster)}"),
        ],
    }


def _check(name: str, passed: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "status": "ok" if passed else "failed", "detail": detail}
