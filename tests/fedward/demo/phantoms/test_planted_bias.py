"""St Brigid images women with a wrong preset; nobody else does. Measured on rendered images, not on the settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedward.demo.phantoms import render
from fedward.demo.phantoms.cohort import draw
from fedward.demo.phantoms.sites import HARBOUR, NORTHGATE, ST_BRIGID, VALLEY, Site

_N = 48


def _opacity_over_noise(site: Site) -> tuple[float, float]:
    """Women's and men's mean peak of the opacity over the grain beside it: same patients with and without opacity."""
    rng = np.random.default_rng(5)
    cohort = draw(rng, replace(site.mix, patients=_N, women=0.5))
    plan = render.plan(rng, site, cohort, np.arange(_N), np.ones(_N, bool))
    healthy = replace(plan, nodules=replace(plan.nodules, thickness=np.zeros_like(plan.nodules.thickness)))
    ill = render.grey(np.random.default_rng(9), site, plan)
    well = render.grey(np.random.default_rng(9), site, healthy)
    # Outside the opacity the two differ only in how the machine stretched its greys, so the peak is the opacity.
    signal = np.percentile(ill - well, 98, axis=(1, 2))
    lung = well[:, site.machine.rows // 4 : site.machine.rows // 2]
    grain = np.abs(np.diff(lung, 2, axis=2)).mean(axis=(1, 2))
    ratio = signal / grain
    return float(ratio[cohort.female].mean()), float(ratio[~cohort.female].mean())


def test_at_st_brigid_opacities_in_women_are_far_fainter() -> None:
    women, men = _opacity_over_noise(ST_BRIGID)
    assert women < 0.35 * men
    assert "PLANTED BIAS" in ST_BRIGID.description


@pytest.mark.parametrize("site", [NORTHGATE, HARBOUR, VALLEY], ids=lambda site: site.name)
def test_elsewhere_women_and_men_are_imaged_alike(site: Site) -> None:
    women, men = _opacity_over_noise(site)
    assert women == pytest.approx(men, rel=0.3)
    assert "BIAS" not in site.description
