"""What a server strategy is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from protocol.vectors import Vector

State = Mapping[str, Vector]
"""What a strategy remembers between rounds, by name; empty before the first. It is journaled with the model."""


class Strategy(Protocol):
    """One server step. The same arguments always give the same bits, and no argument is changed."""

    def __call__(self, model: Vector, mean_update: Vector, state: State) -> tuple[Vector, State]:
        """The next global vector and state, from the weighted mean of (local - global) over the silos."""
