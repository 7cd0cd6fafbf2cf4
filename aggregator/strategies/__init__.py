"""Server strategies: pure functions (global, mean update, state) -> (global, state)."""

from aggregator.strategies.base import State, Strategy
from aggregator.strategies.build import build_strategy

__all__ = ["State", "Strategy", "build_strategy"]
