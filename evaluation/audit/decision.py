"""Net benefit: what calling from a threshold on is worth, in true positives per case, beside calling everyone or no one.

A false positive counts as threshold / (1 - threshold) true positives. Sources: Vickers & Elkin, Medical Decision Making
2006;26:565-574; interval by the delta method (Pfeiffer & Gail, Biometrical Journal 2020;62:764-776), the number of cases
counting as given and each case as drawn by chance.
"""

from __future__ import annotations

from evaluation.audit.figures import Cells, Point


def net_benefit(cells: Cells, design: float) -> Point | None:
    """Value and variance at the threshold of `cells`, noise included; None without cases."""
    n, weight = cells.tp + cells.fn + cells.fp + cells.tn, cells.threshold / (1.0 - cells.threshold)
    if n <= 0.0:
        return None
    value = (cells.tp - weight * cells.fp) / n
    sampling = max(0.0, design * ((cells.tp + weight**2 * cells.fp) / n - value**2) / n)
    worth = (1.0, 0.0, -weight, 0.0)  # of one more case in tp, fn, fp, tn
    noise = sum(variance * ((one - value) / n) ** 2 for variance, one in zip(cells.noise, worth, strict=True))
    return value, sampling + noise


def treat_all(cells: Cells) -> float | None:
    """Net benefit of calling everyone; None without cases."""
    positives, negatives = cells.tp + cells.fn, cells.fp + cells.tn
    n = positives + negatives
    return (positives - negatives * cells.threshold / (1.0 - cells.threshold)) / n if n > 0.0 else None
