"""The module beside plan.yaml becomes part of the plan: only here is it read, where its author reads the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protocol.canonical import digest_bytes
from protocol.errors import PlanError
from protocol.plan.code import MAX_CHARACTERS


def with_module(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`value` (a plan as read from YAML) with the text and digest of the module that its code.file names in `folder`.

    A plan that brings its text along is left as it is. Raises PlanError.
    """
    code = value.get("code")
    if not isinstance(code, dict) or "source" in code or not isinstance(code.get("file"), str):
        return value  # the schema says what is wrong with it
    name = code["file"]
    if Path(name).name != name:
        raise PlanError(f"code.file: {name!r} must be a file beside the plan, without a folder.")
    try:
        with (folder / name).open("rb") as handle:
            data = handle.read(4 * MAX_CHARACTERS + 1)
        source = data.decode("utf-8")
    except OSError as error:
        raise PlanError(f"code.file: {name} cannot be read beside the plan ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"code.file: {name} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    return {**value, "code": {"sha256": digest_bytes(data), **code, "source": source}}
