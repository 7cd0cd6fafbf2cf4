"""How many messages of one sender a hospital takes at one look, and how much of them PySyft may keep at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol.governance.bounds import INBOX, JOBS, Bound
from protocol.governance.pysyft.share import Share


@dataclass
class Look:
    """One sender's turn. `held`: what is kept of them already."""

    held: Bound
    files: int = 0
    size: int = 0

    def has_room(self, length: int) -> bool:
        """Whether one more message of so many bytes is taken now; it counts if it is."""
        kept = self.held.files < JOBS.files and self.held.size + self.size + length <= JOBS.size
        if not kept or self.files >= INBOX.files or (self.files and self.size + length > INBOX.size):
            return False
        self.files, self.size = self.files + 1, self.size + length
        return True


def held(jobs: Path, sender: str) -> Bound:
    """Files of one sender below `jobs`, and their bytes together."""
    folder = Share(jobs).at(sender)
    sizes = [path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()]
    return Bound(len(sizes), sum(sizes))
