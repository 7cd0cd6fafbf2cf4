"""The cohort as training sees it: preprocessed images on a memory-mapped cache, class indices, patient-safe parts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from protocol.canonical import digest_json
from protocol.errors import CohortError
from protocol.plan import Plan
from silo_node.cohort import CohortStore, Sample
from silo_node.splits import Parts, split_patients
from silo_node.training.transforms import Pipeline, fixed_shape, to_channels


@dataclass(frozen=True)
class Cohort:
    """`images` (n, C, H, W) float32, read-only; `labels` (n,) class indices; `parts` positions in both.

    `patients` (n,): a number for each patient, from 0, so that images of one patient can be told to belong together.
    `samples` (n,): what is known about each image besides its pixels.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    parts: Parts
    patients: npt.NDArray[np.int64]
    store: CohortStore
    samples: tuple[Sample, ...] = ()

    @property
    def n_patients(self) -> int:
        """Patients in all parts."""
        return len(np.unique(self.patients))

    @property
    def n_training_patients(self) -> int:
        """Patients in the training part."""
        return len(np.unique(self.patients[list(self.parts.train)]))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W) of every preprocessed image."""
        return tuple(self.images.shape[1:])

    def class_counts(self, part: str, n_classes: int) -> npt.NDArray[np.int64]:
        """Images per class in `part`, shape (n_classes,)."""
        counts: npt.NDArray[np.int64] = np.bincount(self.labels[list(self.parts.named(part))], minlength=n_classes)
        return counts


def load_cohort(store: CohortStore, plan: Plan, cache: Path) -> Cohort:
    """The labelled samples of `store` under `plan`.

    Samples without a value in the plan's target column are left out. `cache` is a folder inside the hospital: it holds
    pixels. Raises CohortError if a label is not among the plan's classes or nothing is left to train on.

    Under a private plan nothing is refused that one patient could decide: each image that does not fit the plan - another
    class, a transform that fails on it, a value that is not finite - is left out by itself, and the cohort may be empty.
    """
    if plan.privacy.mechanism != "none":
        return _private_cohort(store, plan, cache)
    target, classes = plan.task.target, {value: index for index, value in enumerate(plan.task.classes)}
    samples = [sample for sample in store.samples if target in sample.labels]
    if not samples:
        # Reasons travel to the aggregator: they say what the plan asked for, never what else the hospital has.
        raise CohortError(f"task.target: no sample has a label {target!r}; `fedward silo show STORE` lists the labels.")
    if unknown := sorted({sample.labels[target] for sample in samples} - set(classes)):
        raise CohortError(
            f"task.classes: the store's {target!r} holds {len(unknown)} values that are no class of the plan; "
            "`fedward silo show STORE` lists them. Name every class, or mend the labels and import again."
        )
    parts = split_patients(samples, target, plan.data.split, plan.seed)
    if not parts.train:
        raise CohortError("no patient is left to train on; check the fold column and data.split.")
    labels = np.array([classes[sample.labels[target]] for sample in samples], dtype=np.int64)
    images = _preprocessed(store, [sample.index for sample in samples], plan, cache, None)
    return Cohort(images, labels, parts, _codes(samples), store, tuple(samples))


def _private_cohort(store: CohortStore, plan: Plan, cache: Path) -> Cohort:
    target, classes = plan.task.target, {value: index for index, value in enumerate(plan.task.classes)}
    samples = [sample for sample in store.samples if sample.labels.get(target) in classes]
    images = _preprocessed(store, [sample.index for sample in samples], plan, cache, fixed_shape(plan))
    usable = [not np.isnan(image.flat[0]) for image in images]
    samples, images = (
        [sample for sample, good in zip(samples, usable, strict=True) if good],
        images[np.array(usable, dtype=bool)],
    )
    parts = split_patients(samples, target, plan.data.split, plan.seed, independently=True)
    labels = np.array([classes[sample.labels[target]] for sample in samples], dtype=np.int64)
    return Cohort(images, labels, parts, _codes(samples), store, tuple(samples))


def _codes(samples: Sequence[Sample]) -> npt.NDArray[np.int64]:
    numbers = {patient: number for number, patient in enumerate(dict.fromkeys(sample.patient for sample in samples))}
    return np.array([numbers[sample.patient] for sample in samples], dtype=np.int64)


def _preprocessed(
    store: CohortStore, indices: list[int], plan: Plan, cache: Path, shape: tuple[int, ...] | None
) -> npt.NDArray[np.float32]:
    """Every image through data.preprocessing, once; later runs map the file.

    With `shape` (C, H, W) an image that cannot be brought into it is written as NaN; without, it is an error.
    """
    if not indices:
        return np.zeros((0, *(shape or (0, 0, 0))), dtype=np.float32)
    recipe = plan.data.model_dump(mode="json", include={"channels", "preprocessing"})
    name = digest_json([store.digest, recipe, indices, torch.__version__, list(shape or ())]).removeprefix("sha256:")[:32]
    path = cache / f"{name}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_cache(store, indices, plan, path, shape)
    try:
        images: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CohortError("the silo's image cache is damaged; delete its cache folder and run again.") from error
    return images


def _write_cache(store: CohortStore, indices: list[int], plan: Plan, path: Path, shape: tuple[int, ...] | None) -> None:
    pipeline = Pipeline(plan.data.preprocessing, "data.preprocessing")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        out: np.memmap[Any, np.dtype[np.float32]] | None = None
        for position, index in enumerate(indices):
            if shape is None:
                image = pipeline(torch.from_numpy(to_channels(store.image(index), plan.data.channels).copy())).numpy()
            else:
                image = _image_or_nan(pipeline, store, index, plan, shape)
            if out is None:
                out = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(len(indices), *image.shape))
            if image.shape != out.shape[1:]:
                raise CohortError(
                    f"data.preprocessing makes images of {list(image.shape)} and of {list(out.shape[1:])}; "
                    "every image must have one size: add a Resize or ResizeWithPadOrCrop."
                )
            if shape is None and not np.isfinite(image).all():
                raise CohortError("data.preprocessing makes a value that is not finite; check its arguments.")
            out[position] = image
        if out is not None:
            out.flush()
        partial.replace(path)


def _image_or_nan(
    pipeline: Pipeline, store: CohortStore, index: int, plan: Plan, shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """One image in `shape`; NaN everywhere if it cannot be brought into it."""
    try:
        image = pipeline(torch.from_numpy(to_channels(store.image(index), plan.data.channels).copy())).numpy()
    except Exception:  # whatever a transform raises on this one image concerns this image only
        image = np.empty(0, dtype=np.float32)
    return image if image.shape == shape and np.isfinite(image).all() else np.full(shape, np.nan, dtype=np.float32)
