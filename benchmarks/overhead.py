"""What a round costs beyond training: broadcast, encode, gate, decode, check, aggregate, strategy, durable commit.

    python benchmarks/overhead.py                     1, 40 and 400 MB, four silos
    python benchmarks/overhead.py --mb 40 --silos 8   one size
    python benchmarks/overhead.py --quick --json      under a minute; one JSON object as the last line

Silos are real up to the training itself: they decode the request, copy the model, form the update, and send it through the
gate. Each size runs in a process of its own, so that its peak memory is its own. Times are medians over the rounds after the
first; the payload is one float32 vector of so many megabytes, down and up.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from aggregator.journal import Journal
from aggregator.rounds import run_round
from aggregator.strategies import build_strategy
from protocol.messages import Address, Train, Update, decode_request
from protocol.plan import Plan, parse_plan, plan_template
from protocol.transport.base import Handler
from protocol.transport.in_process import InProcessTransport
from protocol.vectors import Layout, from_wire, to_wire
from silo_node.gate import release

SIZES = (1.0, 40.0, 400.0)


def silo(layout: Layout) -> Handler:
    """A silo that does everything but train."""

    def serve(data: bytes) -> bytes:
        request = decode_request(data)
        if not isinstance(request, Train):
            raise TypeError(type(request).__name__)
        vector = from_wire(request.model)
        local = vector.copy()  # loading the network
        local += np.float32(1e-3)
        local -= vector
        update = Update(request.address, to_wire(local), 100, 50, 0.5, 0.0, 1, 0.0)
        return release(update, request.address, layout)

    return serve


def measure(plan: Plan, mb: float, silos: int, rounds: int) -> dict[str, float]:
    """Run `rounds` rounds of `mb` megabytes over `silos` silos in this process."""
    size = int(mb * 1e6 / 4)
    layout = Layout((("weights", (size,)),))
    names = tuple(f"silo-{index}" for index in range(silos))
    model = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    strategy, state, seconds = build_strategy(plan.federation.strategy), {}, []
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal(Path(folder))) as journal,
        closing(InProcessTransport({name: silo(layout) for name in names})) as transport,
    ):
        for number in range(1, rounds + 1):
            start = time.perf_counter()
            attempt = journal.begin(number)
            address = Address("benchmark", plan.digest, number, attempt)
            result = run_round(transport, plan, address, names, model, state, strategy, lambda _: None)
            journal.commit(result.record, result.model, result.state, keep=1)
            model, state = result.model, result.state
            del result
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "mb": mb,
        "silos": silos,
        "rounds": rounds,
        "seconds_per_round": round(statistics.median(seconds[1:] or seconds), 4),
        "slowest_round": round(max(seconds), 4),
        "peak_mb": round(peak, 1),
        "peak_over_payload": round((peak - before) / mb, 2),
    }


def main() -> None:
    """Measure each size in its own process and print a table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--mb", type=float, default=None, help="payload in megabytes (10^6 bytes); left out: 1, 40 and 400")
    cli.add_argument("--silos", type=int, default=4)
    cli.add_argument("--rounds", type=int, default=None, help="default 6, with --quick 3")
    cli.add_argument("--quick", action="store_true", help="fewer rounds, and no 400 MB unless asked for")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    cli.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = cli.parse_args()
    rounds = args.rounds or (3 if args.quick else 6)
    if args.here:
        plan = parse_plan(plan_template().replace("quorum: 2", f"quorum: {args.silos}"))
        print(json.dumps(measure(plan, args.mb, args.silos, rounds)))
        return
    sizes = (args.mb,) if args.mb else SIZES[: 2 if args.quick else 3]
    console, results = Console(stderr=True), []
    with console.status("measuring") as status:
        for mb in sizes:
            status.update(f"{mb:g} MB, {args.silos} silos")
            command = [sys.executable, __file__, "--here", "--mb", str(mb), "--silos", str(args.silos), "--rounds", str(rounds)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    table = Table(title=f"Seconds a round beyond training, {args.silos} silos, in process, durable commit included")
    for column in ("payload MB", "s / round", "slowest", "peak MB", "peak growth / payload"):
        table.add_column(column, justify="right")
    for row in results:
        table.add_row(*(str(row[key]) for key in ("mb", "seconds_per_round", "slowest_round", "peak_mb", "peak_over_payload")))
    console.print(table)
    if args.json:
        print(json.dumps({"benchmark": "overhead", **results[-1], "results": results}))


if __name__ == "__main__":
    main()
