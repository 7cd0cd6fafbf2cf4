"""How the groups of an audit are sums of each other."""

from __future__ import annotations

from itertools import combinations

from evaluation.audit.layout import AuditLayout
from evaluation.audit.protection import Relation


def relations_of(layout: AuditLayout) -> tuple[tuple[Relation, ...], list[tuple[int, ...]]]:
    """Every family adds up to everyone, every intersection to its margins. Also the margins that two intersections share but no
    group is: their parts."""
    families: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    for index, group in enumerate(layout.groups):
        if group.pairs:
            names, values = zip(*sorted(group.pairs), strict=True)
            families.setdefault(names, {})[values] = index
    sites = tuple(index for index, group in enumerate(layout.groups) if group.site is not None)
    relations = [Relation(0, tuple(members.values())) for members in families.values()] + (
        [Relation(0, sites)] if sites else []
    )
    margins: list[tuple[int, ...]] = []
    place: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
    for names, members in families.items():
        for some in (part for size in range(1, len(names)) for part in combinations(names, size)):
            if some not in families and sum(set(some) < set(other) for other in families) < 2:
                continue
            positions = [names.index(name) for name in some]
            parts: dict[tuple[str, ...], list[int]] = {}
            for values, index in members.items():
                parts.setdefault(tuple(values[position] for position in positions), []).append(index)
            for values, inside in parts.items():
                if some in families:
                    whole = families[some][values]
                elif (some, values) in place:
                    whole = place[some, values]
                else:
                    whole = place[some, values] = len(layout.groups) + len(margins)
                    margins.append(tuple(inside))
                relations.append(Relation(whole, tuple(inside)))
    return tuple(relations), margins
