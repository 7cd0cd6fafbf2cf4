"""Signatures, chains, root and cosignatures: whether what is here is what the parties signed, and whether it is all of it."""

from __future__ import annotations

import hashlib

from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from protocol.canonical import digest_bytes
from protocol.errors import EvidenceError
from protocol.evidence import bundle as names
from protocol.evidence.agreement import check_chain
from protocol.evidence.bundle import Index
from protocol.evidence.checkpoint import check_cosignature, lines_of, tree_root
from protocol.evidence.dsse import unseal
from protocol.evidence.receipt import read_chain


def check_index(opened: Opened, findings: Findings) -> str | None:
    """Every file against the index that the aggregator signed; the digest of the report in it; None if none can be believed."""
    before = len(findings.found)
    index: Index | None = None
    with findings.checking("files", names.AGGREGATOR):
        key = bytes.fromhex(opened.keys.aggregator)
        index = unseal(opened.file(names.INDEX), names.AGGREGATOR, key, names.INDEX_TYPE, Index)
    if index is None:
        return None
    for path in sorted(index.files.keys() | opened.files.keys() - {names.INDEX}):
        data = opened.files.get(path)
        if data is None and not path.startswith(names.RESTRICTED):
            findings.add("broken", "files", names.AGGREGATOR, f"{path} was left out of the bundle.")
        elif data is not None and path not in index.files:
            findings.add("broken", "files", names.AGGREGATOR, f"{path} does not belong to the bundle.")
        elif data is not None and digest_bytes(data) != index.files[path]:
            findings.add("broken", "files", names.AGGREGATOR, f"{path} was changed after the bundle was made.")
    findings.counted("files", f"{len(opened.files)} files are those that the aggregator signed", before)
    return index.report


def check_roster(opened: Opened, findings: Findings) -> None:
    """Who is in the checkpoint has the keys that the auditor knows."""
    before = len(findings.found)
    roster = {site.name: site.public_key for site in opened.checkpoint.roster}
    for name, key in roster.items():
        known = opened.keys.sites.get(name)
        if known is None:
            findings.add("broken", "roster", name, "it is on the roster, but your file of keys does not know it.")
        elif key and key != known:
            findings.add("broken", "roster", name, "its key on the roster is not the one in your file of keys.")
    if len(roster) < len(opened.checkpoint.roster):
        findings.add("broken", "roster", names.AGGREGATOR, "a silo stands on the roster twice.")
    for name in sorted(opened.keys.sites.keys() - roster.keys()):
        findings.add("unchecked", "roster", name, "it is in your file of keys, but not on the roster of this job.")
    findings.counted("roster", f"{len(roster)} silos with the keys you know", before)


def check_chains(opened: Opened, findings: Findings) -> None:
    """Each silo's receipts, to the end that the checkpoint names; then the root over all of them."""
    before, checkpoint = len(findings.found), opened.checkpoint
    lines: dict[str, tuple[bytes, ...]] = {}
    for site in checkpoint.roster:
        path = f"{names.RECEIPTS}{site.name}.jsonl"
        if path not in opened.files and checkpoint.chain(site.name) is None:
            _absent(opened, findings, site.name)
            continue
        with findings.checking("receipts", site.name):
            lines[site.name] = lines_of(opened.file(path))
            key = bytes.fromhex(opened.keys.sites.get(site.name, ""))
            found, head = read_chain(lines[site.name], site.name, key, checkpoint.job, checkpoint.plan_digest)
            check_chain(checkpoint, site.name, head)
            opened.receipts[site.name] = found
    known = {f"{names.RECEIPTS}{site.name}.jsonl" for site in checkpoint.roster}
    for path in sorted(opened.files):
        if path.startswith(names.RECEIPTS) and path not in known:
            findings.add("broken", "receipts", names.AGGREGATOR, f"{path} is of no silo on the roster.")
    with findings.checking("root", names.AGGREGATOR):
        count = sum(map(len, lines.values()))
        if tree_root(lines) != checkpoint.root or count != checkpoint.receipts:
            raise EvidenceError(f"the root over the {count} receipts here is not that of the {checkpoint.receipts} cosigned.")
    findings.counted("receipts", f"{checkpoint.receipts} receipts, signed and without a gap, under the cosigned root", before)


def check_cosignatures(opened: Opened, findings: Findings) -> None:
    """Every silo signed this very checkpoint, so nothing is missing at the end."""
    before, data = len(findings.found), opened.file(names.CHECKPOINT)
    roster = {site.name for site in opened.checkpoint.roster}
    for site in sorted(roster):
        envelope = opened.cosignatures.signed.get(site)
        if envelope is None and site in opened.checkpoint.absent:
            continue  # its receipts are missing, which was said
        if envelope is None:
            why = opened.cosignatures.failures.get(site, "no reason is given")
            text = f"it did not cosign the checkpoint ({why}); that its receipts are complete is the aggregator's word alone."
            findings.add("missing", "cosignatures", site, text)
            continue
        with findings.checking("cosignatures", site):
            key = bytes.fromhex(opened.keys.sites.get(site, ""))
            word = check_cosignature(envelope.encode(), data, site, key)
            if (word.job, word.plan_digest) != (opened.checkpoint.job, opened.checkpoint.plan_digest):
                raise EvidenceError("it is of another job or plan")
    for site in sorted(opened.cosignatures.signed.keys() - roster):
        findings.add("broken", "cosignatures", site, "it cosigned, but is not on the roster.")
    short = hashlib.sha256(data).hexdigest()[:12]
    findings.counted("cosignatures", f"{len(opened.cosignatures.signed)} silos cosigned checkpoint {short}", before)


def _absent(opened: Opened, findings: Findings, site: str) -> None:
    checkpoint = opened.checkpoint
    why = checkpoint.absent.get(site)
    if why is None:
        findings.add("broken", "receipts", site, "its receipts are not here, and nothing says why.")
        return
    counted = any(site in {*one.trained, *one.aggregated} for one in checkpoint.rounds)
    what = "it is in the model, but" if counted else "it is in no round, and"
    findings.add("missing" if counted else "unchecked", "receipts", site, f"{what} its receipts are not here: {why}")
