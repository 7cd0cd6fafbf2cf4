"""What it costs to run a plan's own module in a process apart: the gradient of one patient, by fork and in this process.

    python benchmarks/sandbox.py                 100 patients
    python benchmarks/sandbox.py --quick --json  20 patients, half a minute; one JSON object as the last line

The module is a CNN of four blocks (GroupNorm), the patient has --images images of --size pixels. By fork: make the fork, send
weights and images, run the module's text, take the gradient back, end the fork, as under differential privacy. In process: the
same function on the same arrays. Milliseconds are medians of the clock, those with _cpu means of the processor's time in all
processes, which a busy machine changes less. Both gradients are equal to the last bit, or it ends.
Memory in MiB: `nursery_mb` is what the nursery holds, `fork_mb` what a fork that computed one gradient holds for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from privacy.sandbox import Fresh, Limits, Sandbox

MODULE = """
import numpy as np
import torch
from torch import nn

class Small(nn.Sequential):
    def __init__(self, width=16, classes=2):
        layers = []
        for number in range(4):
            layers += [nn.Conv2d(width if number else 1, width, 3, padding=1), nn.GroupNorm(4, width)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

def attack(state, given, arrays):  # as the tests' task calls it
    network = state.get("network") or Small()
    state["network"] = network
    nn.utils.vector_to_parameters(torch.from_numpy(np.array(arrays["weights"])), network.parameters())
    loss = nn.functional.cross_entropy(network(torch.from_numpy(arrays["images"])), torch.from_numpy(arrays["labels"]))
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    return {}, {"gradient": np.concatenate([gradient.numpy().ravel() for gradient in gradients])}
"""


def own_memory(process: int, key: str) -> float:
    """MiB of one line of the kernel's summary of a process's memory."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def children(process: int) -> list[int]:
    """The processes that `process` made and that live."""
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def processor_ms(process: int, action: Callable[[], object], times: int) -> float:
    """Mean processor milliseconds of `action`: here, in `process`, and in what `process` made and saw the end of."""

    def used() -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
        return time.process_time() + sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    before = used()
    for _ in range(times):
        action()
    return (used() - before) * 1e3 / times


def median_ms(action: Callable[[], object], times: int) -> float:
    """Median milliseconds of `action`."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def measure(patients: int, images: int, size: int) -> dict[str, Any]:
    """One row."""
    import torch

    torch.set_num_threads(1)
    namespace: dict[str, Any] = {"__name__": "mine"}
    exec(compile(MODULE, "mine.py", "exec"), namespace)
    rng = np.random.default_rng(0)
    arrays = {
        "weights": torch.nn.utils.parameters_to_vector(namespace["Small"]().parameters()).detach().numpy(),
        "images": rng.random((images, 1, size, size), dtype=np.float32),
        "labels": rng.integers(0, 2, images),
    }

    kept: dict[str, Any] = {}

    def in_process() -> np.ndarray:
        return namespace["attack"](kept, None, arrays)[1]["gradient"]

    wanted = in_process()
    answer = {"gradient": ("float32", wanted.shape)}

    def ask(fork: Fresh, task: str = "run") -> dict[str, np.ndarray]:
        sent, back = (arrays, answer) if task == "run" else ({}, {})
        return fork.call(task, {"source": MODULE}, sent, deadline=time.monotonic() + 60, answer=back)[1]

    def by_fork(task: str = "run") -> None:
        with box.fresh() as fork:
            ask(fork, task)

    start = time.perf_counter()
    with Sandbox("tests.privacy.sandbox.tasks", Limits()) as box:
        box.fresh().close()
        seconds = time.perf_counter() - start
        assert box._nursery is not None
        nursery = box._nursery.pid
        alone = own_memory(nursery, "Rss")
        with box.fresh() as fork:
            if not np.array_equal(ask(fork)["gradient"], wanted):
                raise SystemExit("the gradient by fork is another one")
            own = own_memory(children(nursery)[0], "Private")
            calls = median_ms(lambda: ask(fork), patients)
        here = median_ms(in_process, patients)
        row = {"trivial_ms": median_ms(lambda: by_fork("remember"), patients), "fork_ms": median_ms(by_fork, patients)}
        fork_cpu, here_cpu = processor_ms(nursery, by_fork, patients), processor_ms(nursery, in_process, patients)
    row |= {"fork_cpu_ms": fork_cpu, "in_process_cpu_ms": here_cpu, "ratio_cpu": fork_cpu / here_cpu}
    row |= {"in_process_ms": here, "ratio": row["fork_ms"] / here, "one_fork_for_all_ms": calls}
    return row | {"start_s": seconds, "nursery_mb": alone, "fork_mb": own, "values": wanted.size}


def main() -> None:
    """Measure and print."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--patients", type=int, default=None, help="default 100, with --quick 20")
    cli.add_argument("--images", type=int, default=4)
    cli.add_argument("--size", type=int, default=64)
    cli.add_argument("--quick", action="store_true")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    args = cli.parse_args()
    console = Console(stderr=True)
    with console.status("measuring"):
        row = measure(args.patients or (20 if args.quick else 100), args.images, args.size)
    table = Table("", "", title="A patient's gradient by fork")
    for name, value in row.items():
        table.add_row(name, f"{value:.2f}" if isinstance(value, float) else str(value))
    console.print(table)
    if args.json:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
