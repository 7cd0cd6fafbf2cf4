"""What the run's privacy settings protect against and what not, in plain words. Unknown settings are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.errors import EvaluationError

_NONE = {
    "mechanism": "none",
    "secure_aggregation": False,
    "epsilon": "infinite",
    "statement": "epsilon: infinite (no differential privacy)",
    "protects": [
        "Images, labels and patient lists stayed in the hospitals. The messages of this run have no field for them: they "
        "carry model changes, counts, losses, AUROCs and score histograms.",
        "Models marked alone or personalised never left the hospital that trained them.",
    ],
    "does_not_protect": [
        "Secure aggregation was off: whoever runs the aggregator could read each hospital's model change on its own, and "
        "from such changes training images can in part be reconstructed.",
        "No noise was added: nothing limits what the finished model reveals about a single patient it was trained on. "
        "Handle the model file as confidential.",
        "Each hospital's counts and figures are exact, small ones too. Keep this report inside the consortium.",
    ],
}


def privacy_entry(privacy: Mapping[str, Any]) -> dict[str, Any]:
    """report.json's `privacy`. Raises EvaluationError for settings whose protection this release cannot describe."""
    settings = privacy.get("mechanism"), privacy.get("secure_aggregation", False)
    if settings != ("none", False):
        raise EvaluationError(
            f"the report cannot describe mechanism {settings[0]!r} with secure_aggregation {settings[1]!r} yet; "
            "use a release of fedward that knows both."
        )
    return dict(_NONE)
