"""The global model as MLflow serves it: rebuilt from the plan, filled from safetensors. MLflow runs this file as it is.

Input: a float array (n, C, H, W) of images that went through the plan's data.preprocessing. Output: p(class), (n, classes).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from privacy.coded.build import build
from protocol.network import logits
from protocol.plan import load_plan
from protocol.vectors import load_tensors


class FederatedClassifier(PythonModel):
    """Loads and applies the global model of one job."""

    # MLflow's checks of type hints are for tables and chats; this model takes images, and needs none of their advice.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Build the network of the plan and load the shared tensors; personal parts keep their initial weights.

        A plan's own module calculates in a process of its own, as it did at the hospitals: whoever loads a model from a
        registry has not read its code. Raises CodeError where such processes cannot be made.
        """
        self._network = build(load_plan(Path(context.artifacts["plan"]))).network
        tensors = {name: torch.from_numpy(value) for name, value in load_tensors(Path(context.artifacts["weights"])).items()}
        self._network.load_state_dict(tensors, strict=False)
        self._network.eval()

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ARG002 - MLflow reads type hints as a schema
        """Class probabilities, shape (n, classes)."""
        images = torch.as_tensor(np.asarray(model_input), dtype=torch.float32)
        with torch.no_grad():
            probabilities: np.ndarray[Any, Any] = logits(self._network, images).softmax(dim=1).numpy()
        return probabilities


set_model(FederatedClassifier())
