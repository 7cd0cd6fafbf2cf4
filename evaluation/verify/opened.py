"""The bundle's files, and what is known once its signatures were checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from protocol.canonical import digest_bytes
from protocol.errors import EvidenceError, InputError
from protocol.evidence import bundle as names
from protocol.evidence.bundle import Cosignatures, Course
from protocol.evidence.checkpoint import Checkpoint
from protocol.evidence.dsse import parse
from protocol.evidence.keys import SiteKeys
from protocol.evidence.receipt import ReleaseReceipt
from protocol.messages import Release, decode_release
from protocol.plan import Plan, parse_canonical

_MOST = 1 << 30  # bytes of all files together


@dataclass
class Opened:
    """One bundle. Whatever is read from it raises EvidenceError if it is not there or not in its one spelling.

    `receipts` are those of each silo whose chain is sound and complete: filled by the check of signatures.
    """

    files: dict[str, bytes]
    keys: SiteKeys
    receipts: dict[str, tuple[ReleaseReceipt, ...]] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path, keys: SiteKeys) -> Opened:
        """Raises InputError if there is no bundle there."""
        if not (folder / names.CHECKPOINT).is_file() and not (folder / names.INDEX).is_file():
            raise InputError(f"{folder} holds no evidence; name the folder `evidence` that a job left beside its report.")
        files, size = {}, 0
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                if path.is_symlink():
                    raise InputError(f"{path} is a link; a bundle is made of files alone.")
                continue
            size += path.stat().st_size
            if size > _MOST:
                raise InputError(f"{folder} holds more than {_MOST >> 20} MiB; no bundle does.")
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
        return cls(files, keys)

    def file(self, path: str) -> bytes:
        """The bytes of a file."""
        if path not in self.files:
            raise EvidenceError(f"{path} is not in the bundle: it was left out.")
        return self.files[path]

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """As it was cosigned."""
        return parse(self.file(names.CHECKPOINT), Checkpoint)

    @cached_property
    def cosignatures(self) -> Cosignatures:
        """As the aggregator collected them."""
        return parse(self.file(names.COSIGNATURES), Cosignatures)

    @cached_property
    def course(self) -> Course:
        """What the aggregator says."""
        return parse(self.file(names.COURSE), Course)

    @cached_property
    def plan(self) -> Plan:
        """The plan, if it is the one of the checkpoint."""
        data = self.file(names.PLAN)
        if digest_bytes(data) != self.checkpoint.plan_digest:
            raise EvidenceError("plan.json is not the plan that the silos took part in.")
        plan = parse_canonical(data)
        if plan.canonical != data:  # the digest is right, so nobody changed it
            raise EvidenceError(
                "plan.json has other keys than this release's plans, or is not in canonical JSON: another release of fedward "
                "wrote it, and only that one can check the rest."
            )
        return plan

    @property
    def restricted(self) -> bool:
        """Whether the files that not everybody may see are here."""
        return any(path.startswith(names.RESTRICTED) for path in self.files)

    def release(self, site: str, commitment: str) -> Release:
        """A release as it left `site`: its bytes are those that the silo signed a receipt of. Raises EvidenceError."""
        data = self.file(names.release_path(commitment))
        if digest_bytes(data) != commitment:
            raise EvidenceError(f"a release of {site} was changed: it is not what the silo signed a receipt of.")
        self.receipt(site, commitment)
        return decode_release(data)

    def receipt(self, site: str, commitment: str) -> ReleaseReceipt:
        """The receipt of what `site` released with this commitment. Raises EvidenceError if it signed none."""
        found = next((one for one in self.receipts.get(site, ()) if one.commitment == commitment), None)
        if found is None:
            raise EvidenceError(f"{site} signed no receipt of a release that the aggregator says it used.")
        return found
