"""Where a silo computes: a GPU if there is one, the CPU otherwise; bfloat16 where the plan asks for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from protocol.errors import CodeError
from protocol.plan import Plan
from protocol.plan.code import named_in_code


def pick_device(wanted: str = "auto", plan: Plan | None = None) -> torch.device:
    """`auto`: the first CUDA GPU, else the CPU. Any other value is torch's own device name.

    A network of the plan's own module is for the CPU: its processes cannot open a GPU. Raises CodeError if another is named.
    """
    if plan is not None and named_in_code(plan.network.name):
        if wanted not in ("auto", "cpu"):
            raise CodeError(
                f"a network of the plan's own module runs on the CPU only, not on {wanted}; set device to auto or cpu."
            )
        return torch.device("cpu")
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[object]:
    """bfloat16 autocast (no loss scaling needed), or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if enabled else nullcontext()
