"""Write a file that must not be there yet."""

from __future__ import annotations

from pathlib import Path

from protocol.errors import InputError


def write_new(path: Path, text: str) -> None:
    """Raises InputError if `path` exists or cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise InputError(f"{path} exists; fedward does not overwrite it. Choose another name.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}).") from error
