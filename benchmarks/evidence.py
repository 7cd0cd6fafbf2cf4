"""How long it takes to make, check and root many receipts, and how many bytes they are.

    python benchmarks/evidence.py [--receipts 1000] [--silos 5] [--repeat 5] [--json]

Receipts are real ones, signed by `--silos` keys, in chains as silos write them; reading checks every signature, place and link.
`write` is what a silo does for each release: sign, append, fsync.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from protocol.evidence.checkpoint import tree_root
from protocol.evidence.receipt import ReleaseReceipt, read_chain
from protocol.identity import Identity
from silo_node.chain import Chain

JOB, PLAN = "benchmark-00000000", "sha256:" + "0" * 64


def receipt(site: str, number: int) -> ReleaseReceipt:
    """As one of a round with five silos in it."""
    digest = "sha256:" + f"{number:064x}"
    names = tuple(f"hospital-{index}" for index in range(5))
    return ReleaseReceipt(site, 0, "", JOB, PLAN, "local", number, 0, "update", "masked-update", digest, digest, "", names)


def chains(folder: Path, silos: int, receipts: int) -> tuple[dict[str, tuple[bytes, ...]], dict[str, bytes], float]:
    """(lines by silo, keys, milliseconds to write one)."""
    lines: dict[str, tuple[bytes, ...]] = {}
    keys: dict[str, bytes] = {}
    start = time.perf_counter()
    for index in range(silos):
        site = f"hospital-{index}"
        identity = Identity.open(folder / f"{site}.key")
        chain = Chain(folder / f"{site}.jsonl", identity)
        for number in range(receipts // silos):
            chain.append(receipt(site, number))
        lines[site], keys[site] = chain.lines(), identity.public_key
    return lines, keys, (time.perf_counter() - start) * 1e3 / (receipts // silos * silos)


def verification(receipts: int = 1000, silos: int = 5, repeat: int = 5) -> dict[str, Any]:
    """One row: seconds (median of `repeat`) to check all receipts and their root, and what they weigh."""
    with tempfile.TemporaryDirectory() as folder:
        lines, keys, write_ms = chains(Path(folder), silos, receipts)
    read, cpu, rooted = [], [], []
    for _ in range(repeat):
        start, busy = time.perf_counter(), time.process_time()
        for site, one in lines.items():
            read_chain(one, site, keys[site], JOB, PLAN)
        between = time.perf_counter()
        cpu.append(time.process_time() - busy)
        tree_root(lines)
        read.append(between - start)
        rooted.append(time.perf_counter() - between)
    return {
        "receipts": sum(map(len, lines.values())),
        "silos": silos,
        "verify_s": round(statistics.median(read), 4),
        "verify_cpu_s": round(statistics.median(cpu), 4),
        "verify_s_worst": round(max(read), 4),
        "root_s": round(statistics.median(rooted), 4),
        "write_ms": round(write_ms, 3),
        "bytes_per_receipt": round(
            sum(len(line) + 1 for one in lines.values() for line in one) / sum(map(len, lines.values()))
        ),
    }


def main() -> None:
    """Print one row, for people or as JSON."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--receipts", type=int, default=1000)
    cli.add_argument("--silos", type=int, default=5)
    cli.add_argument("--repeat", type=int, default=5)
    cli.add_argument("--json", action="store_true")
    options = cli.parse_args()
    row = verification(options.receipts, options.silos, options.repeat)
    print(json.dumps(row) if options.json else "\n".join(f"{name:18} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
