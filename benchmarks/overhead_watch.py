"""What processes use: their memory together at one moment, each one's own peak, and processor time."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

_EVERY_S = 0.05
_STEP = 1.02  # a new peak must be so much higher before it is looked at more closely
_PAGE_MB, _TICKS = os.sysconf("SC_PAGE_SIZE") / 2**20, os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Most resident memory that a process ever held, MiB; pages that it shares with others are counted in full."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM")


def cpu_seconds(pid: int) -> float:
    """Processor time that a process used so far, user and system, all its threads, seconds."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS


class Watch:
    """Looks at the processes `pids` twenty times a second until left.

    `together_mb`: the most resident memory that they held at one moment, MiB. `shared_once_mb`: the same at about that moment
    with pages that several hold counted once (PSS), if `shared_once`: the kernel walks every page for it, which costs the
    processes more time than what is measured here.
    """

    def __init__(self, pids: list[int], shared_once: bool) -> None:
        self.pids, self._shared_once = pids, shared_once
        self.together_mb = self.shared_once_mb = self._looked_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_EVERY_S):
            now = sum(_resident_mb(pid) for pid in self.pids)
            self.together_mb = max(self.together_mb, now)
            if self._shared_once and now > _STEP * self._looked_at:
                self._looked_at = now
                self.shared_once_mb = max(self.shared_once_mb, sum(_proportional_mb(pid) for pid in self.pids))


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_MB


def _proportional_mb(pid: int) -> float:
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def _field(path: Path, name: str) -> float:
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))
