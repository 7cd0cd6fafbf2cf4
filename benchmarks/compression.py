"""What does each way to send an update cost and save: bytes, error, seconds, and the AUROC of a whole federation?

    python benchmarks/compression.py                 five seeds of 15 rounds, some ten minutes on one core
    python benchmarks/compression.py --quick --json  one seed of 6 rounds, under a minute; one JSON object as the last line

The federation: four hospitals of the demo's chest phantoms, rendered straight into their stores, without differential privacy,
in process. Every way has the same seeds, so the same first model, splits and shuffles; "from float32" is the mean difference of
the pairs with its standard error over the seeds. The error is that of one update of that federation (median over hospitals and
rounds): |restored - update| / |update|; under secure aggregation that of one hospital's integers, masks aside; for top_k
without what it remembers. "nearest" is what 16 bits were before they rounded stochastically. Seconds are processor seconds for
25 million values, the best of three; masking is not among them (benchmarks/secure_aggregation.py).
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from compression_federation import NEAREST, SILOS, WAYS, federate, make_plan, make_stores
from rich.console import Console
from rich.table import Table

from privacy.secure_aggregation.fixed_point import dequantise, quantise
from privacy.secure_aggregation.sizing import sizing
from protocol.compression import compress, decompress, n_bytes
from protocol.plan import Plan
from protocol.rounding import Rounding
from protocol.vectors import Layout, Vector

MILLION = 10**6


def restored(name: str, plan: Plan, update: Vector, seed: int) -> Vector:
    """One update as the aggregator reads it, without what top_k remembers."""
    rounding = Rounding(seed)
    if not plan.privacy.secure_aggregation:
        how = plan.federation.compression
        return decompress(how, compress(how, update, rounding), update.size)
    return dequantise(integers_of(name, plan, update, rounding), sizing(plan, SILOS).scale_bits, 1)


def integers_of(name: str, plan: Plan, update: Vector, rounding: Rounding) -> Any:
    """What one hospital masks, as signed integers."""
    wanted = sizing(plan, SILOS)
    stochastic = rounding if wanted.width_bits == 16 and name != NEAREST else None
    integers = quantise(update, wanted.scale_bits, wanted.bound, wanted.width_bits, stochastic)
    return integers.view(f"<i{wanted.width_bits // 8}")


def error_of(found: Vector, update: Vector) -> float:
    """Relative L2 error."""
    return float(np.linalg.norm(found - update) / np.linalg.norm(update))


def by_tensor(layout: Layout, update: Vector, bits: int) -> Vector:
    """The update with one scale for each tensor, to compare with one for every 1024 values."""
    result, levels, rounding = update.copy(), 2 ** (bits - 1) - 1, Rounding(0)
    for part in layout.unflatten(result).values():
        scale = float(np.abs(part).max()) / levels or 1.0
        steps = part.astype(np.float64).reshape(-1) / scale
        rounding.round(steps)
        part[...] = (steps * scale).reshape(part.shape)
    return result


def seconds(name: str, plan: Plan, vector: Vector) -> dict[str, float]:
    """Processor seconds to make the bytes or integers of `vector`, and to read them."""
    if plan.privacy.secure_aggregation:
        integers, scale_bits = integers_of(name, plan, vector, Rounding(1)), sizing(plan, SILOS).scale_bits
        return {
            "encode": _best(lambda: integers_of(name, plan, vector, Rounding(1))),
            "decode": _best(lambda: dequantise(integers, scale_bits, 1)),
        }
    how, made = plan.federation.compression, memoryview(b"")

    def make() -> None:
        nonlocal made
        made = compress(how, vector, Rounding(1))

    return {"encode": _best(make), "decode": _best(lambda: decompress(how, made, vector.size))}


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return round(min(times), 3)


def measure(seeds: int, rounds: int, steps: int, patients: int, values: int) -> dict[str, Any]:
    """Every way with every seed, and what follows from the updates of the first."""
    import torch

    torch.set_num_threads(1)
    aurocs: dict[str, list[float]] = {name: [] for name in WAYS}
    uploads: dict[str, int] = {}
    updates: list[Vector] = []
    with tempfile.TemporaryDirectory() as place:
        stores = make_stores(Path(place) / "stores", patients)
        for seed in range(seeds):
            for name, way in WAYS.items():
                rounding = mock.patch("privacy.secure_aggregation.payload._rounding", return_value=None)
                with rounding if name == NEAREST else nullcontext():
                    folder = Path(place) / f"{name}-{seed}"
                    auroc, seen, layout, sizes = federate(make_plan(way, seed, rounds, steps), stores, folder)
                aurocs[name].append(auroc)
                uploads[name] = max(sizes.values())
                updates = updates or seen
    vector = np.random.default_rng(0).standard_normal(values, dtype=np.float32)
    vector *= np.float32(0.01)
    rows = []
    for name, way in WAYS.items():
        plan = make_plan(way, 0, rounds, steps)
        errors = [error_of(restored(name, plan, update, index), update) for index, update in enumerate(updates)]
        gains = [one - other for one, other in zip(aurocs[name], aurocs["float32"], strict=True)]
        whole = n_bytes(plan.federation.compression, values)
        rows.append(
            {
                "way": name,
                "upload_bytes": uploads[name],
                "upload_mb_of_these": (values * plan.privacy.width_bits / 8 if plan.privacy.secure_aggregation else whole)
                / 1e6,
                "relative_error": statistics.median(errors),
                "auroc": aurocs[name],
                "auroc_mean": statistics.mean(aurocs[name]),
                "paired": statistics.mean(gains),
                "paired_se": statistics.stdev(gains) / math.sqrt(seeds) if seeds > 1 else None,
                "seconds": seconds(name, plan, vector),
            }
        )
    tensors = {
        bits: statistics.median(error_of(by_tensor(layout, update, bits), update) for update in updates) for bits in (8, 16)
    }
    return {
        "benchmark": "compression",
        "seeds": seeds,
        "rounds": rounds,
        "values": layout.size,
        "timed_values": values,
        "error_with_one_scale_a_tensor": tensors,
        "results": rows,
    }


def show(found: Mapping[str, Any], console: Console) -> None:
    """One row a way."""
    table = Table(
        title=f"{found['values']} values, {found['rounds']} rounds, {found['seeds']} seeds; seconds for 25 million values"
    )
    for title in ("way", "bytes", "error", "AUROC", "from float32", "encode s", "decode s"):
        table.add_column(title, justify="left" if title == "way" else "right", no_wrap=True)
    for row in found["results"]:
        error = "" if row["paired_se"] is None else f" ± {row['paired_se']:.4f}"
        table.add_row(
            row["way"],
            f"{row['upload_bytes']:,}",
            f"{row['relative_error']:.2g}",
            f"{row['auroc_mean']:.4f}",
            f"{row['paired']:+.4f}{error}",
            f"{row['seconds']['encode']:.3f}",
            f"{row['seconds']['decode']:.3f}",
        )
    console.print(table)
    tensors = found["error_with_one_scale_a_tensor"]
    console.print(f"error with one scale a tensor: {tensors[8]:.2g} at 8 bits, {tensors[16]:.2g} at 16")


def main() -> None:
    """Measure and print."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--quick", action="store_true", help="one seed of 6 rounds; under a minute")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    cli.add_argument("--seeds", type=int, default=None, help="default 5, with --quick 1")
    args = cli.parse_args()
    logging.disable(logging.WARNING)
    seeds = args.seeds or (1 if args.quick else 5)
    console = Console(stderr=True)
    console.width = max(console.width, 120)  # also where nobody watches
    with console.status("measuring"):
        found = measure(seeds, *((6, 10, 60) if args.quick else (15, 20, 200)), 25 * MILLION)
    show(found, console)
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
