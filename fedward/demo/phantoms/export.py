"""Write one hospital: the images of its worklist, the files that do not belong there, the labels."""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward.demo.phantoms import cohort as cohorts
from fedward.demo.phantoms import misfits, render
from fedward.demo.phantoms.build import Array
from fedward.demo.phantoms.cohort import Cohort
from fedward.demo.phantoms.device import stored
from fedward.demo.phantoms.dicom import Visit, dataset, save
from fedward.demo.phantoms.identity import Person, people
from fedward.demo.phantoms.markers import lettering
from fedward.demo.phantoms.misfits import Misfit
from fedward.demo.phantoms.sites import Site
from fedward.demo.phantoms.worklist import Shot, worklist

COLUMNS = ("SOPInstanceUID", "PatientID", "finding", "fold")
_BATCH = 16  # images rendered at once: few enough for the processor's cache


@dataclass(frozen=True)
class Draft:
    """A hospital that is drawn but not written."""

    site: Site
    cohort: Cohort
    persons: tuple[Person, ...]
    shots: tuple[Shot, ...]
    rng: np.random.Generator


def draft(site: Site, seed: int, position: int) -> Draft:
    """Draw patients and worklist. A generator a hospital: changing one hospital leaves the others as they are."""
    rng = np.random.default_rng([seed, position])
    cohort = cohorts.draw(rng, site.mix)
    return Draft(site, cohort, people(rng, cohort, site.device.prefix), worklist(rng, site, cohort), rng)


def write(plan: Draft, folder: Path, seed: int, on_image: Callable[[], None]) -> None:
    """Write `folder`/dicom and `folder`/labels.csv."""
    with warnings.catch_warnings():
        # pydicom only warns when it writes a value that the standard forbids; here that is a mistake of ours.
        warnings.simplefilter("error")
        rows, regular = _write_images(plan, folder / "dicom", seed, on_image)
        _add_strangers(plan, folder / "dicom", regular)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


def _write_images(
    plan: Draft, root: Path, seed: int, on_image: Callable[[], None]
) -> tuple[list[tuple[str, str, int, str]], list[Path]]:
    """Return the rows of the labels file and the paths of the images that are as they should be."""
    rows: list[tuple[str, str, int, str]] = []
    regular: list[Path] = []
    for shot, grey in _images(plan):
        person = plan.persons[shot.patient]
        path = _path(root, plan.site, person, shot)
        visit = Visit(person, shot.visit, burned_in=shot.misfit is Misfit.BURNED_IN)
        if visit.burned_in:
            grey = _burn(grey, person)
        ds = dataset(stored(grey, plan.site.device), visit, plan.site.device, seed)
        save(ds, path, plan.site.device)
        if shot.misfit is Misfit.TRUNCATED:
            misfits.cut(path)
        if shot.misfit is not Misfit.NO_LABEL:
            fold = "test" if plan.cohort.test[shot.patient] else "train"
            rows.append((ds.SOPInstanceUID, person.number, int(shot.finding), fold))
        if shot.misfit is None:
            regular.append(path)
        on_image()
    return rows, regular


def _images(plan: Draft) -> Iterator[tuple[Shot, Array]]:
    frames = [shot for shot in plan.shots for _ in range(shot.frames)]
    owner = np.array([shot.patient for shot in frames])
    exposures = render.plan(plan.rng, plan.site, plan.cohort, owner, np.array([shot.finding for shot in frames]))
    start = 0
    for first in range(0, len(plan.shots), _BATCH):
        batch = plan.shots[first : first + _BATCH]
        stop = start + sum(shot.frames for shot in batch)
        grey = render.grey(plan.rng, plan.site, exposures.take(np.arange(start, stop)))
        start, used = stop, 0
        for shot in batch:
            film = grey[used : used + shot.frames]
            used += shot.frames
            yield shot, film if shot.frames > 1 else film[0]


def _path(root: Path, site: Site, person: Person, shot: Shot) -> Path:
    name = f"IM{shot.visit:04d}.dcm"
    path = root / person.number / f"ST{shot.visit:02d}" / name if site.nested else root / f"{person.number}_{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _burn(grey: NDArray[np.float32], person: Person) -> Array:
    text = person.name.replace("^", " ").encode("ascii", "replace").decode()
    mask = lettering(text, *grey.shape, grey.shape[1] // 4, grey.shape[0] - 14)
    return np.maximum(grey, mask)


def _add_strangers(plan: Draft, root: Path, regular: list[Path]) -> None:
    """Add the misfits that are files of their own."""
    for misfit in plan.site.misfits:
        source = regular[int(plan.rng.integers(len(regular)))]
        if misfit is Misfit.NOT_DICOM:
            misfits.text(root / "EXPORT.TXT")
        elif misfit is Misfit.DUPLICATE:
            shutil.copyfile(source, source.with_name(f"{source.stem}_copy.dcm"))
        elif misfit is Misfit.NO_PIXELS:
            save(misfits.report(source), source.with_name("SR0001.dcm"))
