"""What a run with patient-level DP-SGD promises and what not, in plain words, from the guarantee its plan gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.privacy_secure import EVIDENCE, OFF_PRIVATE
from protocol.errors import EvaluationError

LOUD_ABOVE = 8.0  # epsilon: above it the page says so in its first lines

NUMBERS = ("epsilon", "delta", "noise_multiplier", "sampling_rate", "clip_norm", "metrics_epsilon")
COUNTS = ("steps", "batch_patients", "max_images_per_patient", "max_silos_per_patient")
PARTS = ("train", "validation", "test")

# Every field of the releases of a private plan but the model change; a test holds the two together.
_HISTOGRAMS = (
    "histograms of its patients' scores by class, for the federated model on validation and on test patients: each patient has "
    "one vote, and noise was added to every bin. With them the epsilon they cost and the scale of that noise",
)
PRIVATE_LEAVES_SUMMED = (
    "the digest of the network's layout, which follows from the plan",
    "a random token that stands for its cohort, the same whatever is in it",
    "with its model changes and histograms, a receipt of its privacy ledger: the name the hospital gave its cohort store, the "
    "number of entries, the digest of the last, the hospital's public key and its signature",
    "where it could not do what was asked, the name of the error and a reason in words",
    "with every message, the job, the plan's digest, the round, the attempt and the purpose it answers",
    EVIDENCE,
)
PRIVATE_AUDITED = (
    "for the audit, counts of its test patients by group, class and bin of the score: each patient has one vote in each family "
    "of groups, and noise was added to every count",
)
PRIVATE_LEAVES = _HISTOGRAMS + PRIVATE_LEAVES_SUMMED


def local_entry(privacy: Mapping[str, Any], *, summed: bool = False, audited: bool = False) -> dict[str, Any]:
    """report.json's `privacy` for a private mechanism; `summed`: scores left masked; `audited`: an audit's counts did not.

    Raises EvaluationError if a figure is missing or out of range.
    """
    numbers = {name: _number(name, privacy.get(name)) for name in NUMBERS} | {name: _count(privacy, name) for name in COUNTS}
    by_part = privacy.get("epsilon_by_part")
    if not isinstance(by_part, Mapping) or set(by_part) != set(PARTS):
        raise EvaluationError(f"privacy.epsilon_by_part is {by_part!r}; it must hold {', '.join(PARTS)}.")
    parts = {part: _number(part, by_part[part], least=0.0) for part in PARTS}
    epsilon, delta = numbers["epsilon"], numbers["delta"]
    most, alone = max(parts.values()), numbers["max_silos_per_patient"] == 1
    # A patient at several hospitals may stand in another part at each: then the parts add up.
    unequal = most > epsilon * (1 + 1e-6) or (alone and most < epsilon * (1 - 1e-6))
    if unequal or not delta < 1.0 or not numbers["sampling_rate"] <= 1.0:
        raise EvaluationError(
            f"privacy: epsilon {epsilon} is not the largest of {parts}, or delta or sampling_rate is above 1."
        )
    return {
        "mechanism": privacy["mechanism"],
        "secure_aggregation": False,
        "unit": "patient",
        **numbers,
        "epsilon_by_part": parts,
        "loud": epsilon > LOUD_ABOVE,
        "statement": statement(epsilon, delta),
        "warning": _warning(epsilon),
        "protects": _protects(numbers, parts, distributed=privacy["mechanism"] == "distributed"),
        "does_not_protect": _does_not_protect(
            int(numbers["max_silos_per_patient"]),
            (*(PRIVATE_LEAVES_SUMMED if summed else PRIVATE_LEAVES), *(PRIVATE_AUDITED if audited else ())),
        ),
    }


def statement(epsilon: float, delta: float) -> str:
    """The promise in one line."""
    return f"epsilon {epsilon:.3g} at delta {delta:.0e} for each patient"


def _warning(epsilon: float) -> str:
    if epsilon <= LOUD_ABOVE:
        return ""
    return (
        f"Epsilon is above {LOUD_ABOVE:g}. That is a weak promise: read it as a limit on the worst case, not as anonymity, and "
        "handle the model file with care."
    )


_LOCAL = (
    "It holds against whoever runs the aggregator, all other hospitals and everyone outside together, even if they "
    "collude: each hospital adds the whole noise itself, from its own random source, before anything leaves."
)
_DISTRIBUTED = (
    "It holds against everyone outside, and against whoever runs the aggregator together with up to a third of the hospitals: "
    "each hospital adds a share of the noise, and secure aggregation opens the sum alone, where the honest shares make up the "
    "whole. More than a third of the hospitals together with the aggregator could see less noise than that. Scores carry "
    "the whole noise of each hospital."
)


def _protects(numbers: Mapping[str, float], parts: Mapping[str, float], *, distributed: bool) -> list[str]:
    epsilon, silos = numbers["epsilon"], int(numbers["max_silos_per_patient"])
    where = "one hospital" if silos == 1 else f"up to {silos} hospitals"
    return [
        "The promise is made to each patient, with all images of that patient together: add or remove the patient, and the "
        f"chance of anything that left the hospitals in this run changes by a factor of at most e^epsilon = {_times(epsilon)}, "
        f"but for a chance of {numbers['delta']:.0e} (delta). It covers the finished model, this report and whatever anyone "
        "makes of them later.",
        f"It covers the whole run, not a round: {int(numbers['steps']):,} noised training steps and every release of scores. A "
        "patient trains, validates or tests, never two of these, so a patient costs the largest of three: "
        + ", ".join(f"{part} {value:.3g}" for part, value in parts.items())
        + f". It counts a patient who is at {where} of the study.",
        _DISTRIBUTED if distributed else _LOCAL,
        "Images, labels, patient lists, exact counts, losses and times of training stayed in the hospitals: the messages of "
        "this run have no field for them. No model trained without noise was scored for others.",
    ]


def _does_not_protect(silos: int, leaves: Sequence[str]) -> list[str]:
    many = "more than one hospital" if silos == 1 else f"more than {silos} hospitals"
    return [
        OFF_PRIVATE,
        "That a hospital takes part, when it answers, and whether and why it refused or failed.",
        "Anything from the hospital's own staff, or from whoever controls its computers.",
        f"Patients who are at {many} of this study, or whom a hospital keeps under several codes: their epsilon adds up.",
        "What is true of a group, such as smokers in general: the model is there to learn that, and it may be turned on people "
        "who are not in the data at all.",
        "What other studies released of the same patients: epsilons add up; each hospital's ledger keeps the sum.",
        "A hospital that does not run the software as released: noise that was left out cannot be seen from outside.",
        "What did leave each hospital, besides its noised model change in each round: " + "; ".join(leaves) + ".",
    ]


def _times(epsilon: float) -> str:
    factor = math.exp(min(epsilon, 700.0))
    return f"{factor:,.3g}" if factor < 100 else f"{factor:,.0f}" if factor < 1e6 else f"{factor:.0e}"


def _number(name: str, value: object, least: float | None = None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EvaluationError(f"privacy.{name} is {value!r}; a private run needs a finite number there.")
    if value < (least or 0.0) or (least is None and value == 0):
        raise EvaluationError(f"privacy.{name} is {value!r}, which is out of range.")
    return float(value)


def _count(privacy: Mapping[str, Any], name: str) -> int:
    value = _number(name, privacy.get(name))
    if value != int(value):
        raise EvaluationError(f"privacy.{name} is {value!r}; it counts something.")
    return int(value)
