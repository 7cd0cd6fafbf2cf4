"""What one patient-level DP-SGD step costs over a plain SGD step on the same images, on this machine's CPU.

    python benchmarks/dp_cost.py                   small CNN (64 patients) and ResNet18 (16), 1 and 4 images a patient
    python benchmarks/dp_cost.py --quick --json    some 40 CPU seconds; one JSON object as the last line

A step is everything: gradients, clipping, integer noise for every weight, the optimiser. Engines take turns step by step, and a
ratio is the median over the turns of (engine / plain of the same turn). Opacus clips images, not patients, so it runs only
where every patient has one image; its noise comes from torch's generator. Peak memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from privacy.clipping import PatientSum
from privacy.per_patient import patient_gradients

Step = Callable[[], dict[str, float]]
PATIENTS = {"small CNN": 64, "ResNet18": 16}
NOISE_MULTIPLIER, CLIP_NORM, LEARNING_RATE = 1.0, 1.0, 1e-3


class Residual(nn.Module):
    """ResNet18's block with GroupNorm, without operations in place: Opacus's hooks need that."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.GroupNorm(8, outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.GroupNorm(8, outputs),
        )
        same = stride == 1 and inputs == outputs
        shortcut = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.GroupNorm(8, outputs))
        self.shortcut = nn.Identity() if same else nn.Sequential(*shortcut)
        self.last = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, H, W) -> (n, outputs, H / stride, W / stride)."""
        out: torch.Tensor = self.last(self.body(x) + self.shortcut(x))
        return out


def build(name: str) -> nn.Module:
    """The small CNN (24,000 weights) or ResNet18 (11 million)."""
    layers: list[nn.Module] = []
    if name == "small CNN":
        for inputs, outputs, groups in ((1, 16, 4), (16, 32, 8), (32, 64, 8)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(groups, outputs), nn.ReLU(), nn.MaxPool2d(2)]
        layers[-1] = nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 2))
    layers += [nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.GroupNorm(8, 64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for outputs in (64, 128, 256, 512):
        layers += [Residual(inputs, outputs, 1 if outputs == 64 else 2), Residual(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2))


def engine(kind: str, name: str, patients: int, images: int, channels_last: bool) -> Step:
    """One step of an engine as a function; what it returns says where the seconds went."""
    torch.manual_seed(0)
    memory = torch.channels_last if channels_last and kind in ("plain", "fedward") else torch.contiguous_format
    network = build(name).train().to(memory_format=memory)  # type: ignore[call-overload]
    x = torch.randn(patients * images, 1, 64, 64).to(memory_format=memory)
    y = torch.randint(0, 2, (patients * images,))
    optimiser = torch.optim.SGD(network.parameters(), LEARNING_RATE)
    parameters = list(network.parameters())

    def plain() -> dict[str, float]:
        optimiser.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimiser.step()
        return {}

    def fedward() -> dict[str, float]:
        start, spent = time.perf_counter(), 0.0
        total = PatientSum([parameter.shape for parameter in parameters], CLIP_NORM)
        for first in range(0, len(x), images):
            mark = time.perf_counter()
            of_patient = slice(first, first + images)
            gradient = patient_gradients(network, functional.cross_entropy, x[of_patient], y[of_patient])
            spent += time.perf_counter() - mark
            total.add(gradient)
        mark = time.perf_counter()
        noised = total.noised(NOISE_MULTIPLIER).div_(patients)
        noise = time.perf_counter() - mark
        for parameter, part in zip(parameters, noised.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)
        optimiser.step()
        return {"gradients": spent, "clip": mark - start - spent, "noise": noise}

    if kind in ("plain", "fedward"):
        return plain if kind == "plain" else fedward
    return opacus_step(kind, network, optimiser, x, y)


def opacus_step(kind: str, network: nn.Module, optimiser: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> Step:
    """Opacus: every image's gradient at once ("opacus"), or their norms first and a second pass ("ghost")."""
    from opacus import GradSampleModule
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    settings = {"noise_multiplier": NOISE_MULTIPLIER, "max_grad_norm": CLIP_NORM, "expected_batch_size": len(x)}
    if kind == "opacus":
        hooked, optimiser = GradSampleModule(network), DPOptimizer(optimiser, **settings)
        criterion: Any = functional.cross_entropy
    else:
        hooked = GradSampleModuleFastGradientClipping(network, max_grad_norm=CLIP_NORM, use_ghost_clipping=True)
        optimiser = DPOptimizerFastGradientClipping(optimiser, **settings)
        criterion = DPLossFastGradientClipping(hooked, optimiser, nn.CrossEntropyLoss())

    def step() -> dict[str, float]:
        optimiser.zero_grad()
        criterion(hooked(x), y).backward()
        optimiser.step()
        return {}

    return step


