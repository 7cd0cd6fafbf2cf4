"""What leaves only where the plan asks for it: a weight by loss, a recalibrated test, calls from own thresholds."""

from __future__ import annotations

from protocol.errors import GateError
from protocol.messages import Scores, Update
from protocol.plan import Plan


def check_asked(message: Update | Scores, plan: Plan) -> None:
    """Raises GateError if `message` says more than the plan asks for."""
    federation, evaluation = plan.federation, plan.evaluation
    if isinstance(message, Update):
        most = federation.weight_bound if federation.weighting == "q_ffl" else 0
        if message.weight > most:
            raise GateError("the update holds a weight that the plan does not ask for; nothing left.")
        return
    if message.kind == "recalibrated" and evaluation.recalibrate == "none":
        raise GateError("the scores are recalibrated, which the plan does not ask for; nothing left.")
    tested = (message.kind, message.split) == ("federated", "test")
    if any(one.called for one in message.classes) and not (tested and evaluation.site_threshold is not None):
        raise GateError("the scores say who is called at a threshold that the plan does not ask for; nothing left.")
