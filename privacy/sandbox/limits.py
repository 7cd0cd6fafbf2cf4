"""How much a process that runs the plan's module may use. Public numbers: never derived from a patient."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.free_memory import available

MIB = 2**20
_SHARE = 0.5
"""Of what is free: where a container runs out of memory the kernel may end all that is in it, the hospital's node as well."""


@dataclass(frozen=True)
class Limits:
    """Limits of one fork. What goes over one ends the fork, and the caller sees the same CodeError as for any other failure."""

    memory_bytes: int = 4096 * MIB
    """Address space beyond what torch and MONAI take before the fork."""
    cpu_seconds: int = 3600
    """Processor seconds of the fork's whole life."""
    call_seconds: float = 600.0
    """Seconds of the clock for one call, from the first byte of the question to the last of the answer."""
    reply_bytes: int = 2048 * MIB
    """Bytes of all arrays in one answer."""
    start_seconds: float = 300.0
    """Seconds of the clock until torch, MONAI and the tasks are loaded; trusted code alone runs in them."""


def fitting(limits: Limits) -> Limits:
    """`limits`, with no more memory than half of what this machine or its container has to give now."""
    return replace(limits, memory_bytes=min(limits.memory_bytes, int(_SHARE * available())))
