"""Method notes and limits of a run whose figures come from noised votes; they travel in report.json, beside the figures."""

from __future__ import annotations

PRIVATE_METHODS = (
    {
        "name": "AUROC",
        "text": "The chance that the model scores a randomly drawn positive patient above a randomly drawn negative one: 0.5 "
        "is a coin toss, 1 is perfect ranking. Each patient has one vote: one image, drawn by chance at the hospital. With "
        "more than two classes, each class is ranked against the rest and the mean is shown.",
        "source": "Hanley & McNeil, Radiology 1982;143:29-36",
    },
    {
        "name": "Noised histograms",
        "text": "A hospital counts the votes of each class in 16 public bins of log-odds and adds discrete Laplace noise to "
        "every bin before they leave. The AUROC is computed from these counts, pairs in one bin counting one half, so bins "
        "can only lower it on average; the binning bound says by how much at most. Counts may come out negative and are used "
        "as they are.",
        "source": "Ghosh, Roughgarden & Sundararajan, SIAM Journal on Computing 2012;41:1673-1693",
    },
    {
        "name": "Interval",
        "text": "The 95% interval of the patients drawn (DeLong's, on the log-odds scale; very near 0 or 1 Newcombe's score "
        "interval), widened by the variance of the noise (delta method; square and add). It does not hold what bins lose. A "
        "mean over classes uses an upper bound of its standard error.",
        "source": "DeLong et al., Biometrics 1988;44:837-845; Newcombe, Statistics in Medicine 2006;25:559-573; Zou & Donner, "
        "Statistics in Medicine 2008;27:1693-1702",
    },
    {
        "name": "All hospitals, pooled",
        "text": "The hospitals' noised histograms are added and counted as one cohort; their noise adds too. Pooling compares "
        "patients of different hospitals, so a model that merely recognises the hospital gains where hospitals differ in how "
        "many are positive.",
        "source": "bound: half the share of positive-negative pairs that fall in one bin",
    },
    {
        "name": "Within hospitals",
        "text": "Only patients of the same hospital are compared; every positive-negative pair weighs the same, by the noised "
        "counts. Recognising the hospital gains nothing here.",
        "source": "stratified Mann-Whitney statistic; compare Janes & Pepe, Biometrika 2009;96:371-382",
    },
    {
        "name": "Differences between hospitals",
        "text": "tau is the standard deviation of the true AUROCs on the log-odds scale once chance and noise are taken out; "
        "the p-value is Cochran's test that there is none. With few hospitals only large differences are found.",
        "source": "DerSimonian & Laird, Controlled Clinical Trials 1986;7:177-188",
    },
    {
        "name": "Small test sets",
        "text": "Numbers of patients are estimates: the sum of the noised bins. No AUROC is given unless each class has ten "
        "patients even two standard deviations of the noise below its estimate, and the estimate is four above 0; it is drawn "
        "as wide unless each has a hundred, counted likewise.",
        "source": "fedward, docs/report.md, Under differential privacy",
    },
    {
        "name": "Epsilon",
        "text": "An upper bound from privacy loss distributions, for one patient added or removed, over all steps and releases "
        "of the plan. Whoever has the plan can compute it.",
        "source": "Abadi et al., CCS 2016; Koskela et al., AISTATS 2020; Doroshenko et al., PETS 2022",
    },
)

PRIVATE_LIMITATIONS = (
    "Noise and bins cost sharpness: a small hospital has no figure at all, and AUROCs are rather too low than too high.",
    "No hospital's own model was scored, so whether taking part was worth it for a hospital is not answered.",
    "The test patients come from the hospitals that trained: how the model does at another hospital was not measured.",
    "Validation curves are noised in every round anew, so single rounds jump; they were not used to choose the model.",
    "Digests were recorded by the coordinator's software; their signatures are not checked in this report.",
)
