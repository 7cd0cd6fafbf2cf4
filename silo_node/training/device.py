"""Where a silo computes: a GPU if there is one, the CPU otherwise; bfloat16 where the plan asks for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def pick_device(wanted: str = "auto") -> torch.device:
    """`auto`: the first CUDA GPU, else the CPU. Any other value is torch's own device name."""
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[object]:
    """bfloat16 autocast (no loss scaling needed), or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if enabled else nullcontext()
