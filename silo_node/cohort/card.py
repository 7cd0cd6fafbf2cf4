"""The data card: counts that describe a cohort. Computed from the records alone, so that anyone can recompute it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from silo_node.cohort.format import VERSION, SampleRecord, Values

MANY = 50
"""A label or a size with more distinct values than this is summarised instead of listed."""
MISSING = "missing"
TEXT_PRONE = frozenset({"US", "SC", "OT", "ES", "XC"})
"""Modalities whose pixels often carry burned-in names (screenshots, cine loops)."""


def data_card(
    records: Sequence[SampleRecord],
    *,
    values: Values,
    rejections: Mapping[str, int] | None = None,
    warnings: Iterable[str] = (),
) -> dict[str, Any]:
    """Describe a cohort: counts of samples, and of patients where a person and not an image is meant."""
    one_per_patient = list({record.patient: record for record in records}.values())

    def samples(of: Callable[[SampleRecord], object]) -> dict[str, int]:
        return count(map(of, records))

    def patients(of: Callable[[SampleRecord], object]) -> dict[str, int]:
        return count(map(of, one_per_patient))

    columns = sorted({name for record in records for name in record.labels})
    return {
        "audience": "hospital-internal: counts are exact and may describe single patients; do not publish as it is",
        "format_version": VERSION,
        "values": values,
        "n_samples": len(records),
        "n_patients": len(one_per_patient),
        "labels": {name: label_summary([record.labels.get(name) for record in records]) for name in columns},
        "folds": fold_summary(records),
        "patients_by_sex": patients(lambda r: r.sex),
        "patients_by_age_band": patients(lambda r: age_band(r.age)),
        "manufacturer": samples(lambda r: r.manufacturer),
        "model": samples(lambda r: r.model),
        "modality": samples(lambda r: r.modality),
        "matrix": samples(lambda r: "{}x{}x{}".format(*r.shape)),
        "stored_as": samples(lambda r: r.dtype),
        "encoding": samples(lambda r: r.encoding),
        "photometric": samples(lambda r: r.photometric),
        "display_range": samples(lambda r: r.range),
        "units": samples(lambda r: r.units),
        "frames_of_multi_frame_files": sum(record.frame is not None for record in records),
        "non_square_pixels": sum(r.spacing is not None and r.spacing[0] != r.spacing[1] for r in records),
        "rejected": dict(rejections or {}),
        "warnings": [*warnings, *observations(records)],
    }


def count(values: Iterable[object]) -> dict[str, int]:
    """How often each value occurs, most frequent first; None counts as "missing", the tail as "other"."""
    counts = Counter(MISSING if value is None else str(value) for value in values)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    head = dict(ranked[:MANY])
    if tail := ranked[MANY:]:
        head[f"other ({len(tail)} values)"] = sum(n for _, n in tail)
    return head


def label_summary(values: Sequence[str | None]) -> dict[str, Any]:
    """The distribution of one label: its values if they are few, else how many there are and their numeric range."""
    present = [value for value in values if value is not None]
    summary: dict[str, Any] = {"missing": len(values) - len(present), "distinct": len(set(present))}
    if summary["distinct"] <= MANY:
        return summary | {"counts": count(present)}
    try:
        numbers = [float(value) for value in present]
    except ValueError:
        return summary
    return summary | {"minimum": min(numbers), "maximum": max(numbers)}


def fold_summary(records: Sequence[SampleRecord]) -> dict[str, dict[str, int]]:
    """Samples and patients of each fold."""
    folds: dict[str, list[str]] = {}
    for record in records:
        folds.setdefault(record.fold or MISSING, []).append(record.patient)
    return {name: {"samples": len(who), "patients": len(set(who))} for name, who in sorted(folds.items())}


def age_band(age: int | None) -> str | None:
    """Ten-year band of an age: 0-9, ..., 80-89, 90+."""
    if age is None:
        return None
    return "90+" if age >= 90 else f"{age // 10 * 10}-{age // 10 * 10 + 9}"


def observations(records: Sequence[SampleRecord]) -> list[str]:
    """What a person should look at before training on these images."""
    folds: dict[str, set[str]] = {}
    for record in records:
        if record.fold is not None:
            folds.setdefault(record.patient, set()).add(record.fold)
    found = []
    if split := sum(len(names) > 1 for names in folds.values()):
        found.append(f"{split} patients have images in more than one fold: test results would be too good.")
    if text := sum(record.modality in TEXT_PRONE and not record.text_free for record in records):
        modalities = ", ".join(sorted(TEXT_PRONE))
        found.append(f"{text} images may carry burned-in text (modality {modalities}, not declared free of it): look at them.")
    unwindowed = sum(record.range == "stored bits" and record.dtype == "uint16" for record in records)
    if unwindowed:
        found.append(f"{unwindowed} images of more than 8 bits have no window: they may look dark; scale them in training.")
    return found
