"""`--silo NAME=STORE`, parsed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from protocol.errors import InputError

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")


def parse_silos(values: Sequence[str]) -> dict[str, Path]:
    """Silo names and their stores, in the order given. Raises InputError."""
    stores: dict[str, Path] = {}
    for value in values:
        name, separator, store = value.partition("=")
        if not separator or not store:
            raise InputError(f"--silo {value}: write NAME=STORE, for example --silo north=stores/north.")
        if not _NAME.match(name):
            raise InputError(f"--silo {value}: a name has letters, digits, dash and underscore only, at most 64.")
        if name in stores:
            raise InputError(f"--silo {name} is given twice.")
        stores[name] = Path(store)
    return stores
