"""What do one and two poisoned hospitals of seven do to the model, and what does each defence change?

    python benchmarks/poisoning.py                 three seeds, some three minutes on one core
    python benchmarks/poisoning.py --quick --json  one seed, figures as JSON

Seven hospitals of 60 small synthetic images each, unlike in prevalence, ten rounds. AUROC and accuracy are those on 600 images
of nobody in the federation; where the poison stopped the job (a dagger), those of the last model it committed.
The federations are those of tests/aggregator/poisoned_silos.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LATE = 5  # a guard compares with rounds before, so poison it can see begins later
BEARS = 99  # the guard goes on rejecting to the end, so that a final model can be measured
DEFENCES: dict[str, dict[str, Any]] = {
    "mean": {},
    "median": {"federation.aggregation": {"name": "median"}},
    "trimmed mean 0.3": {"federation.aggregation": {"name": "trimmed_mean", "trim": 0.3}},
    "krum f=2": {"federation.aggregation": {"name": "krum", "byzantine": 2}, "federation.quorum": 7},
    "multi-krum f=2 m=3": {"federation.aggregation": {"name": "krum", "byzantine": 2, "keep": 3}, "federation.quorum": 7},
    "mean, norm_bound 0.3": {"federation.norm_bound": 0.3},
}
LATE_DEFENCES: dict[str, dict[str, Any]] = {
    "mean": {},
    "norm guard x3": {"federation.guard": {"max_norm_ratio": 3.0, "max_rejected": BEARS}},
    "validation guard 0.1": {
        "federation.guard": {"max_validation_drop": 0.1, "max_rejected": BEARS},
        "evaluation.every": 1,
    },
}
ATTACKS = ("none", "label flip", "sign flip", "sign flip x10", "scaled x50", "nan")
Cell = dict[str, Any]


def measure(seeds: int) -> list[Cell]:
    """Every defence under every attack by one and two silos."""
    from tests.aggregator.poisoned_silos import defended_plan, federation, finish, make_stores

    cells = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        stores = make_stores(root / "stores")
        for late, defences in ((False, DEFENCES), (True, LATE_DEFENCES)):
            for defence, changes in defences.items():
                for attack, silos in _attacks(late=late):
                    ends = []
                    for seed in range(seeds):
                        folder = root / f"{late}-{defence}-{attack}-{len(silos)}-{seed}"
                        rounds = range(LATE, 99) if late else None
                        handlers = federation(stores, dict.fromkeys(silos, attack), folder, rounds)
                        ends.append(finish(defended_plan(seed=seed, **changes), handlers, folder / "job"))
                    cells.append(
                        {
                            "defence": defence,
                            "from_round": LATE if late else 1,
                            "attack": attack,
                            "poisoned": len(silos),
                            "auroc": [end.auroc for end in ends],
                            "accuracy": [end.accuracy for end in ends],
                            "rejected_rounds": [end.rejected for end in ends],
                            "stopped": [end.stopped and end.stopped.splitlines()[0] for end in ends],
                        }
                    )
    return cells


def _attacks(*, late: bool) -> list[tuple[str, str]]:
    """(attack, poisoned silos). A store cannot be relabelled half-way, so no late label flip."""
    named = [attack for attack in ATTACKS[1:] if not (late and attack == "label flip")]
    return [("none", ""), *((attack, silos) for attack in named for silos in ("c", "ce"))]


def show(cells: list[Cell], console: Console) -> None:
    """Two tables: poison from the first round, and from round LATE."""
    for start in (1, LATE):
        part = [cell for cell in cells if cell["from_round"] == start]
        table = Table(title=f"AUROC (accuracy), poison from round {start}; † the job stopped")
        attacks = list(dict.fromkeys(cell["attack"] for cell in part))
        for column in ("defence", "none"):
            table.add_column(column, no_wrap=True)
        for attack in attacks[1:]:
            table.add_column(f"{attack}\n1 of 7")
            table.add_column("\n2 of 7")
        for defence in dict.fromkeys(cell["defence"] for cell in part):
            table.add_row(defence, *(_figure(cell) for cell in part if cell["defence"] == defence))
        console.print(table)


def _figure(cell: Cell) -> str:
    stopped = "†" if any(cell["stopped"]) else ""
    rejected = statistics.mean(len(rounds) for rounds in cell["rejected_rounds"])
    back = f" {rejected:.0f} rejected" if rejected else ""
    return f"{statistics.mean(cell['auroc']):.2f} ({statistics.mean(cell['accuracy']):.2f}){stopped}{back}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)  # poisoned models make silos refuse, which is what is measured
    cells = measure(1 if arguments.quick else 3)
    if arguments.json:
        print(json.dumps(cells, indent=1))
    else:
        show(cells, Console(width=None if sys.stdout.isatty() else 220))


if __name__ == "__main__":
    main()