def measure(name: str, images: int, kinds: list[str], steps: int, channels_last: bool) -> dict[str, Any]:
    """Let the engines take turns in this process; medians in seconds, ratios to the plain step of the same turn."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    engines = {kind: engine(kind, name, PATIENTS[name], images, channels_last) for kind in kinds}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    parts: list[dict[str, float]] = []
    for turn in range(steps + 1):
        for kind, step in engines.items():
            start = time.perf_counter()
            split = step()
            if turn:  # the first turn warms up
                seconds[kind].append(time.perf_counter() - start)
                parts += [split] if split else []
    result: dict[str, Any] = {
        kind: {
            "ms": round(1e3 * statistics.median(values), 1),
            "ratio": round(statistics.median(v / p for v, p in zip(values, seconds["plain"], strict=True)), 2),
        }
        for kind, values in seconds.items()
        if steps
    }
    for part in parts[0] if parts and result else ():
        result["fedward"][f"{part}_ms"] = round(1e3 * statistics.median(split[part] for split in parts), 1)
    return {"engines": result, "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}


def child(arguments: list[str]) -> dict[str, Any]:
    """Run this file with `arguments` in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--here", *arguments], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure every network and number of images, then print a table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--steps", type=int, default=None, help="turns; default 9, with --quick 2")
    cli.add_argument("--channels-last", action="store_true", help="for plain and fedward; Opacus stays contiguous")
    cli.add_argument("--quick", action="store_true", help="fewer turns, no ghost clipping")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    cli.add_argument("--network", choices=list(PATIENTS), default=None, help="default both")
    for hidden in ("--here", "--images", "--kinds"):
        cli.add_argument(hidden, help=argparse.SUPPRESS, **({"action": "store_true"} if hidden == "--here" else {}))
    args = cli.parse_args()
    steps = args.steps if args.steps is not None else (2 if args.quick else 9)
    if args.here:
        print(json.dumps(measure(args.network, int(args.images), args.kinds.split(","), steps, args.channels_last)))
        return
    console, results = Console(stderr=True), []
    extra = ["--channels-last"] if args.channels_last else []
    with console.status("measuring") as status:
        for name in [args.network] if args.network else PATIENTS:
            for images in (1, 4):
                kinds = ["plain", "fedward", *(["opacus", "ghost"][: 1 if args.quick else 2] if images == 1 else [])]
                status.update(f"{name}, {PATIENTS[name]} patients of {images}")
                common = ["--network", name, "--images", str(images), *extra]
                row = child([*common, "--kinds", ",".join(kinds), "--steps", str(steps)])["engines"]
                for kind in kinds:
                    row[kind]["peak_mb"] = child([*common, "--kinds", kind, "--steps", "0"])["peak_mb"]
                results.append({"network": name, "patients": PATIENTS[name], "images_per_patient": images, "engines": row})
    table = Table(title="One DP-SGD step over one plain SGD step, 64x64 images, one thread")
    columns = ("network", "patients x images", "engine", "ms", "x plain", "gradients", "clip", "noise ms", "peak MB")
    for column in columns:
        table.add_column(column, justify="left" if column in ("network", "engine") else "right")
    for row in results:
        for kind, found in row["engines"].items():
            cells = [found.get(key, "") for key in ("ms", "ratio", "gradients_ms", "clip_ms", "noise_ms", "peak_mb")]
            table.add_row(row["network"], f"{row['patients']} x {row['images_per_patient']}", kind, *map(str, cells))
    console.print(table)
    if args.json:
        flat = {
            f"{row['network'].split()[0].lower()}_{row['images_per_patient']}": row["engines"]["fedward"]["ratio"]
            for row in results
        }
        print(json.dumps({"benchmark": "dp_cost", "channels_last": args.channels_last, **flat, "results": results}))


if __name__ == "__main__":
    main()
