"""The log of a service: one JSON object a line, made of allowed fields only.

What a library writes may hold a path, a UID or a value of a patient, so of a record without an `event` only its level and the
module's name are kept. Our own records name their event and bring their fields in `extra`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

FIELDS = (
    "event",
    "silo",
    "job",
    "plan",
    "round",
    "attempt",
    "kind",
    "outcome",
    "error",
    "reason",
    "seconds",
    "bytes_in",
    "bytes_out",
    "check",
    "says",
    "signal",
    "version",
)
"""All that a line may hold besides time, level and module.

A reason is one that left the hospital anyway, or one in our own words that the gate kept back and says to be here.
"""


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Never the record's text: it is made for people who debug, not for a log that travels."""
        return json.dumps(_entry(record), ensure_ascii=False)


class TextLines(logging.Formatter):
    """The same fields for people."""

    def format(self, record: logging.LogRecord) -> str:
        """time level event field=value ..."""
        entry = _entry(record)
        head = f"{entry.pop('time')} {entry.pop('level'):<7} {entry.pop('event', entry.pop('module', ''))}"
        return " ".join([head, *(f"{name}={_one_line(value)}" for name, value in entry.items() if name != "module")])


def _one_line(value: object) -> str:
    """A text with a line break in it must not look like two records."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and not value.isprintable() else str(value)


def _entry(record: logging.LogRecord) -> dict[str, Any]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    entry: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "module": record.name}
    if not isinstance(getattr(record, "event", None), str):
        return entry
    for name in FIELDS:
        value = getattr(record, name, None)
        if isinstance(value, str | int | float | bool):
            entry[name] = value
    return entry


def start_log(kind: str, stream: TextIO | None = None) -> None:
    """Send every record of the process, of level INFO and above, to `stream` (standard error) in that form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
