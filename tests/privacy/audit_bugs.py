"""Bugs that an audit must see, put into the code that trains."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from privacy import step as step_module
from privacy.audit.finding import Finding
from privacy.clipping import PatientSum
from privacy.per_patient import patient_gradients


def flagged(findings: tuple[Finding, ...] | list[Finding]) -> set[str]:
    return {finding.name for finding in findings if not finding.ok}


def clip_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patient's images become so many patients: what a library without patients does."""

    class EachImage(list[torch.Tensor]):
        pass

    def gradients(network: Any, loss: Any, images: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
        pairs = zip(images.split(1), labels.split(1), strict=True)
        return EachImage(patient_gradients(network, loss, image, label)[0] for image, label in pairs)

    class PerImage(PatientSum):
        def add(self, gradient: Any) -> None:
            for one in gradient:
                super().add([one])

    monkeypatch.setattr(step_module, "patient_gradients", gradients)
    monkeypatch.setattr(step_module, "PatientSum", PerImage)


def measured_ratio(conclusion: str) -> float:
    """The noise that was there over the plan's, as the report says it."""
    found = re.search(r"the noise has ([0-9.]+) times", conclusion)
    assert found
    return float(found[1])
