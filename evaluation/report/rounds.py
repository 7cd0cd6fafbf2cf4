"""The rounds' entries in the report: who took part, how the losses fell, and the validation AUROC with its interval."""

from __future__ import annotations

from typing import Any

from evaluation.federated import pooled, site_auroc
from evaluation.measure import AnyScores
from evaluation.report.inputs import RoundSummary
from evaluation.summed import AnySum


def round_entry(one: RoundSummary) -> dict[str, Any]:
    """report.json's `rounds[i]`; `validation_global` is null where no site validated, `epsilon` where it was not computed.

    `rejected` says why the guard did not let the round stand; null if it does.
    """
    sites: list[AnyScores | AnySum] = [one.validation[site] for site in sorted(one.validation)]
    if one.validation_sum is not None and one.validation_sum.total is not None:
        sites = [one.validation_sum.total]
    return {
        "round": one.round,
        "attempt": one.attempt,
        "seconds": round(one.seconds, 3),
        "configured": list(one.configured),
        "trained": list(one.trained),
        "aggregated": list(one.aggregated),
        "failures": {site: one.failures[site] for site in sorted(one.failures)},
        "train_loss": {site: round(one.train_loss[site], 6) for site in sorted(one.train_loss)},
        "validation": {site: site_auroc(one.validation[site]).estimate().to_json() for site in sorted(one.validation)},
        "validation_global": pooled(sites).estimate().to_json() if sites else None,
        "epsilon": None if one.epsilon is None else round(one.epsilon, 6),
        "upload_bytes": {site: one.upload_bytes[site] for site in sorted(one.upload_bytes)},
        "work": {site: round(one.work[site], 4) for site in sorted(one.work)},
        "rejected": one.rejected,
    }
