"""What a round costs beyond training: broadcast, encode, gate, carry, decode, check, aggregate, strategy, durable commit.

    python benchmarks/overhead.py                                 1, 40 and 400 MB, four silos, in one process
    python benchmarks/overhead.py --transport nats                real processes, a real broker, TLS and an account a silo
    python benchmarks/overhead.py --transport nats --mb 40 --quick --json     one size; one JSON object as the last line
    python benchmarks/overhead.py --transport nats --peer ../shared/peers/nvflare/   NVFlare's simulator in the same run
    python benchmarks/overhead.py --bits 16                       updates quantised to 16 bits (federation.compression)

Silos are real up to the training itself: they decode the request, copy the model, form the update and put it through the
gate's checks. Each size runs in a process of its own. Seconds are medians over the rounds after the first; the payload is one
float32 vector of so many megabytes, down and up. `start_seconds`: from nothing to the end of the first round, less one median
round. `cpu_seconds`: processor time of all processes a round, after the first; on a busy machine compare these. `peak_mb`: the
aggregator's process; `all_mb`: the sum of every process's own peak, broker and silos included; `together_mb`: the most that
they held at one moment, which is what NVFlare's row says.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from overhead_silos import layout_of, names_of, plan_of, serve_forever, silo
from overhead_watch import Watch, cpu_seconds, peak_mb
from rich.console import Console
from rich.table import Table

from aggregator.journal import Journal
from aggregator.rounds import run_round
from aggregator.strategies import build_strategy
from protocol.messages import Address
from protocol.plan import Plan
from protocol.transport.base import Transport
from protocol.transport.in_process import InProcessTransport

SIZES = (1.0, 40.0, 400.0)
ROOT = Path(__file__).parents[1]


@contextmanager
def over_nats(folder: Path, plan: Plan, mb: float, silos: int) -> Iterator[tuple[Transport, list[int]]]:
    """A consortium in `folder`: broker and silos as processes, the aggregator here. Also their process ids."""
    from aggregator.service.office import members_of
    from fedward.cluster.layout import Hospital, lay_out
    from fedward.cluster.processes import Processes, await_port, broker_binary, free_ports
    from protocol.consortium.folder import ready
    from protocol.transport.nats import NatsTransport, Sizes
    from protocol.transport.nats.kit import endpoint_of

    nowhere = Hospital(folder / "store", folder / "policy", folder / "ledger")
    room = int(3 * mb * 1e6) + (64 << 20)
    layout = lay_out(folder, dict.fromkeys(names_of(silos), nowhere), free_ports(2 + silos), "cpu", 1)
    with Processes(folder / "logs") as processes:
        processes.start("broker", [broker_binary(None), "-c", str(layout.office.config)])
        await_port(layout.broker_port, 20.0, processes)
        for name in names_of(silos):
            kit, bits = str(folder / "silos" / name / "kit"), plan.federation.compression
            arguments = ["--silo", kit, "--mb", str(mb), "--bits", str(getattr(bits, "bits", 32))]
            processes.start(name, [sys.executable, __file__, *arguments])
        office = layout.office.aggregator
        me, roster = ready(office)
        keys = {member.name: member.public_key for member in members_of(roster)}
        endpoint, identity = endpoint_of(office, me), office.open_identity()
        sizes = Sizes(broadcast=room, down=room // 2, up=room)
        with closing(NatsTransport(endpoint, identity, keys, consortium=roster.consortium, sizes=sizes)) as transport:
            yield transport, [processes.pid(name) for name in ("broker", *names_of(silos))]


@contextmanager
def in_process(plan: Plan, mb: float, silos: int) -> Iterator[tuple[Transport, list[int]]]:
    """Everything here."""
    with closing(InProcessTransport({name: silo(plan, layout_of(mb)) for name in names_of(silos)})) as transport:
        yield transport, []


def measure(kind: str, mb: float, silos: int, rounds: int, bits: int, shared_once: bool) -> dict[str, Any]:
    """Run `rounds` rounds of `mb` megabytes over `silos` silos; the aggregator is this process."""
    begun, plan = time.perf_counter(), plan_of(silos, bits)
    model = np.random.default_rng(0).standard_normal(int(mb * 1e6 / 4), dtype=np.float32)
    strategy, state, seconds, first = build_strategy(plan.federation.strategy), {}, [], 0.0
    with tempfile.TemporaryDirectory() as name, closing(Journal(Path(name) / "job")) as journal:
        carried = over_nats(Path(name), plan, mb, silos) if kind == "nats" else in_process(plan, mb, silos)
        with carried as (transport, others), Watch([os.getpid(), *others], shared_once) as watch:
            for number in range(1, rounds + 1):
                if number == 2:
                    worked = {pid: cpu_seconds(pid) for pid in watch.pids}
                start = time.perf_counter()
                address = Address("benchmark", plan.digest, number, journal.begin(number))
                result = run_round(transport, plan, address, names_of(silos), model, state, strategy, lambda _: None)
                journal.commit(result.record, result.model, result.state, keep=1)
                model, state = result.model, result.state
                del result
                seconds.append(time.perf_counter() - start)
                first = time.perf_counter() - begun if number == 1 else first
            watch.stop()
            used = {pid: (cpu_seconds(pid) - worked[pid]) / (rounds - 1) for pid in watch.pids}
            peaks = [peak_mb(pid) for pid in watch.pids]
    usual = statistics.median(seconds[1:] or seconds)
    return {
        "transport": kind,
        "mb": mb,
        "silos": silos,
        "bits": bits,
        "rounds": rounds,
        "seconds_per_round": round(usual, 4),
        "slowest_round": round(max(seconds), 4),
        "start_seconds": round(max(0.0, first - usual), 3),
        "cpu_seconds": round(sum(used.values()), 3),
        "cpu_each": [round(one, 3) for one in used.values()],
        "peak_mb": round(peaks[0], 1),
        "all_mb": round(sum(peaks), 1),
        "each_mb": [round(one) for one in peaks],
        "together_mb": round(watch.together_mb, 1),
        "shared_once_mb": round(watch.shared_once_mb, 1),
    }


def peer(folder: Path, mb: float, silos: int, rounds: int) -> dict[str, Any]:
    """The same payload under NVFlare's simulator (no TLS), by the peer folder's own measuring script."""
    with tempfile.TemporaryDirectory() as out:
        run = [
            "job.py",
            "--mb",
            f"{mb:g}",
            "--rounds",
            str(rounds),
            "--sites",
            str(silos),
            "--out",
            "{OUT}",
            "--work",
            "{WORK}",
        ]
        python = folder / "v" / "bin" / "python"
        command = [str(python), "measure.py", "--root", out, "--tag", "peer", "--", str(python), *run]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds_per_round": found["overhead_per_round_mean"], "together_mb": found["peak_rss_MiB"], "raw": found}


def main() -> None:
    """Measure each size in its own process and print a table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--transport", choices=("in_process", "nats"), default="in_process")
    cli.add_argument("--mb", type=float, default=None, help="payload in megabytes (10^6 bytes); left out: 1, 40 and 400")
    cli.add_argument("--silos", type=int, default=4)
    cli.add_argument("--rounds", type=int, default=None, help="default 6, with --quick 3")
    cli.add_argument("--bits", type=int, choices=(32, 16, 8), default=32, help="bits of each value that goes up")
    cli.add_argument("--peer", type=Path, default=None, help="folder of the NVFlare comparison, with its environment in v/")
    cli.add_argument("--quick", action="store_true", help="fewer rounds, and no 400 MB unless asked for")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    cli.add_argument("--shared-once", action="store_true", help="also count memory that processes share once; takes time")
    cli.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    cli.add_argument("--silo", type=Path, default=None, help=argparse.SUPPRESS)
    args = cli.parse_args()
    rounds = args.rounds or (3 if args.quick else 6)
    if args.silo:
        serve_forever(args.silo, args.mb, args.bits)
        return
    if args.here:
        print(json.dumps(measure(args.transport, args.mb, args.silos, rounds, args.bits, args.shared_once)))
        return
    sizes = (args.mb,) if args.mb else SIZES[: 2 if args.quick else 3]
    console, results = Console(stderr=True), []
    with console.status("measuring") as status:
        for mb in sizes:
            status.update(f"{mb:g} MB, {args.silos} silos")
            chosen = ["--transport", args.transport, "--mb", str(mb), "--silos", str(args.silos), "--bits", str(args.bits)]
            chosen += ["--rounds", str(rounds), *(["--shared-once"] if args.shared_once else [])]
            command = [sys.executable, __file__, "--here", *chosen]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
            if args.peer:
                status.update(f"{mb:g} MB, {args.silos} sites, NVFlare")
                results[-1]["peer"] = peer(args.peer, mb, args.silos, rounds)
    show(results, args.transport, console)
    if args.json:
        print(json.dumps({"benchmark": "overhead", **results[-1], "results": results}))


def show(results: list[dict[str, Any]], transport: str, console: Console) -> None:
    """The table people read."""
    table = Table(title=f"Seconds a round beyond training, {results[0]['silos']} silos, {transport}, durable commit included")
    columns = ["mb", "seconds_per_round", "slowest_round", "cpu_seconds", "start_seconds", "peak_mb", "all_mb", "together_mb"]
    for column in (*columns, *(("NVFlare s", "NVFlare MB") if "peer" in results[0] else ())):
        table.add_column(column.replace("_", " "), justify="right")
    for row in results:
        beside = row.get("peer")
        more = [] if beside is None else [str(beside["seconds_per_round"]), str(beside["together_mb"])]
        table.add_row(*(str(row[key]) for key in columns), *more)
    console.print(table)


if __name__ == "__main__":
    main()
