"""The files of a cluster: a consortium's office, and for each hospital a folder with its kit and configuration.

Keys are made as in a real consortium, the silos' in their own folders; only the telephone calls are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from aggregator.consortium import coordinator
from aggregator.consortium.broker_config import settings_of
from aggregator.consortium.office import Office
from protocol.consortium.files import read_public, replace
from protocol.consortium.folder import PartyFolder
from protocol.consortium.joining import install, join
from protocol.consortium.records import Kit, decode
from protocol.errors import InputError

_STORAGE = 3 << 30
_SILO_STORAGE = 2 << 30


@dataclass(frozen=True)
class Layout:
    """Where a cluster lies, and on which ports of loopback it answers."""

    office: Office
    broker_port: int
    configs: dict[str, Path]
    health: dict[str, int]


@dataclass(frozen=True)
class Hospital:
    """One silo's store, policy and ledger."""

    store: Path
    policy: Path
    ledger: Path


def lay_out(out: Path, hospitals: Mapping[str, Hospital], ports: list[int], device: str, threads: int) -> Layout:
    """Make everything. `ports`: broker, monitor, then one a hospital. Raises InputError if there is a cluster already."""
    office = Office(out / "consortium")
    if office.folder.exists():
        raise InputError(f"{office.folder} exists; choose another --out. A cluster is tried, not kept.")
    broker, monitor, *health = ports
    listen, folder = f"127.0.0.1:{broker}", str(office.broker.absolute())
    storage = _STORAGE + _SILO_STORAGE * len(hospitals)
    settings = settings_of(f"tls://localhost:{broker}", folder, ("127.0.0.1",), listen, "", monitor, storage)
    coordinator.found(office, "cluster", f"tls://localhost:{broker}", settings)
    places = {name: PartyFolder(out / "silos" / name / "kit") for name in hospitals}
    for name, place in places.items():
        coordinator.admit(office, join(place, name))
    configs, key = {}, office.roster().coordinator
    for (name, hospital), port in zip(hospitals.items(), health, strict=True):
        install(places[name], name, decode(read_public(office.kit_path(name)), Kit), key)
        configs[name] = out / "silos" / name / "silo.yaml"
        written = {
            "kit": "kit",
            "store": str(hospital.store.absolute()),
            "state": "state",
            "approval": "local",  # whoever starts a cluster on one machine answers for its plans; a policy may say otherwise
            "policy": str(hospital.policy.absolute()),
            "ledger": str(hospital.ledger.absolute()),
            "device": device,
            "threads": threads,
            "health": {"port": port},
        }
        replace(configs[name], yaml.safe_dump(written, sort_keys=False).encode())
    return Layout(office, broker, configs, dict(zip(hospitals, health, strict=True)))
