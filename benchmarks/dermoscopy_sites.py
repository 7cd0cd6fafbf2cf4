"""What the benchmarks on dermoscopy share: the four hospitals, their stores and silo nodes, and resumable units of work.

Data: DICOM made by shared/data/derm/to_dicom.py (HAM10000, CC BY-NC 4.0: for measuring only), imported as a hospital would.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.console import Console  # noqa: E402 - OpenMP's setting must come before anything that may load it
from rich.progress import (  # noqa: E402
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

DATA = ROOT.parent / "shared" / "data" / "derm"
SITES = ("rosendahl", "vidir_modern", "vidir_molemax", "vienna_dias")
JUDGED = ("rosendahl", "vidir_modern")


def prepare(work: Path, data: Path, per_site: int | None) -> None:
    """DICOM -> one cohort store a hospital; done once per --work."""
    from silo_node.intake import import_folder

    stores = work / "stores"
    stores.mkdir(parents=True, exist_ok=True)
    missing = [site for site in SITES if not (stores / site).exists()]
    if missing and not (work / "dicom").exists():
        limit = ["--per-site", str(per_site)] if per_site else []
        subprocess.run([sys.executable, data / "to_dicom.py", work / "dicom", *limit], check=True, capture_output=True)
    key = work / "pseudonym.key"  # a fixed one: it decides which patients validate
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(hashlib.sha256(b"fedward dermoscopy benchmark").digest())
    for site in missing:
        import_folder(work / "dicom" / site / "dicom", work / "dicom" / site / "labels.csv", stores / site, key=key)


def prepare_pooled(work: Path) -> None:
    """One store of all hospitals together, for pooled training; done once per --work, after `prepare`."""
    from silo_node.cohort import CohortStore, StoreWriter

    pooled = work / "stores" / "pooled"
    if pooled.exists():
        return
    writer = StoreWriter.create(pooled)
    for site in SITES:
        store = CohortStore.open(work / "stores" / site)
        for sample in store.samples:
            labels = {**sample.labels, "site": site}
            writer.add(store.stored(sample.index), patient=sample.patient, labels=labels, fold=sample.fold)
    writer.finish()


def open_nodes(work: Path, folder: Path, **policy: Any) -> dict[str, Any]:
    """A silo node for each hospital. States and ledgers lie in `folder`, which is a temporary one.

    A ledger remembers for ever what a cohort's patients have paid, and refuses once that is too much. Here nobody's privacy is
    spent: the images are public, and a benchmark repeats studies that a hospital would do once. So each unit begins with empty
    ledgers, and nothing beside the stores is written.
    """
    from silo_node.cohort import CohortStore
    from silo_node.governance.approvals import ApprovedLocally
    from silo_node.node import SiloNode
    from silo_node.policy import Policy

    rules = Policy(allow_without_privacy=True, min_patients=1, **policy)
    return {
        site: SiloNode(
            site,
            CohortStore.open(work / "stores" / site),
            folder / site,
            policy=rules,
            ledger=folder / f"{site}.ledger.jsonl",
            approvals=ApprovedLocally(),
            device="cpu",
        )
        for site in SITES
    }


@dataclass(frozen=True)
class Unit:
    """One setting under one seed. Its result goes to `file`; `arguments` make the script compute it in another process."""

    file: Path
    compute: Callable[[], Any]
    arguments: Sequence[str]


def unit_file(work: Path, setting: str, plan: Any) -> Path:
    """Where a unit's result is kept: named by what decides it, so that a changed plan is a new unit."""
    from protocol.canonical import digest_json

    value, parts = plan.to_json(), ["seed", "task", "data", "network", "training", "federation"]
    if plan.privacy.mechanism != "none":
        parts.append("privacy")
    decides = digest_json([setting, *(value[part] for part in parts)])
    return work / "units" / f"{setting.replace(' ', '_')}-{decides[7:23]}.json"


def keep(unit: Unit) -> None:
    """Compute a unit and write its result whole or not at all."""
    unit.file.parent.mkdir(exist_ok=True)
    partial = unit.file.with_suffix(".partial")
    partial.write_text(json.dumps(unit.compute()))
    partial.replace(unit.file)


def run_units(units: Sequence[Unit], jobs: int, console: Console, script: str) -> None:
    """Run what is not there yet, on one thread each; with several jobs, each in a process of its own."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task("settings x seeds", total=len(units))

        def one(unit: Unit) -> None:
            if not unit.file.exists():
                if jobs == 1:
                    keep(unit)
                else:
                    environment = os.environ | {"OMP_NUM_THREADS": "1"}
                    subprocess.run([sys.executable, script, *unit.arguments], check=True, env=environment)
            progress.advance(task)

        list(pool.map(one, units))
