"""The demo's hospitals on disk: `write_hospitals` is the way in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fedward.demo.phantoms import export
from fedward.demo.phantoms.sites import SITES, unbiased
from protocol.errors import InputError


@dataclass(frozen=True)
class Hospital:
    """One invented hospital on disk."""

    name: str
    folder: Path
    dicom: Path
    labels: Path
    description: str
    n_files: int  # everything below `dicom`, misfits included
    n_images: int  # files an importer should accept, multi-frame ones included
    n_multiframe: int  # of these, files of several frames; the label holds for each frame
    n_samples: int  # frames in all
    n_patients: int  # all of them have an image that should be accepted
    planted_rejects: Mapping[str, int]  # files an importer should reject, by reason: the values of `Misfit`


def write_hospitals(
    out: Path,
    *,
    seed: int = 7,
    on_progress: Callable[[int, int], None] | None = None,
    planted_bias: bool = True,
) -> tuple[Hospital, ...]:
    """Write every hospital into a folder of `out`. The same seed gives the same bytes.

    Without `planted_bias` St Brigid images women as it does men and nothing else changes: the unbiased twin of the demo.
    `on_progress` hears after every image how many are written and how many there will be.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty, and phantoms do not mix with other files. Choose a new folder.")
    sites = SITES if planted_bias else tuple(map(unbiased, SITES))
    drafts = [export.draft(site, seed, position) for position, site in enumerate(sites)]
    total, written = sum(len(draft.shots) for draft in drafts), 0

    def count() -> None:
        nonlocal written
        written += 1
        if on_progress is not None:
            on_progress(written, total)

    for draft in drafts:
        export.write(draft, out / draft.site.name, seed, count)
    return tuple(_hospital(draft, out / draft.site.name) for draft in drafts)


def _hospital(draft: export.Draft, folder: Path) -> Hospital:
    good = [shot for shot in draft.shots if shot.misfit is None]
    rejects = Counter(misfit.value for misfit in draft.site.misfits)
    return Hospital(
        name=draft.site.name,
        folder=folder,
        dicom=folder / "dicom",
        labels=folder / "labels.csv",
        description=draft.site.description,
        n_files=len(good) + rejects.total(),
        n_images=len(good),
        n_multiframe=sum(shot.frames > 1 for shot in good),
        n_samples=sum(shot.frames for shot in good),
        n_patients=len(draft.persons),
        planted_rejects=MappingProxyType(dict(rejects)),
    )
