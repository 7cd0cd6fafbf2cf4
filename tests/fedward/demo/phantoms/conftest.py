from __future__ import annotations

from dataclasses import replace

import pytest

from fedward.demo.phantoms import Hospital, hospitals, write_hospitals
from fedward.demo.phantoms.sites import SITES


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Hospital]:
    """All four hospitals with 24 patients each: everything but the size is as in the demo."""
    small = tuple(replace(site, mix=replace(site.mix, patients=24)) for site in SITES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hospitals, "SITES", small)
        return {hospital.name: hospital for hospital in write_hospitals(tmp_path_factory.mktemp("phantoms") / "out")}


@pytest.fixture(params=[site.name for site in SITES])
def hospital(request: pytest.FixtureRequest, written: dict[str, Hospital]) -> Hospital:
    return written[request.param]
