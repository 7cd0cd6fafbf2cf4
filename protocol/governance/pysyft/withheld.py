"""Answers of a hospital that could not be sent, as the key on the share was not the pinned one: kept until it is again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from protocol.governance.bounds import ARCHIVE, drop_oldest
from protocol.governance.pysyft.share import Share


class Withheld:
    """Messages by recipient, below `folder` in the hospital's own home: in the clear, as PySyft's own files are there."""

    def __init__(self, folder: Path) -> None:
        self._share = Share(folder)

    def keep(self, recipient: str, name: str, message: Any) -> str:
        """Keep a message of PySyft; of very many the oldest go. Returns its name."""
        folder = self._share.at(recipient)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._share.put(folder / self._share.at(name).name, message.as_compressed_data())
        drop_oldest(self._share, folder, ARCHIVE)
        return name

    def recipients(self) -> list[str]:
        """For whom something waits."""
        return sorted(one.name for one in self._share.root.iterdir() if self._share.names(one))

    def of(self, recipient: str) -> Iterator[tuple[str, bytes]]:
        """Names and bytes, the oldest first: the name begins with the time."""
        folder = self._share.at(recipient)
        for name in self._share.names(folder):
            yield name, self._share.get(folder / name)

    def forget(self, recipient: str, name: str) -> None:
        """It was sent."""
        self._share.remove(self._share.at(recipient, name))
