"""What a plan promises a patient and what that costs, for `fedward plan check`: as JSON, and as people read it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from protocol.plan import Plan

if TYPE_CHECKING:
    from rich.console import Console


def privacy_facts(plan: Plan, n_values: int | None) -> dict[str, Any]:
    """The plan's guarantee as JSON types; with `n_values` trained values also noise against signal. Raises PlanError."""
    from privacy.guarantee import guarantee_of
    from privacy.utility import cohort_table, noise_to_signal
    from protocol.plan.privacy import PatientPrivacy

    guarantee = guarantee_of(plan)
    facts = guarantee.as_json() | {"secure_aggregation": None}
    if plan.privacy.secure_aggregation:
        from privacy.secure_aggregation.manifest import MIN_SILOS
        from privacy.secure_aggregation.sizing import overflow_proof

        facts["secure_aggregation"] = dict(overflow_proof(plan, max(MIN_SILOS, plan.federation.quorum)))
    if isinstance(plan.privacy, PatientPrivacy) and n_values:
        facts["batch_patients"] = plan.privacy.batch_patients
        facts["noise_to_signal"] = dataclasses.asdict(noise_to_signal(plan, guarantee, n_values))
        facts["cohorts"] = [dataclasses.asdict(row) for row in cohort_table(plan, n_values, guarantee)]
    return facts


def print_privacy(console: Console, facts: dict[str, Any]) -> None:
    """The promise in one line, its parts, and a table of cohort sizes."""
    from rich.table import Table

    if facts["epsilon"] is None:
        console.print("  privacy           [bold red]epsilon: infinite[/] - no differential privacy")
        _print_secure(console, facts["secure_aggregation"])
        return
    loud = "bold yellow" if facts["notes"] else "bold green"
    console.print(
        f"  privacy           [{loud}]epsilon {facts['epsilon']:.3g}[/] at delta {facts['delta']:g} for each "
        f"{facts['unit']} ({facts['mechanism']} noise)"
    )
    parts = ", ".join(f"{part} {value:.3g}" for part, value in facts["epsilon_by_part"].items())
    console.print(f"                    by part of the cohort: {parts}; " + _stands(facts))
    console.print(
        f"                    noise_multiplier {facts['noise_multiplier']:g}, sampling_rate {facts['sampling_rate']:g}, "
        f"{facts['steps']} steps, clip_norm {facts['clip_norm']:g}"
    )
    _print_secure(console, facts["secure_aggregation"])
    for note in facts["notes"]:
        console.print(f"                    [bold yellow]{note}[/]")
    if "noise_to_signal" not in facts:
        return
    ratio = facts["noise_to_signal"]
    console.print(
        f"                    noise / signal at one hospital: {_ratio(ratio['per_step'])} a step, {_ratio(ratio['per_round'])} "
        f"a round; along the gradient {_ratio(ratio['along_gradient'])} a round"
    )
    title = "Other plans, for comparison: this one costs a patient the same at a hospital of any size"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 3, 0, 0))
    batch = f"{facts['batch_patients']:g} of them a step would cost"
    for column in ("training patients", batch, "at sampling rate", "noise / signal a round as planned"):
        table.add_column(column, justify="right")
    for row in facts["cohorts"]:
        rate = f"{row['sampling_rate']:.3g}"
        table.add_row(f"{row['patients']:,}", f"{row['epsilon']:.3g}", rate, _ratio(row["per_round"]))
    console.print()
    console.print(table)


def _stands(facts: dict[str, Any]) -> str:
    """How the costs of the parts make up the plan's."""
    several = facts["epsilon"] > max(facts["epsilon_by_part"].values()) * (1 + 1e-9)
    return "a patient may stand in another one at each hospital" if several else "a patient stands in one"


def _print_secure(console: Console, proof: dict[str, Any] | None) -> None:
    """Whom secure aggregation holds against, and why its integers cannot wrap around."""
    if proof is None:
        console.print("                    secure aggregation: off; the aggregator sees each hospital's update on its own")
        return
    console.print(
        f"                    secure aggregation: on. With {proof['silos']} hospitals {proof['min_survivors']} must stay, "
        f"{proof['colluders']} may side with the aggregator"
    )
    console.print(
        f"                    values are rounded to {proof['step']:.2g}; in that unit sums reach {proof['largest_sum']:,} "
        f"of the {proof['room']:,} that {proof['width_bits']} bits hold, so none wraps around"
    )


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
