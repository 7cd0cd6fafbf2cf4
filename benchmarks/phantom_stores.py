"""The demo's hospitals straight in their stores, for benchmarks: without the files, of which an intake has to reject some."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fedward.demo.phantoms.sites import Site


def fill_stores(folder: Path, sites: Iterable[Site], seed: int) -> dict[str, Path]:
    """A store in `folder` for each, by name; its patients and images follow from the seed and the site's position."""
    from fedward.demo.phantoms import render
    from fedward.demo.phantoms.export import draft
    from silo_node.cohort import StoreWriter

    stores = {}
    for position, site in enumerate(sites):
        site = replace(site, misfits=(), cines=0)
        drawn = draft(site, seed, position)
        owner = np.array([shot.patient for shot in drawn.shots])
        finding = np.array([shot.finding for shot in drawn.shots])
        exposures = render.plan(drawn.rng, site, drawn.cohort, owner, finding)
        writer = StoreWriter.create(folder / site.name)
        for first in range(0, len(owner), 16):
            batch = np.arange(first, min(first + 16, len(owner)))
            for index, image in zip(batch, render.grey(drawn.rng, site, exposures.take(batch)), strict=True):
                one = owner[index]
                writer.add(
                    image[np.newaxis],
                    patient=drawn.persons[one].number,
                    labels={"finding": str(int(finding[index]))},
                    fold="test" if drawn.cohort.test[one] else "train",
                    sex="F" if drawn.cohort.female[one] else "M",
                    age=int(drawn.cohort.age[one]),
                    manufacturer=site.device.maker,
                )
        stores[site.name] = writer.finish().path
    return stores
