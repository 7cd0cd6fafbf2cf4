"""Trying a plan on the mocks that hospitals publish: invented patients, so nothing needs protection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import InputError

if TYPE_CHECKING:
    from fedward.settings import Settings

_POLICY = """\
# Of a run on mocks: nobody is in them.
schema: fedward.policy/1
allow_without_privacy: true
custom_code: approved
min_patients: 1
max_epsilon_per_study: 1000.0
max_epsilon_total: 1000000.0
max_delta: 0.1
"""


def mock_stores(desk: Path, out: Path, *, resume: bool) -> dict[str, Path]:
    """The newest mock of each hospital that shows one, unpacked under `out`. Raises InputError if none does."""
    from fedward.desk import open_desk
    from protocol.governance.pins import name_of
    from silo_node.governance.mock import open_mock

    folder, stores = out / "mocks", dict[str, Path]()
    if resume and folder.is_dir():
        return {place.name: place for place in sorted(folder.iterdir())}
    for cohort in open_desk(desk).cohorts():
        archive = next((path for path in cohort.mock if path.suffix == ".zip"), None)
        name = name_of(cohort.hospital)
        if archive is not None and name not in stores:
            if not (folder / name).exists():
                open_mock(archive, folder / name)
            stores[name] = folder / name
    if not stores:
        raise InputError("no hospital shows you a cohort yet; `fedward cohorts` tells them that you are here.")
    return stores


def mock_settings(out: Path, *, resume: bool, tracking_uri: str, device: str, threads: int) -> Settings:
    """How a run on mocks is set up: its own policy and ledgers, below `out`."""
    from fedward.settings import Settings

    out.mkdir(parents=True, exist_ok=True)
    policy = out / "mock.policy.yaml"
    policy.write_text(_POLICY, encoding="utf-8")
    ledgers = out / "ledgers"
    ledgers.mkdir(exist_ok=True)
    return Settings(
        out,
        resume=resume,
        tracking_uri=tracking_uri,
        device=device,
        threads=threads,
        policy=policy,
        ledgers=ledgers,
        homes=out / "homes",
    )
