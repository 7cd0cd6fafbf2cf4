"""Real bundles of small jobs, and what a dishonest aggregator can do to them: it holds its own key, and signs again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aggregator.job import Job
from aggregator.results import write_results
from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from evaluation.verify.run import verify_opened
from protocol.canonical import canonical_json, digest_bytes
from protocol.evidence import bundle as names
from protocol.evidence.bundle import Index
from protocol.evidence.checkpoint import Chain, Checkpoint, Cosignature, as_lines, cosign, lines_of, tree_root
from protocol.evidence.dsse import parse, seal
from protocol.evidence.keys import SiteKeys
from protocol.identity import Identity
from protocol.messages import Request, decode_request
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from protocol.transport.base import Failure
from protocol.transport.in_process import InProcessTransport
from silo_node.node import SiloNode
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store

SILOS = ("s0", "s1", "s2", "s3")
AUDIT = {"attributes": ["sex"], "smallest_cell": 3}
OPEN = tiny_plan(evaluation={"alone": True, "audit": AUDIT})
_SECURE = {"privacy": {"mechanism": "none", "secure_aggregation": True}}
SUMMED = tiny_plan(**{**_SECURE, "evaluation": {"alone": False, "scores": "summed", "audit": AUDIT}})
HIDDEN = tiny_plan(
    **{
        **PRIVATE,
        "privacy": {**PRIVATE["privacy"], "secure_aggregation": True},
        "evaluation": {"alone": False, "audit": {"attributes": ["sex"]}},
    }
)


class Tampering:
    """The in-process transport; `change` may replace the bytes of a request to a silo, or return None to lose them."""

    def __init__(self, nodes: Mapping[str, SiloNode], change: Callable[[str, Request, bytes], bytes | None]) -> None:
        self._inner, self._change = InProcessTransport(nodes), change

    @property
    def silos(self) -> tuple[str, ...]:
        return self._inner.silos

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        changed = {silo: self._change(silo, decode_request(data), data) for silo, data in requests.items()}
        yield from self._inner.exchange({s: data for s, data in changed.items() if data is not None}, deadline_s)
        for silo in (silo for silo, data in changed.items() if data is None):
            yield silo, Failure("timeout", "no reply within 1 s")


def nodes_in(folder: Path) -> dict[str, SiloNode]:
    """Four hospitals; the same folder gives the same keys."""
    return {
        silo: tiny_node(silo, tiny_store(folder / silo, n=40 + 8 * index, seed=index), folder / f"state-{silo}")
        for index, silo in enumerate(SILOS)
    }


@dataclass
class Case:
    """One bundle, in memory, and all keys."""

    files: dict[str, bytes]
    report: bytes
    keys: SiteKeys
    aggregator: Identity
    silos: dict[str, Identity]
    folder: Path

    def copy(self) -> Case:
        return Case(dict(self.files), self.report, self.keys, self.aggregator, self.silos, self.folder)

    @property
    def checkpoint(self) -> Checkpoint:
        return parse(self.files[names.CHECKPOINT], Checkpoint)

    def lines(self, silo: str) -> list[bytes]:
        return list(lines_of(self.files[f"{names.RECEIPTS}{silo}.jsonl"]))

    def put_lines(self, silo: str, lines: list[bytes]) -> None:
        self.files[f"{names.RECEIPTS}{silo}.jsonl"] = as_lines(lines)

    def told(self, path: str) -> Any:
        return json.loads(self.files[path])

    def put(self, path: str, value: Any) -> None:
        self.files[path] = canonical_json(value)

    def put_report(self, change: Callable[[dict[str, Any]], None]) -> None:
        value = json.loads(self.report)
        change(value)
        self.report = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()

    def change_checkpoint(self, **changes: Any) -> None:
        self.files[names.CHECKPOINT] = canonical_json(msgspec.to_builtins(msgspec.structs.replace(self.checkpoint, **changes)))

    def root_again(self) -> None:
        """The checkpoint of the receipts that are here, as an aggregator that left something out would make it."""
        lines = {silo: self.lines(silo) for silo in SILOS if f"{names.RECEIPTS}{silo}.jsonl" in self.files}
        chains = tuple(Chain(silo, len(one), digest_bytes(one[-1]) if one else "") for silo, one in sorted(lines.items()))
        count = sum(map(len, lines.values()))
        self.change_checkpoint(chains=chains, receipts=count, root=tree_root(lines))

    def cosign_again(self, *silos: str) -> None:
        """Silos that sign anything: what then is found does not rest on their care."""
        signed = self.told(names.COSIGNATURES)
        digest = digest_bytes(self.files[names.CHECKPOINT])
        for silo in silos or SILOS:
            word = Cosignature(silo, self.checkpoint.job, self.checkpoint.plan_digest, digest, "as scored")
            signed["signed"][silo] = cosign(self.silos[silo], word).decode()
        self.put(names.COSIGNATURES, signed)

    def sign_again(self) -> None:
        """The aggregator signs what is here now."""
        self.files.pop(names.INDEX, None)
        digests = {path: digest_bytes(data) for path, data in sorted(self.files.items())}
        index = Index(self.checkpoint.job, digests, digest_bytes(self.report))
        self.files[names.INDEX] = seal(self.aggregator, names.AGGREGATOR, names.INDEX_TYPE, index)

    def verify(self, *, again: bool = True, report: bool = True, keys: SiteKeys | None = None) -> Findings:
        """`again`: the aggregator signs its files anew first, so that no digest of its own gives it away."""
        if again:
            self.sign_again()
        return verify_opened(Opened(dict(self.files), keys or self.keys), self.report if report else None)


def case(plan: Plan, folder: Path, change: Callable[[str, Request, bytes], bytes | None] = lambda *one: one[2]) -> Case:
    """Run `plan` in `folder` and read what it left."""
    nodes = nodes_in(folder) if not (folder / "state-s0").exists() else _again(folder)
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)
    out = folder / f"out-{len(list(folder.glob('out-*')))}"
    job = Job(plan, Tampering(nodes, change), out / "job", lambda _: None, {}, members)
    with closing(job.journal):
        job.run()
        written = write_results(job, out, one_machine=True)
    assert written.evidence is not None
    return read(written.evidence, written.report_json, folder)


def read(bundle: Path, report: Path, folder: Path) -> Case:
    files = {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    keys = msgspec.json.decode(files[names.KEYS], type=SiteKeys)
    silos = {silo: Identity.open(folder / f"state-{silo}" / "identity.key") for silo in SILOS}
    return Case(files, report.read_bytes(), keys, Identity.open(report.parent / "job" / "identity.key"), silos, folder)


def _again(folder: Path) -> dict[str, SiloNode]:
    from silo_node.cohort import CohortStore

    return {silo: tiny_node(silo, CohortStore.open(folder / silo), folder / f"state-{silo}") for silo in SILOS}


def broken(findings: Findings) -> set[tuple[str, str]]:
    """(check, who) of everything that does not hold."""
    return {(one.check, one.who) for one in findings.found if one.state in ("broken", "missing")}


def words(findings: Findings) -> str:
    return "\n".join(f"{one.state} {one.check} {one.who}: {one.what}" for one in findings.found if one.state != "ok")
