"""What secure aggregation costs a silo and the aggregator, beside the raw AES keystream that its masks consist of.

    python benchmarks/secure_aggregation.py                  1M and 25M values; 4, 10 and 50 silos
    python benchmarks/secure_aggregation.py --full           100M values too
    python benchmarks/secure_aggregation.py --quick --json   under a minute; one JSON object as the last line

Times are processor seconds of one core, so that a busy machine does not count. A client's are all its five steps with real
keys of all its peers, masking in place; client and keystream (the same number of bytes from the same number of streams, into
the same small buffer, and nothing else) take turns, and `ratio` is the median of the pairs. Each row runs in a process of its
own. All silos run, and the sum is compared with the true one, where that takes at most 12 GB of keystream; else (`exact` is
"-") one client is timed among all others' real keys, and the aggregator adds its vector once for each survivor: the time does
not depend on what is in a vector. Half of the rows have as many dropouts after sharing as the threshold allows.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from rich.console import Console
from rich.table import Table

from privacy.secure_aggregation import client, server
from privacy.secure_aggregation.manifest import default_colluders, least_threshold
from privacy.secure_aggregation.masking import BLOCK_BYTES, Unsigned
from privacy.secure_aggregation.unmasking import open_sum
from protocol.identity import Identity
from protocol.secure_aggregation import SCHEMA, Manifest, Member, Where

MILLION = 10**6
SILOS = (4, 10, 50)
EVERYBODY_BYTES = 12e9
clock = time.process_time


def keystream_seconds(streams: int, size: int) -> float:
    """Time to make `streams` AES-256-CTR keystreams of `size` 32-bit words each."""
    zeros, buffer = bytes(BLOCK_BYTES), memoryview(bytearray(BLOCK_BYTES))
    start = clock()
    for index in range(streams):
        stream = Cipher(algorithms.AES256(index.to_bytes(32, "big")), modes.CTR(bytes(16))).encryptor()
        for _ in range(4 * size // BLOCK_BYTES):
            stream.update_into(zeros, buffer)
        stream.update(zeros[: 4 * size % BLOCK_BYTES])
    return clock() - start


class Attempt:
    """One aggregation; the first silo is the one that is timed."""

    def __init__(self, size: int, silos: int) -> None:
        self.identities = {f"silo-{index:02}": Identity(Ed25519PrivateKey.generate()) for index in range(silos)}
        roster = tuple(Member(name, identity.public_key) for name, identity in self.identities.items())
        t, self.where = least_threshold(silos), Where("benchmark", 1, 0)
        self.manifest = Manifest(SCHEMA, "benchmark", "sha256:", roster, t, t, default_colluders(silos), size, 32)
        self.server, self.me = server.begin(self.manifest, self.where), "silo-00"
        self.seconds: dict[str, float] = {"client": 0.0, "server": 0.0}
        self.sent = 0

    def timed(self, side: str, step: Any, *args: Any) -> Any:
        """The result of a step; its time counts for `side`, where a client's counts if it is the timed one's."""
        start = clock()
        result = step(*args)
        self.seconds[side] = self.seconds.get(side, 0.0) + clock() - start
        return result

    def of(self, name: str) -> str:
        """Whose time a step of that silo is."""
        return "client" if name == self.me else "others"

    def prepare(self) -> None:
        """Advertise and share: all silos, always."""
        self.clients, adverts, boxes = {}, {}, {}
        for name, identity in self.identities.items():
            step = (client.advertise, self.manifest, name, identity, self.where)
            self.clients[name], adverts[name] = self.timed(self.of(name), *step)
        self.server, shown, _ = self.timed("server", server.gather_advertisements, self.server, adverts)
        for name, state in self.clients.items():
            self.clients[name], boxes[name] = self.timed(self.of(name), client.share, state, shown)
        self.server, _ = self.timed("server", server.gather_shares, self.server, boxes)
        self.sent += len(msgspec.msgpack.encode(adverts[self.me])) + len(msgspec.msgpack.encode(boxes[self.me]))

    def finish(self, survivors: tuple[str, ...], total: Unsigned) -> Unsigned:
        """Vouch, unmask and open: all survivors."""
        vouches, unmaskings = {}, {}
        for name in survivors:
            step = (client.vouch, self.clients[name], self.identities[name], survivors)
            self.clients[name], vouches[name] = self.timed(self.of(name), *step)
        self.server, shown, _ = self.timed("server", server.gather_vouches, self.server, vouches)
        for name in survivors:
            self.clients[name], unmaskings[name] = self.timed(self.of(name), client.unmask, self.clients[name], shown)
        self.server, _ = self.timed("server", server.gather_unmaskings, self.server, unmaskings)
        self.sent += len(msgspec.msgpack.encode(vouches[self.me])) + len(msgspec.msgpack.encode(unmaskings[self.me]))
        return self.timed("server", open_sum, self.server, total)


def measure(size: int, silos: int, dropouts: int, repeats: int) -> dict[str, Any]:
    """One row, in this process."""
    attempt = Attempt(size, silos)
    attempt.prepare()
    boxes, pattern = server.incoming(attempt.server, attempt.me), np.arange(size, dtype="<u4")
    pattern *= np.uint32(2654435761)  # all bits in use
    masking, limits = [], []
    vector = pattern.copy()
    for _ in range(repeats):
        limits.append(keystream_seconds(silos, size))
        start = clock()
        client.mask(attempt.clients[attempt.me], boxes, vector, vector)
        masking.append(clock() - start)
    del vector
    everybody = silos * silos * 4 * size <= EVERYBODY_BYTES
    survivors, before = list(attempt.identities)[: silos - dropouts], attempt.seconds["client"]
    tracemalloc.start()
    total, masked = server.new_total(attempt.manifest), pattern
    for index, name in enumerate(survivors):
        if everybody or name == attempt.me:
            masked = pattern * np.uint32(index + 1)
        incoming = server.incoming(attempt.server, name)
        small = masked if everybody or name == attempt.me else None
        if small is not None:
            attempt.clients[name], masked = client.mask(attempt.clients[name], incoming, small, small)
        else:
            attempt.clients[name] = _as_if_masked(attempt.clients[name], incoming)
        attempt.server = attempt.timed("server", server.add, attempt.server, total, name, masked)
        if everybody:
            del masked, small
    masked = small = None
    attempt.server, order = server.close(attempt.server)
    result = attempt.finish(order, total)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pattern *= np.uint32(sum(range(1, len(survivors) + 1)) % 2**32)
    client_seconds = [seconds + attempt.seconds["client"] for seconds in masking]
    limit = statistics.median(limits)
    return {
        "values": size,
        "silos": silos,
        "dropouts": dropouts,
        "client_seconds": round(statistics.median(client_seconds), 4),
        "client_without_masking_seconds": round(attempt.seconds["client"], 4),
        "before_upload_seconds": round(before, 4),
        "keystream_seconds": round(limit, 4),
        "ratio": round(statistics.median(c / k for c, k in zip(client_seconds, limits, strict=True)), 3),
        "server_seconds": round(attempt.seconds["server"], 3),
        "upload_ratio": round((4 * size + attempt.sent) / (4 * size), 5),
        "server_peak_vectors": round(peak / (4 * size), 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "exact": bool(np.array_equal(result.view("<u4"), pattern)) if everybody else None,
    }


def _as_if_masked(state: client.ClientState, boxes: Any) -> client.ClientState:
    """The state of a silo that masked, without the work: it masks a single value, which has all keys but no keystream."""
    manifest = msgspec.structs.replace(state.manifest, size=1)
    small = msgspec.structs.replace(state, manifest=manifest)
    after, _ = client.mask(small, boxes, np.zeros(1, "<u4"))
    return msgspec.structs.replace(after, manifest=state.manifest)


def rows(args: argparse.Namespace) -> list[tuple[int, int, int]]:
    """(values, silos, dropouts) of each row; the last is the headline: 25M values of 10 silos, nobody drops out."""
    sizes = [1 * MILLION] if args.quick else [1 * MILLION, 25 * MILLION, *([100 * MILLION] if args.full else [])]
    found = [(size, n, gone) for size in sizes for n in SILOS for gone in (0, n - least_threshold(n))]
    headline = (25 * MILLION, 10, 0)
    return [*(row for row in found if row != headline), headline]


def main() -> None:
    """Measure each row in its own process and print a table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--quick", action="store_true", help="1M values, and 25M for 10 silos; under a minute")
    cli.add_argument("--full", action="store_true", help="100M values too; takes some minutes")
    cli.add_argument("--repeats", type=int, default=None, help="pairs of client and keystream; default 5, with --quick 3")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    cli.add_argument("--here", default="", help=argparse.SUPPRESS)
    args = cli.parse_args()
    repeats = args.repeats or (3 if args.quick else 5)
    if args.here:
        size, silos, dropouts = (int(part) for part in args.here.split(","))
        print(json.dumps(measure(size, silos, dropouts, repeats)))
        return
    console, results = Console(stderr=True), []
    console.width = max(console.width, 110)  # also where nobody watches
    with console.status("measuring") as status:
        for row in rows(args):
            status.update("{} values, {} silos, {} dropouts".format(*row))
            command = [sys.executable, __file__, "--here", ",".join(map(str, row)), "--repeats", str(repeats)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    table = Table(title="Secure aggregation of 32-bit values, processor seconds of one core")
    columns = {
        "values": "values",
        "silos": "silos",
        "dropouts": "gone",
        "client_seconds": "client s",
        "keystream_seconds": "AES s",
    }
    columns |= {"ratio": "ratio", "server_seconds": "server s", "upload_ratio": "upload", "server_peak_vectors": "vectors"}
    for title in (columns := columns | {"exact": "exact"}).values():
        table.add_column(title, justify="right", no_wrap=True)
    for row in results:
        table.add_row(
            *("-" if row[key] is None else f"{row[key] // MILLION}M" if key == "values" else str(row[key]) for key in columns)
        )
    console.print(table)
    if args.json:
        exact = all(row["exact"] is not False for row in results)
        print(json.dumps({"benchmark": "secure_aggregation", **results[-1], "exact": exact, "results": results}))


if __name__ == "__main__":
    main()
