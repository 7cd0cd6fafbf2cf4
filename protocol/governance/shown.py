"""Somebody else's text as it may be shown: on a terminal a control character moves the cursor, anywhere it can hide words."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"
_INSTEAD = "\ufffd"


def shown(text: str) -> str:
    """`text` with every control character, change of writing direction and half character made visible."""
    return "".join(
        one if one in _KEPT or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _INSTEAD for one in text
    )
