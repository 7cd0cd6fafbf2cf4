"""A federation of honest and poisoned silos in one process, and how well its model does on honest images of nobody in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from aggregator.events import Observer
from aggregator.job import Job
from aggregator.records import RoundRecord
from protocol.errors import FederationError
from protocol.messages import PrivateUpdate, Train, Update, decode_release, decode_request, encode
from protocol.network import build_network, logits, tensors_of
from protocol.plan import Plan
from protocol.transport.base import Handler
from protocol.transport.in_process import InProcessTransport
from protocol.vectors import Vector, from_wire, to_wire
from silo_node.cohort import CohortStore, StoreWriter
from tests.conftest import SIZE, tiny_node, tiny_plan

SILOS = tuple("abcdefg")
Attack = Callable[[Vector], Vector]

ATTACKS: Mapping[str, Attack] = {
    "sign flip": lambda delta: -delta,
    "sign flip x10": lambda delta: -10.0 * delta,
    "scaled x50": lambda delta: 50.0 * delta,
    "nan": lambda delta: np.full_like(delta, np.nan),
}
"""What a poisoned silo does to the update it should have sent; "label flip" is another store instead."""


def draw(seed: int, n: int, prevalence: float) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, SIZE, SIZE), float32, and labels (n,): positives have a brighter square."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < prevalence).astype(np.int64)
    images = rng.random((n, 1, SIZE, SIZE), dtype=np.float32) * 0.6
    images[labels == 1, :, 4:9, 4:9] += 0.15
    return images, labels


def make_store(path: Path, seed: int, *, flipped: bool = False, n: int = 60) -> CohortStore:
    """One hospital's store, with a prevalence of its own; `flipped`: every label is the wrong one."""
    writer = StoreWriter.create(path)
    for index, (image, label) in enumerate(zip(*draw(seed, n, 0.3 + 0.05 * (seed % 7)), strict=True)):
        writer.add(image, patient=f"{seed}-{index}", labels={"finding": str(int(label) ^ int(flipped))})
    return writer.finish()


def make_stores(folder: Path) -> dict[str, dict[str, CohortStore]]:
    """Each silo's store, honest and with flipped labels."""
    return {
        kind: {silo: make_store(folder / kind / silo, seed, flipped=kind == "flipped") for seed, silo in enumerate(SILOS)}
        for kind in ("honest", "flipped")
    }


def poisoned(handler: Handler, attack: Attack, rounds: Collection[int] | None = None) -> Handler:
    """The handler, except that its updates - of `rounds`, or all - go through `attack`."""

    def serve(data: bytes) -> bytes:
        request, reply = decode_request(data), handler(data)
        if not isinstance(request, Train) or (rounds is not None and request.address.round not in rounds):
            return reply
        update = decode_release(reply)
        assert isinstance(update, Update | PrivateUpdate), update
        changed = attack(from_wire(update.delta)).astype(np.float32)
        return encode(msgspec.structs.replace(update, delta=to_wire(changed)))

    return serve


def defended_plan(**changes: Any) -> Plan:
    """A plan whose model is good after its few rounds if all silos are honest."""
    usual = {"federation.rounds": 10, "federation.quorum": 5, "federation.weighting": "uniform", "evaluation.alone": False}
    usual |= {"training.local_steps": 6, "training.batch_size": 16, "data.augmentation": [], "evaluation.every": 10}
    return tiny_plan(**(usual | changes))


@dataclass(frozen=True)
class End:
    """What a job came to: AUROC and accuracy on 600 honest images of nobody in it, and its rounds.

    `stopped` says why it ended before its last round; the figures are then those of the last committed model.
    """

    auroc: float
    accuracy: float
    rounds: tuple[RoundRecord, ...]
    model: Vector
    stopped: str | None = None

    @property
    def rejected(self) -> list[int]:
        """Rounds that the guard rejected."""
        return [record.round for record in self.rounds if record.rejected is not None]


def finish(plan: Plan, handlers: Mapping[str, Handler], folder: Path, observe: Observer = lambda _: None) -> End:
    """Run `plan` over `handlers` as far as it goes, continuing what is in `folder`."""
    job, stopped = Job(plan, InProcessTransport(handlers), folder, observe), None
    with closing(job.journal):
        try:
            job.run()
        except FederationError as error:
            stopped = f"{type(error).__name__}: {error}"
        now = job.history.now()
        last = now[0] if now else job.models.layout.flatten(tensors_of(build_network(plan)))
        model = last if stopped else job.models.final()
        return End(*measure(job, model), job.rounds(), model, stopped)


def measure(job: Job, model: Vector) -> tuple[float, float]:
    """AUROC and accuracy of a global vector; where it answers NaN it says nothing, so that is taken as a tie."""
    network = build_network(job.plan)
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in job.models.tensors(model).items()}
    network.load_state_dict(tensors)
    network.eval()
    images, labels = draw(999, 600, 0.5)
    with torch.no_grad():
        out = logits(network, torch.from_numpy((images - 0.5) / 0.25)).numpy().astype(np.float64)
    with np.errstate(invalid="ignore"):
        margin = np.nan_to_num(out[:, 1] - out[:, 0])
    return float(roc_auc_score(labels, margin)), float(((margin > 0) == (labels == 1)).mean())


Stores = Mapping[str, Mapping[str, CohortStore]]


def federation(
    stores: Stores, bad: Mapping[str, str], folder: Path, rounds: Collection[int] | None = None
) -> dict[str, Handler]:
    """All silos' handlers; `bad` names the poisoned ones and their attack on updates of `rounds` (None: all)."""
    handlers: dict[str, Handler] = {}
    for silo in SILOS:
        attack = bad.get(silo)
        node = tiny_node(silo, stores["flipped" if attack == "label flip" else "honest"][silo], folder / "silos" / silo)
        handlers[silo] = poisoned(node, ATTACKS[attack], rounds) if attack in ATTACKS else node
    return handlers
