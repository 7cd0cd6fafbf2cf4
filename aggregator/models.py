"""The global models of a job: where the first one comes from, and which vector is scored, kept and handed out."""

from __future__ import annotations

from typing import Any

import numpy as np

from aggregator.history import History
from aggregator.steps import ScoreModel
from aggregator.strategies import State
from privacy.coded.build import build
from protocol.baseline import baseline
from protocol.errors import JournalError
from protocol.network import n_parameters, tensors_of
from protocol.plan import Plan
from protocol.vectors import Vector, vector_digest

_EMA = "ema"  # the strategy's state has other names


class Models:
    """Reads the job's history, writes nothing. `layout` is what travels, `initial` the vector before the first round.

    `compared_with` is the digest of the vector that the plan's audit compares the final one with, None if it names none.
    """

    def __init__(self, plan: Plan, history: History) -> None:
        self._plan, self._history = plan, history
        built = build(plan, tell=True)
        built.close()  # a module of the plan's own is asked this once; from now on its tensors are enough
        network, self.layout = built.network, built.layout
        self.n_parameters = n_parameters(network)
        self.initial = self.layout.flatten(tensors_of(network))
        travelling = {name for name, _ in self.layout.entries} | built.personal
        other = baseline(plan, network)
        self.compared_with = None if other is None else vector_digest(self.layout.flatten(other))
        self._still = {name: value for name, value in tensors_of(network).items() if name not in travelling}

    def averaged(self, model: Vector, after: State, before: State) -> State:
        """The strategy's state with the moving average of the global models, if the plan wants one; it begins at the first."""
        decay = self._plan.federation.ema
        if decay is None:
            return after
        return {**after, _EMA: np.float32(decay) * before.get(_EMA, model) + np.float32(1.0 - decay) * model}

    def of_round(self, number: int) -> Vector:
        """What is scored and kept of a round: the moving average if the plan wants one, else the global model itself."""
        model, state = self._history.after(number)
        return state[_EMA] if self._plan.federation.ema is not None else model

    def to_score(self, step: ScoreModel) -> Vector | None:
        """The shared vector that the silos need to score this kind of model; None for one they keep themselves."""
        mixed = step.kind == "personalised" and self._plan.evaluation.personalise == "mix"
        if step.kind not in ("federated", "recalibrated") and not mixed:
            return None
        return self.final() if step.round == self._plan.federation.rounds else self.of_round(step.round)

    def final(self) -> Vector:
        """The mean of the last `average_last` global vectors, or their moving average; for a rejected one the last good one.

        Raises JournalError before the last round.
        """
        rounds, committed = self._plan.federation.rounds, len(self._history.rounds())
        if committed < rounds:
            raise JournalError(f"{committed} of {rounds} rounds are committed; there is no final model.")
        last = range(rounds - self._plan.federation.average_last + 1, rounds + 1)
        if len(last) == 1:
            return self.of_round(rounds)
        total = np.zeros(self.layout.size, dtype=np.float64)
        for number in last:
            total += self._history.after(number)[0]
        return (total / len(last)).astype(np.float32)

    def tensors(self, vector: Vector) -> dict[str, np.ndarray[Any, Any]]:
        """`vector` as the tensors of the network, with those that never change; personal parts are not among them."""
        return self._still | dict(self.layout.unflatten(vector))
