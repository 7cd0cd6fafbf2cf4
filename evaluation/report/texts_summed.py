"""Method notes and limits of a run whose plan lets only sums of scores leave; and which notes go with which kind of run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.report.texts import LIMITATIONS, METHODS
from evaluation.report.texts_private import PRIVATE_LIMITATIONS, PRIVATE_METHODS

Method = Mapping[str, str]

_SUM = {
    "name": "Sums of scores",
    "text": "Each hospital masks its counts before they leave, so that only the sum over the hospitals can be opened. What "
    "needs a single hospital's figures (within hospitals, the lowest of them, spread, verdicts) is not measured. The page "
    "says which hospitals are in each sum.",
    "source": "Bonawitz et al., CCS 2017; fedward, docs/secure-aggregation.md",
}
_OPEN = (
    {
        "name": "AUROC",
        "text": "The chance that the model scores a randomly drawn positive image above a randomly drawn negative one: 0.5 "
        "is a coin toss, 1 is perfect ranking. With more than two classes, each class is ranked against the rest and the mean "
        "is shown.",
        "source": "Hanley & McNeil, Radiology 1982;143:29-36",
    },
    {
        "name": "Interval",
        "text": "The 95% interval is DeLong's on the added histograms, on the log-odds scale; very near 0 or 1, where that is "
        "too short, Newcombe's score interval (method 5). Both take every image as independent. A mean over classes uses an "
        "upper bound of its standard error.",
        "source": "DeLong et al., Biometrics 1988;44:837-845; Newcombe, Statistics in Medicine 2006;25:559-573",
    },
)
_OPEN_KEPT = ("All hospitals, pooled",)
_PRIVATE_KEPT = ("AUROC", "Noised histograms", "Interval", "All hospitals, pooled", "Epsilon")

_OPEN_LIMITS = (
    "Intervals take every image as independent: where patients have several test images they are too short.",
    "Which hospital a model serves well, and which badly, is not known: only the hospitals can see that, each for itself.",
    "The sums of the models that hospitals trained alone put scores of different models side by side, which lowers their "
    "AUROC; their accuracy does not suffer from that.",
    "The test images come from the hospitals that trained: how the model does at another hospital was not measured.",
    "Validation curves rest on few images and were not used to choose the model.",
    "Digests were recorded by the coordinator's software; their signatures are not checked in this report.",
)
_PRIVATE_LIMITS = (
    "Noise and bins cost sharpness: AUROCs are rather too low than too high.",
    "Which hospital a model serves well, and which badly, is not known: only the hospitals can see that, each for itself.",
    *PRIVATE_LIMITATIONS[1:],
)


def notes(*, private: bool, summed: bool) -> tuple[Sequence[Method], Sequence[str]]:
    """The methods and the limitations of a report."""
    if not summed:
        return (PRIVATE_METHODS, PRIVATE_LIMITATIONS) if private else (METHODS, LIMITATIONS)
    if private:
        return (*_named(PRIVATE_METHODS, _PRIVATE_KEPT), _SUM), _PRIVATE_LIMITS
    return (*_OPEN, *_named(METHODS, _OPEN_KEPT), _SUM), _OPEN_LIMITS


def _named(methods: Sequence[Method], names: Sequence[str]) -> tuple[Method, ...]:
    return tuple(method for method in methods if method["name"] in names)
