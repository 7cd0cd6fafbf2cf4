"""How much a process that runs the plan's module may use. Public numbers: never derived from a patient."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


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
