"""Hospitals that never trained: who they are and why, as their failures in the rounds say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

NO_REASON = "no reason was recorded"
_LONGEST = 240  # characters of a reason in a sentence; the rounds' failures hold the whole
_ERROR_NAME = re.compile(r"^\w*Error: ")


def never_trained(rounds: Sequence[dict[str, Any]], site_ids: Sequence[str]) -> dict[str, str]:
    """site -> why, for those that no round took into the model; empty if no round changed it. The last reason stands."""
    if not any(one["aggregated"] for one in rounds):
        return {}
    took_part = {site for one in rounds for site in one["aggregated"]}
    absent = {site: NO_REASON for site in site_ids if site not in took_part}
    for one in rounds:
        absent |= {site: reason for site, reason in one["failures"].items() if site in absent}
    return absent


def as_clause(reason: str) -> str:
    """`reason` as the end of a sentence: on one line, without the error's name and the full stop, not too long."""
    text = " ".join(_ERROR_NAME.sub("", reason).split()).removesuffix(".")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
