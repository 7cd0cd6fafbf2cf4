"""How much memory there is for a plan, so that one that asks for more is refused by name and not by the kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

from protocol.errors import PolicyError
from protocol.free_memory import available
from protocol.plan import Plan
from silo_node.cohort import CohortStore
from silo_node.training.size import rounded_up, size_of

_GB = 1e9
_SHARE = 0.5
"""Of what is free when the job begins: training needs the rest."""


def admit_images(plan: Plan, store: CohortStore, cache: Path, max_image_gb: float) -> None:
    """Raises PolicyError, before anything is allocated, for images that this hospital has no memory or no disk for.

    `max_image_gb`: the hospital's limit, or 0 for half of what is available now. Under privacy only the plan and the rounded
    size of the whole store decide: nothing that one patient could change.
    """
    limit = int(max_image_gb * _GB) or int(_SHARE * available())
    private = plan.privacy.mechanism != "none"
    shapes = () if private else tuple(sample.shape for sample in store.samples)
    size = size_of(plan, max((shape[1] for shape in shapes), default=0), max((shape[2] for shape in shapes), default=0))
    cohort = rounded_up(len(store.samples)) * size.image
    memory = max(size.working, cohort if private else 0)  # without privacy the cohort stays on disk
    what = f"data.preprocessing makes images of {_mb(size.image)}; with them the plan needs"
    if memory > limit:
        raise PolicyError(
            f"{what} {_mb(memory)} of memory and this hospital gives {_mb(limit)} (max_image_gb in its policy). Make the "
            "images smaller."
        )
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    if cohort > (free := shutil.disk_usage(cache).free):
        raise PolicyError(
            f"{what} {_mb(cohort)} of disk and {_mb(free)} are free. Make the images smaller, or free space (`fedward "
            "silo tidy`)."
        )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.3g} MB" if size < 1e9 else f"{size / _GB:,.1f} GB"
