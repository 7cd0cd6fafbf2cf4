"""What a plan with its own module must keep to, and what it cannot have with it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from protocol.plan.code import PREFIX, defined, named_in_code

if TYPE_CHECKING:
    from protocol.plan.model import Plan

_NAMED = 5  # at most so many names in a message


def code_conflicts(plan: Plan) -> list[str]:
    """Every setting that the plan's own module rules out, and every name that is not in it."""
    network, loss = plan.network, plan.training.loss
    used = {
        key: name for key, name in (("network.name", network.name), ("training.loss.name", loss.name)) if named_in_code(name)
    }
    if plan.code is None:
        return [f"{key}: {name} is in no module; name one in code.file" for key, name in used.items()]
    if not used:
        return ["code: neither network.name nor training.loss.name begins with code.; leave it out, or use what it defines"]
    try:
        names = defined(plan.code)
    except ValueError as error:
        return [f"code.source: {error}"]
    lines = [
        f"{key}: {plan.code.file} defines no {name.removeprefix(PREFIX)} at its top level; {_own(names)}"
        for key, name in used.items()
        if name.removeprefix(PREFIX) not in names
    ]
    if "network.name" in used:
        lines += [
            f"network.{key}: is for MONAI's networks; leave it out, and write it into the module"
            for key, wanted in (("norm", network.norm != "as_built"), ("weights", network.weights is not None))
            if wanted
        ]
    if "training.loss.name" in used and (loss.label_smoothing or loss.class_weights != "none" or loss.prior_adjustment):
        lines.append("training.loss: label_smoothing, class_weights and prior_adjustment are for cross_entropy; leave them out")
    private = plan.privacy.mechanism != "none"
    if not private and plan.code.turns_per_step is not None:
        lines.append("code.turns_per_step: turns are taken under differential privacy only; leave it out")
    return lines


def _own(names: Collection[str]) -> str:
    if not names:
        return "it defines no class or function"
    shown = sorted(names)
    return f"it defines {', '.join(shown[:_NAMED])}" + (f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else "")
