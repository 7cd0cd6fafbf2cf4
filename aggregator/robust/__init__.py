"""Aggregation that withstands some poisoned silos, where single updates may be read (docs/robustness.md)."""

from aggregator.robust.bound import bounded, length
from aggregator.robust.combine import Combined, Combiner, build_combiner

__all__ = ["Combined", "Combiner", "bounded", "build_combiner", "length"]
