"""Refuse a summary from which no honest report follows. Every refusal names the site or round it is about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from evaluation import histograms
from evaluation.audit.edges import check_edges
from evaluation.audit.sums import check_counts
from evaluation.measure import AnyScores
from evaluation.noisy_histograms import N_BINS
from evaluation.report.inputs import RoundSummary, RunSummary, SiteSummary, Summed
from evaluation.summed import ExactSum, NoisedSum
from protocol.canonical import digest_json
from protocol.errors import EvaluationError
from protocol.messages import ClassScores, PrivateScores, Scores

# The silo scores its own model twice, for the covariance and by itself; on a GPU the two may rank near ties differently.
_SLACK, _ROUNDING = 1.01, 1e-12


def check(summary: RunSummary) -> None:
    """Raises EvaluationError unless the summary is consistent: ids, counts, ranges, digests, one set of classes."""
    if not summary.sites:
        raise EvaluationError("no site is in the summary; a report needs at least one.")
    ids = [site.id for site in summary.sites]
    if len(set(ids)) != len(ids):
        raise EvaluationError(f"two sites share an id: {ids}.")
    try:
        datetime.fromisoformat(summary.generated_at)
        digest = digest_json(summary.plan)
    except ValueError as error:
        raise EvaluationError(f"generated_at or plan cannot be used: {error}.") from error
    if digest != summary.plan_digest:
        raise EvaluationError(f"plan_digest {summary.plan_digest} is not the digest of the plan given ({digest}).")
    for site in summary.sites:
        _check_site(site)
    for number in summary.rounds:
        _check_round(number)
    sizes = {len(scores.classes) for _, scores in _all_scores(summary)}
    if len(sizes) > 1:
        raise EvaluationError(f"sites scored {sorted(sizes)} classes; all must score the same.")
    wanted = Scores if summary.privacy.get("mechanism") == "none" else PrivateScores
    for where, scores in _all_scores(summary):
        if not isinstance(scores, wanted):
            raise EvaluationError(f"{where}: {type(scores).__name__} under mechanism {summary.privacy.get('mechanism')!r}.")
        refuse_impossible(where, scores)
    for where, one in _all_sums(summary):
        _check_sum(where, one, ExactSum if wanted is Scores else NoisedSum)
    if summary.summed and any(True for _ in _all_scores(summary)):
        raise EvaluationError("single scores under a plan that lets only sums leave (evaluation.scores: summed).")
    _check_audit(summary)
    for site in summary.sites:
        for kind, model in (("federated", site.federated), ("personalised", site.personalised)):
            if isinstance(model, Scores) and isinstance(site.alone, Scores):
                _check_pair(f"site {site.id}, {kind}", model, site.alone)


def refuse_impossible(where: str, scores: AnyScores) -> None:
    """Raises EvaluationError for scores that no model has on any cases; `where` says whose they are."""
    if not scores.classes:
        raise EvaluationError(f"{where}: no class was scored.")
    _CHECKS[type(scores)](where, scores)


def _check_site(site: SiteSummary) -> None:
    counts = (site.n_patients, site.n_train, site.n_validation, site.n_test, *site.class_counts_train)
    if any(count is not None and count < 0 for count in counts):
        raise EvaluationError(f"site {site.id}: a count is negative: {counts}.")


def _check_round(one: RoundSummary) -> None:
    where = f"round {one.round}, attempt {one.attempt}"
    if one.round < 0 or one.attempt < 0 or not (math.isfinite(one.seconds) and one.seconds >= 0):
        raise EvaluationError(f"{where}: numbers and seconds must be finite and not negative.")
    if not set(one.aggregated) <= set(one.trained) <= set(one.configured):
        raise EvaluationError(f"{where}: who was aggregated must have trained, who trained must be configured.")
    if not all(math.isfinite(loss) for loss in one.train_loss.values()):
        raise EvaluationError(f"{where}: a training loss is not finite; such an update must be refused, not reported.")
    if one.epsilon is not None and not 0.0 <= one.epsilon < math.inf:
        raise EvaluationError(f"{where}: an epsilon of {one.epsilon} is not possible.")


def _all_scores(summary: RunSummary) -> Iterator[tuple[str, AnyScores]]:
    for site in summary.sites:
        of_site = {"federated": site.federated, "alone": site.alone, "personalised": site.personalised}
        for kind, scores in (of_site | {"recalibrated": site.recalibrated}).items():
            if scores is not None:
                yield f"site {site.id}, {kind}", scores
    for one in summary.rounds:
        for site_id, scores in one.validation.items():
            yield f"round {one.round}, site {site_id}, validation", scores


def _all_sums(summary: RunSummary) -> Iterator[tuple[str, Summed]]:
    yield from ((f"sum, {kind}", one) for kind, one in summary.sums.items())
    yield from ((f"round {one.round}, validation", one.validation_sum) for one in summary.rounds if one.validation_sum)


def _check_sum(where: str, one: Summed, wanted: type) -> None:
    total = one.total
    if total is None:
        return
    if not isinstance(total, wanted) or not one.sites or not total.classes:
        raise EvaluationError(f"{where}: a {type(total).__name__} over {len(one.sites)} sites is not of this plan.")
    bins = histograms.N_BINS if isinstance(total, ExactSum) else N_BINS
    if {len(counts) for each in total.classes for counts in (each.positive, each.negative)} != {bins}:
        raise EvaluationError(f"{where}: its histograms have not the {bins} bins of this release.")
    if isinstance(total, NoisedSum) and total.n_silos != len(one.sites):
        raise EvaluationError(f"{where}: the noise of {total.n_silos} hospitals in a sum over {len(one.sites)}.")


def _check_audit(summary: RunSummary) -> None:
    asked, one = (summary.plan.get("evaluation") or {}).get("audit"), summary.audit
    if (asked is None) != (one is None):
        raise EvaluationError("an audit is in the summary if the plan asks for one, and only then.")
    if one is None:
        return
    if one.layout.audit.model_dump(mode="json") != asked or one.layout.private != (summary.privacy.get("mechanism") != "none"):
        raise EvaluationError("the audit in the summary is not the plan's.")
    if (one.reason is None) != bool(one.counts) or bool(one.counts) != bool(one.sites):
        raise EvaluationError("an audit has counts and the hospitals they are of, or a reason why not.")
    if not set(one.sites) <= {site.id for site in summary.sites}:
        raise EvaluationError(f"the audit is over {sorted(one.sites)}, not all of which are in the job.")
    if one.counts:
        check_edges(one.layout, [np.array(each) for each in one.edges])
        check_counts(one.layout, np.array(one.counts, dtype=np.int64), one.sites)


def _check_scores(where: str, scores: Scores) -> None:
    if not math.isfinite(scores.loss) or not 0.0 <= scores.accuracy <= 1.0:
        raise EvaluationError(f"{where}: loss {scores.loss} or accuracy {scores.accuracy} is not possible.")
    for one in scores.classes:
        _check_class(where, scores.n, one)


def _check_class(where: str, n: int, one: ClassScores) -> None:
    counts = (one.n_positive, one.n_negative)
    if min(counts) < 0 or sum(counts) != n:
        raise EvaluationError(f"{where}: {counts} positives and negatives among {n} cases is not possible.")
    if {len(one.histogram_positive), len(one.histogram_negative)} != {histograms.N_BINS}:
        raise EvaluationError(f"{where}: its histograms have not the {histograms.N_BINS} bins of this release.")
    if (sum(one.histogram_positive), sum(one.histogram_negative)) != counts:
        raise EvaluationError(f"{where}: the histograms do not hold as many cases as were counted.")
    if (called := one.called) is not None and (
        max(called.positive_at_half, called.positive_at_own) > one.n_positive
        or max(called.negative_at_half, called.negative_at_own) > one.n_negative
    ):
        raise EvaluationError(f"{where}: more cases are called than there are.")
    if (one.auroc is None) != (one.auroc_variance is None) or (one.auroc is not None and min(counts) == 0):
        raise EvaluationError(f"{where}: an AUROC comes with its variance, and only where both classes are present.")
    if one.auroc is not None and not 0.0 <= one.auroc <= 1.0:
        raise EvaluationError(f"{where}: AUROC {one.auroc} is outside 0 to 1.")


def _check_noised(where: str, scores: PrivateScores) -> None:
    if not all(math.isfinite(one) and one > 0.0 for one in (scores.epsilon, scores.scale)):
        raise EvaluationError(f"{where}: noise of scale {scores.scale} at epsilon {scores.epsilon} is not possible.")
    sizes = {len(counts) for one in scores.classes for counts in (one.positive, one.negative)}
    if sizes != {N_BINS}:
        raise EvaluationError(f"{where}: histograms of {sorted(sizes)} bins; this release counts in {N_BINS}.")


_CHECKS: Mapping[type, Callable[[str, Any], None]] = {Scores: _check_scores, PrivateScores: _check_noised}


def _check_pair(where: str, model: Scores, alone: Scores) -> None:
    """A covariance that two AUROCs cannot have would make any difference look certain."""
    for one, own in zip(model.classes, alone.classes, strict=True):
        covariance = one.covariance_with_alone
        if covariance is None:
            continue
        if (one.n_positive, one.n_negative) != (own.n_positive, own.n_negative):
            raise EvaluationError(f"{where}: paired with a model that was scored on other cases.")
        largest = math.sqrt((one.auroc_variance or 0.0) * (own.auroc_variance or 0.0))
        if not abs(covariance) <= largest * _SLACK + _ROUNDING:
            raise EvaluationError(f"{where}: a covariance of {covariance} is not possible; it is at most {largest}.")
