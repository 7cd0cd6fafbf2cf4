"""What the audit of a plan will count and what it costs, for `fedward plan check`: as JSON, and as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol.plan import Plan

if TYPE_CHECKING:
    from rich.console import Console


def audit_facts(plan: Plan) -> dict[str, Any] | None:
    """Groups by family, numbers in a hospital's answer, its price; with the fewest hospitals of the plan. None: no audit."""
    from evaluation.audit.layout import layout_of
    from privacy.secure_aggregation.manifest import MIN_SILOS

    if plan.evaluation.audit is None:
        return None
    hospitals = max(plan.federation.quorum, MIN_SILOS if plan.privacy.secure_aggregation else 1)
    layout = layout_of(plan, tuple(f"hospital {number}" for number in range(hospitals)))
    families: dict[str, int] = {}
    for group in layout.groups[1:]:
        families[group.attribute] = families.get(group.attribute, 0) + 1
    return {
        "hospitals": hospitals,
        "groups": {"all": 1} | families,
        "classes": layout.n_classes,
        "bins": layout.n_bins,
        "numbers": layout.size,
        "smallest_cell": layout.audit.smallest_cell,
        "epsilon": layout.audit.epsilon if layout.private else None,
        "noise_scale": layout.votes / layout.audit.epsilon if layout.private else None,
        "compare_with": layout.audit.compare_with,
        "leaves": "masked" if plan.privacy.secure_aggregation else "readable",
    }


def print_audit(console: Console, facts: dict[str, Any] | None) -> None:
    """Nothing for a plan without an audit."""
    if facts is None:
        return
    named = [f"{name} ({count})" for name, count in facts["groups"].items() if name not in ("all", "site")]
    whom = ["everyone", *(["each hospital"] if "site" in facts["groups"] else []), *named]
    lines = [
        f"the final test for {', '.join(whom)}",
        f"{sum(facts['groups'].values())} groups x {facts['classes']} classes x 2 outcomes x {facts['bins']} bins: with "
        f"{facts['hospitals']} hospitals {facts['numbers']:,} numbers leave each of them, {facts['leaves']}",
    ]
    if facts["compare_with"] is not None:
        lines.append(
            f"beside another model on the same images, {facts['compare_with'][:19]}...: counted by both scores together"
        )
    if facts["epsilon"] is not None:
        lines.append(
            f"costs a test patient epsilon {facts['epsilon']:g}, part of what the test part costs below; discrete Laplace "
            f"noise of scale {facts['noise_scale']:.3g} on every count"
        )
    lines.append(f"no number from 1 to {facts['smallest_cell'] - 1} is shown, nor can be derived")
    for index, line in enumerate(lines):
        console.print(f"  {'audit' if index == 0 else '':<18}{line}", markup=False)
