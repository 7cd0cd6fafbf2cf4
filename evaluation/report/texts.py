"""Method notes with their sources, and what the figures do not say. They travel in report.json, beside the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METHODS = (
    {
        "name": "AUROC",
        "text": "The chance that the model scores a randomly drawn positive image above a randomly drawn negative one: 0.5 "
        "is a coin toss, 1 is perfect ranking. Each hospital computes it on its own test images. With more than two "
        "classes, each class is ranked against the rest and the mean is shown.",
        "source": "Hanley & McNeil, Radiology 1982;143:29-36",
    },
    {
        "name": "Interval",
        "text": "The 95% interval is DeLong's, on the log-odds scale; very near 0 or 1, where that is too short, "
        "Newcombe's score interval (method 5), which counts images. Each hospital computes its variance on its own rows and "
        "allows for several images of one patient (Obuchowski). A mean over classes uses an upper bound of its standard error.",
        "source": "DeLong et al., Biometrics 1988;44:837-845; Sun & Xu, IEEE Signal Process Lett 2014;21:1389-1393; "
        "Obuchowski, Biometrics 1997;53:567-578; Newcombe, Statistics in Medicine 2006;25:559-573",
    },
    {
        "name": "All hospitals, pooled",
        "text": "Score histograms on one fixed grid are added over hospitals and counted as one cohort. The binning "
        "bound is the most that the grid can have moved the figure. Pooling compares images of different hospitals "
        "too, so a model that merely recognises the hospital gains where hospitals differ in how many are positive. Added "
        "counts do not say which images are of one patient, so this interval takes every image as independent.",
        "source": "bound: half the share of positive-negative pairs that fall in one bin",
    },
    {
        "name": "Within hospitals",
        "text": "Only images of the same hospital are compared; every positive-negative pair weighs the same. "
        "Recognising the hospital gains nothing here.",
        "source": "stratified Mann-Whitney statistic; compare Janes & Pepe, Biometrika 2009;96:371-382",
    },
    {
        "name": "Differences between hospitals",
        "text": "tau is the standard deviation of the true AUROCs on the log-odds scale once chance is taken out; the "
        "p-value is Cochran's test that there is none. With few hospitals only large differences are found.",
        "source": "DerSimonian & Laird, Controlled Clinical Trials 1986;7:177-188",
    },
    {
        "name": "Verdict",
        "text": "Better or worse is said only where the 95% interval of the difference leaves out 0. Both models are scored "
        "on the same test images, and the interval uses that: each hospital sends the covariance of the two AUROCs, "
        "computed on its rows (paired DeLong) and allowing for several images of one patient (Obuchowski). Where a hospital "
        "sent none, an AUROC is very near 0 or 1, or the difference shows no spread at all, the two are compared as if on "
        "different images, which is cautious. A mean over classes uses an upper bound of the standard error of its "
        "difference. Each verdict has a 5% level of its own, not adjusted for the number of hospitals.",
        "source": "DeLong et al., Biometrics 1988;44:837-845; Sun & Xu, IEEE Signal Process Lett 2014;21:1389-1393; "
        "Obuchowski, Biometrics 1997;53:567-578; as if on different images: Newcombe, Statistics in Medicine "
        "1998;17:873-890; Zou & Donner, same, 2008;27:1693-1702",
    },
    {
        "name": "Small test sets",
        "text": "No AUROC is given below 10 test images of either class, and none of a hospital whose test images of a class "
        "are all of one patient; below 100 of either it is drawn as wide.",
        "source": "fedward, docs/decisions/0002-small-test-sets.md",
    },
)

LIMITATIONS = (
    "Pooled intervals take every image as independent: where patients have several test images they are too short. The "
    "hospitals' own intervals and verdicts allow for that, except that intervals very near 0 or 1 do not.",
    "A hospital's interval rests on its patients, not its images: with fewer than ten patients of a class it is too short.",
    "Verdicts are not adjusted for the number of hospitals: of 20 hospitals where nothing changed, one may be called better or "
    "worse by chance.",
    "The test images come from the hospitals that trained: how the model does at another hospital was not measured.",
    "A hospital's own model is one training run with the plan's settings; tuned for that hospital, it might do better.",
    "Validation curves rest on few images and were not used to choose the model.",
    "Digests were recorded by the coordinator's software; their signatures are not checked in this report.",
)

NOT_EVALUATED = (
    "calibration",
    "subgroups and fairness (sex, age, scanner)",
    "operating point, decision curve and clinical benefit",
    "missing data and label quality",
    "external validation",
    "attacks on the model or on the updates",
)

_PERSONALISED = {
    "fine_tune": "the federated model, trained on at the hospital",
    "mix": "the federated model mixed with the hospital's own, their log-probabilities averaged",
}


def how_personalised(report: Mapping[str, Any]) -> str:
    """What the page calls personalised, by the plan; without a method it is the model with its personal parts."""
    method = report["plan"]["content"].get("evaluation", {}).get("personalise", "none")
    return _PERSONALISED.get(method, "the federated model with the parts that never leave the hospital")
