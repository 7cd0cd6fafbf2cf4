"""The plan's network ready to work with, whoever wrote it: MONAI's in this process, the plan's own in processes of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from privacy.coded.facts import read_facts
from privacy.coded.forks import Forks
from privacy.coded.proxy import CodedLoss, CodedNetwork
from privacy.guarantee import steps_per_round
from privacy.network_scan import refuse_memory, refuse_unlearned
from privacy.per_patient import Loss, patient_gradients
from privacy.turns import turns_per_step
from protocol.errors import CodeError, NetworkError
from protocol.network import build_network, check_network, first_output
from protocol.parts import personal_names, shared_layout
from protocol.plan import Plan
from protocol.plan.code import named_in_code
from protocol.plan.privacy import PatientPrivacy
from protocol.vectors import Layout

_TURN = 3.0  # times what a blank patient took: a machine may be busier later
SHORTEST_TURN = 0.1
"""Seconds; a turn is longer where a blank patient takes longer."""
_UNFIT = "network: the plan's own network does not fit this hospital's images or the plan; `fedward plan check` says why."


def _nothing() -> None:
    """For what needs no end."""


@dataclass(frozen=True)
class Built:
    """A plan's network. `personal`: names of the tensors that stay at a hospital; `layout`: those that travel.

    `coded`: something of it is the plan's own module; `loss` is the module's, or None for cross-entropy. What is calculated on
    one patient belongs within `apart()`; `seed` fixes what is random, `retime` measures how long a patient's turn takes now,
    `renew` forgets what a module may have kept, `close` ends all processes (the tensors stay).
    """

    network: nn.Module
    personal: frozenset[str]
    layout: Layout
    loss: Loss | None = None
    apart: Callable[[], AbstractContextManager[None]] = nullcontext
    coded: bool = False
    each_apart: bool = False
    seed: Callable[[int], object] = torch.manual_seed
    retime: Callable[[], None] = _nothing
    renew: Callable[[], None] = _nothing
    close: Callable[[], None] = _nothing


def build(
    plan: Plan,
    input_shape: tuple[int, ...] | None = None,
    *,
    patients: bool = False,
    hidden: Sequence[Path] = (),
    tell: bool = False,
) -> Built:
    """The network of `plan` as every party starts with it, tried on a blank image of `input_shape` (C, H, W) if given.

    `patients`: real ones will be calculated on. Then a private plan's module gets a process for each of them, and no error
    repeats what the module said, unless `tell`. Raises NetworkError, CodeError, WeightsError.
    """
    if not plan.runs_code:
        return _finished(plan, build_network(plan), input_shape)
    private = plan.privacy.mechanism != "none"
    forks = Forks(
        plan,
        one_patient=private and patients,
        channels_last=input_shape is not None and len(input_shape) == 3,
        hidden=hidden,
        tell=tell,
    )
    try:
        built = _coded(plan, input_shape, forks)
        if not forks.one_patient or input_shape is None:
            return built
        forks.turn = _turn(plan, input_shape, built, forks)
        _refuse_slow(plan, forks.turn)
    except BaseException:
        forks.close()
        raise

    def retime() -> None:
        with suppress(CodeError):  # the time of before will do
            forks.turn = _turn(plan, input_shape, built, forks)

    return replace(built, retime=retime)


def _coded(plan: Plan, input_shape: tuple[int, ...] | None, forks: Forks) -> Built:
    if not named_in_code(plan.network.name):
        built = _finished(plan, build_network(plan), input_shape)
        network, personal, layout = built.network, built.personal, built.layout
    else:
        with forks.apart():
            shape = None if input_shape is None else list(input_shape)
            answer = forks.ask("describe", {"input": shape}, {})
        try:
            facts = read_facts(*answer)
        except NetworkError as error:
            if forks.tell or isinstance(error, CodeError):
                raise
            raise CodeError(_UNFIT) from error
        network, personal = CodedNetwork(facts, forks, len(plan.task.classes)), facts.personal
        layout = shared_layout(network, personal)
        if plan.privacy.mechanism != "none":
            refuse_unlearned(network, layout)

    def seed(number: int) -> None:
        torch.manual_seed(number)
        forks.seed(number)

    loss = CodedLoss(forks) if named_in_code(plan.training.loss.name) else None
    return Built(
        network,
        personal,
        layout,
        loss,
        apart=forks.apart,
        coded=True,
        each_apart=forks.one_patient,
        seed=seed,
        renew=forks.renew,
        close=forks.close,
    )


def _finished(plan: Plan, network: nn.Module, input_shape: tuple[int, ...] | None) -> Built:
    """A network of this process."""
    n_classes = len(plan.task.classes)
    if input_shape is not None:
        check_network(network, input_shape, n_classes)
    personal = personal_names(network, plan.federation.personal, n_classes)
    layout = shared_layout(network, personal)
    if input_shape is not None and plan.privacy.mechanism != "none":
        refuse_memory(network, input_shape)
        refuse_unlearned(network, layout)
    return Built(network, personal, layout)


def _refuse_slow(plan: Plan, turn: float) -> None:
    """A round without end would keep the hospital from all its other jobs. Raises NetworkError; no patient is in it."""
    if plan.code is None or not isinstance(plan.privacy, PatientPrivacy):
        return
    turns = max(turns_per_step(plan.code, plan.privacy) * steps_per_round(plan), plan.code.turns_per_score)
    seconds = turn / _TURN  # a busy machine is no slow network
    if turns * seconds > plan.federation.round_deadline_s:
        raise NetworkError(
            f"network: with {turns} turns of at least {seconds:.2g} s one answer would take this hospital longer than "
            f"federation.round_deadline_s, {plan.federation.round_deadline_s:g} s. Make the network smaller or the "
            "steps fewer, lower code.turns_per_step and turns_per_score, or raise the deadline."
        )


def _turn(plan: Plan, input_shape: tuple[int, ...], built: Built, forks: Forks) -> float:
    """Seconds that every patient's turn is to take, from blank patients with as many images as count: no data is in it."""
    if not isinstance(plan.privacy, PatientPrivacy):
        return 0.0
    n = plan.privacy.max_images_per_patient * plan.privacy.views
    images, labels = torch.zeros(n, *input_shape), torch.zeros(n, dtype=torch.int64)
    loss, before, took = built.loss or functional.cross_entropy, forks.turn, 0.0
    try:
        forks.turn = 0.0
        for _ in range(2):  # the first may wait for what the others are made of
            start = time.monotonic()
            with forks.apart():
                patient_gradients(built.network, lambda output, of: loss(first_output(output).float(), of), images, labels)
            took = time.monotonic() - start
    finally:
        forks.turn = before
    return max(SHORTEST_TURN, _TURN * took)
