"""What the run's privacy settings protect against and what not, in plain words. Unknown settings are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.privacy_local import local_entry
from evaluation.report.privacy_secure import EVIDENCE, LIMITS, OFF_OPEN, OFF_PRIVATE, ON, ON_SCORES, SUMS
from protocol.errors import EvaluationError

# Every field of the releases of a plan without a mechanism but the model change; a test holds the two together.
_ALWAYS = (
    "the modalities and makers of scanners that at least ten of its patients share",
    "the digests of its cohort store and of the network's layout",
    "how long training and tuning took, and the share of a round's steps that it had time for",
    "where it could not do what was asked, the name of the error and a reason in words: parts of the plan, counts, "
    "losses and sizes of images, and where a library or the disk failed that error's text and paths of the store",
    "with every message, the job, the plan's digest, the round, the attempt and the purpose it answers",
    EVIDENCE,
)
LEAVES = (
    "counts of its patients, of the images in each part, of the training images by class and of the positive ones, of the "
    "test and validation images by class, and of the training steps",
    "training and proximal losses, and under federation.weighting q_ffl the weight that follows from one; loss and accuracy of "
    "each model on validation and test images",
    "AUROCs with their variances, their covariances with the hospital's own model, and score histograms by class; where the "
    "plan asks for thresholds of the hospitals' own, how many images of each class are called at even odds and at that one",
    *_ALWAYS,
)
LEAVES_SUMMED = (
    "counts of its patients, of the images in each part, of the training images by class and of the positive ones, and of the "
    "training steps",
    "training and proximal losses, and under federation.weighting q_ffl the weight that follows from one",
    *_ALWAYS,
)

# What the audit adds where single hospitals' counts leave, and where masks leave each hospital's own group readable.
AUDITED = (
    "for the audit, how many of its test images, and of how many patients, are in each group, by class and by bin of the score",
)
AUDITED_MASKED = (
    "for the audit, how many of its test images, and of how many patients, are in its own group, by class and by bin of the "
    "score: the sum over hospitals holds each one's",
)

_NONE: dict[str, Any] = {
    "mechanism": "none",
    "secure_aggregation": False,
    "epsilon": "infinite",
    "statement": "epsilon: infinite (no differential privacy)",
    "protects": [
        "Images, labels and patient lists stayed in the hospitals: the messages of this run have no field for them.",
        "Models marked alone or personalised never left the hospital that trained them.",
    ],
    "does_not_protect": [
        OFF_OPEN,
        "No noise was added: nothing limits what the finished model reveals about a single patient it was trained on. "
        "Handle the model file as confidential.",
    ],
}
_LEFT = "What did leave each hospital, besides its model change in each round: "
_EXACT = {
    False: "Each hospital's counts and figures are exact, small ones too. Keep this report inside the consortium.",
    True: "Each hospital's counts and the figures of all hospitals together are exact, small ones too. Keep this report inside "
    "the consortium.",
}


def privacy_entry(privacy: Mapping[str, Any]) -> dict[str, Any]:
    """report.json's `privacy`. Raises EvaluationError for settings whose protection this release cannot describe."""
    mechanism, secure = privacy.get("mechanism"), privacy.get("secure_aggregation", False)
    if mechanism not in ("none", "local", "distributed") or not isinstance(secure, bool):
        raise EvaluationError(
            f"the report cannot describe mechanism {mechanism!r} with secure_aggregation {secure!r}; use a release of fedward "
            "that knows both."
        )
    summed = privacy.get("scores", "per_site") == "summed"
    if summed and not secure:
        raise EvaluationError("privacy: scores are summed only where secure_aggregation is on; this summary says otherwise.")
    audit = bool(privacy.get("audit", False)) and not summed
    audited = () if not audit else AUDITED_MASKED if secure else AUDITED
    entry = _open_entry(audited, summed=summed) if mechanism == "none" else local_entry(privacy, summed=summed, audited=audit)
    return _secure(entry, summed=summed) if secure else entry


def _open_entry(audited: Sequence[str], *, summed: bool) -> dict[str, Any]:
    leaves = (*(LEAVES_SUMMED if summed else LEAVES), *audited)
    against = [*_NONE["does_not_protect"], _LEFT + "; ".join(leaves) + ".", _EXACT[summed]]
    return _NONE | {"does_not_protect": against}


def _secure(entry: Mapping[str, Any], *, summed: bool) -> dict[str, Any]:
    """The same promise with secure aggregation on."""
    protects = [*entry["protects"], ON, *([ON_SCORES] if summed else [])]
    against = [one for one in entry["does_not_protect"] if one not in (OFF_OPEN, OFF_PRIVATE)]
    limits = [*LIMITS, *([SUMS] if summed else [])]
    return {**entry, "secure_aggregation": True, "protects": protects, "does_not_protect": [*against, *limits]}
