"""Which samples train, validate and test. All images of a patient fall into the same part."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.errors import CohortError
from protocol.plan.data import Split
from silo_node.cohort import Sample

_FOLDS = {"train": "train", "training": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Parts:
    """Positions of the samples in each part, ascending."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def named(self, name: str) -> tuple[int, ...]:
        """The part `train`, `validation` or `test`. Raises CohortError for another name."""
        if name not in ("train", "validation", "test"):
            raise CohortError(f"there is no part {name!r}; parts are train, validation and test.")
        part: tuple[int, ...] = getattr(self, name)
        return part


def split_patients(samples: Sequence[Sample], target: str, split: Split, seed: int, *, independently: bool = False) -> Parts:
    """Split by patient: the fold column decides where it is given, a keyed hash order everywhere else.

    `independently`: each patient's part follows from that patient alone, as differential privacy needs it - taking one patient
    away moves no other, and no patient can make the split fail. The parts are then only about as large as asked.

    Otherwise:

    Patients are drawn within each class (a patient's class: the most frequent label of its images), so that a rare class is
    found in every part as far as its patients allow; where a fraction of a class's patients rounds to none, none are taken.
    Adding a patient moves no other patient between parts except across the quota. Raises CohortError if one patient stands
    in two folds, or a fold's name is unknown.
    """
    patients: dict[str, list[Sample]] = {}
    for sample in samples:
        patients.setdefault(sample.patient, []).append(sample)
    if independently:
        return _parts(samples, {name: _own_part(name, images, split, seed) for name, images in patients.items()})
    parts: dict[str, str] = {}
    free: dict[str, list[str]] = {}
    carve: dict[str, list[str]] = {}
    given_validation = False
    for patient, images in patients.items():
        fold = _fold_of(images) if split.use_fold_column else None
        stratum = _stratum(images, target)
        if fold is None:
            free.setdefault(stratum, []).append(patient)
        elif fold == "train":
            carve.setdefault(stratum, []).append(patient)
        else:
            given_validation |= fold == "validation"
            parts[patient] = fold
    for stratum, names in free.items():
        test, rest = _draw(names, split.test_fraction, seed, "test")
        parts.update(dict.fromkeys(test, "test"))
        carve.setdefault(stratum, []).extend(rest)
    for names in carve.values():
        fraction = 0.0 if given_validation else split.validation_fraction
        validation, train = _draw(names, fraction, seed, "validation")
        parts.update(dict.fromkeys(validation, "validation"))
        parts.update(dict.fromkeys(train, "train"))
    return _parts(samples, parts)


def _parts(samples: Sequence[Sample], part_of: Mapping[str, str]) -> Parts:
    members = {
        part: tuple(position for position, sample in enumerate(samples) if part_of[sample.patient] == part)
        for part in ("train", "validation", "test")
    }
    return Parts(**members)


def _own_part(patient: str, images: Sequence[Sample], split: Split, seed: int) -> str:
    """The part of one patient, as if there were no other; "" for one whose folds contradict each other: it takes no part."""
    try:
        fold = _fold_of(images) if split.use_fold_column else None
    except CohortError:
        return ""
    if fold == "test" or (fold is None and _chance(patient, seed, "test") < split.test_fraction):
        return "test"
    if fold == "validation" or _chance(patient, seed, "validation") < split.validation_fraction:
        return "validation"
    return "train"


def decided(images: Sequence[Sample], split: Split) -> str | None:
    """The part that the hospital's own folds give a patient, whatever a plan's seed is; None where chance decides."""
    try:
        return _fold_of(images) if split.use_fold_column else None
    except CohortError:
        return None


def _chance(patient: str, seed: int, purpose: str) -> float:
    """A number from 0 to 1 that belongs to this patient."""
    return int.from_bytes(_hash(patient, seed, purpose)[:8], "big") / 2**64


def _fold_of(images: Sequence[Sample]) -> str | None:
    folds = {image.fold.strip().lower() for image in images if image.fold}
    if not folds:
        return None
    if len(folds) > 1:
        raise CohortError(
            "one patient stands in several folds; `fedward silo show STORE` lists them. Mend the labels CSV, import again."
        )
    fold = folds.pop()
    if fold not in _FOLDS:
        raise CohortError(f"a fold is not one of {', '.join(sorted(_FOLDS))}: mend the labels CSV, import again.")
    return _FOLDS[fold]


def _stratum(images: Sequence[Sample], target: str) -> str:
    labels = [image.labels.get(target, "") for image in images]
    return max(sorted(set(labels)), key=labels.count)


def _draw(patients: Sequence[str], fraction: float, seed: int, purpose: str) -> tuple[list[str], list[str]]:
    """The first `fraction` of the patients in an order that only the seed knows, and the others."""
    order = sorted(patients, key=lambda patient: _hash(patient, seed, purpose))
    cut = round(len(order) * fraction)
    return order[:cut], order[cut:]


def _hash(patient: str, seed: int, purpose: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{purpose}\x1f{patient}".encode()).digest()
