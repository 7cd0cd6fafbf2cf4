"""All silos of a cluster from one parent: the libraries are loaded once, then each silo is a process of its own.

    python -m fedward.cluster.silos NAME=CONFIG=LOG ...

A silo that dies is started again, as a hospital's service manager would. SIGTERM ends all of them in order.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

_PAUSE_S = 1.0
_log = logging.getLogger(__name__)


class Parent:
    """Forks one child a silo. Must not have threads of its own: a fork would copy their locks as they are."""

    def __init__(self, silos: dict[str, tuple[Path, Path]]) -> None:
        self._silos, self._children, self._ending = silos, dict[int, str](), False

    def run(self) -> None:
        """Until SIGTERM."""
        for name in self._silos:
            self._fork(name)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        while self._children:
            try:
                child, _ = os.wait()
            except InterruptedError:
                continue
            name = self._children.pop(child)
            if not self._ending:
                _log.warning("died", extra={"event": "silo died, started again", "silo": name})
                time.sleep(_PAUSE_S)
                self._fork(name)

    def _fork(self, name: str) -> None:
        child = os.fork()
        if child == 0:
            config, log = self._silos[name]
            os._exit(_serve(config, log))
        self._children[child] = name
        if self._ending:  # the signal came between fork and here
            os.kill(child, signal.SIGTERM)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
        for child in self._children:
            os.kill(child, signal.SIGTERM)


def _serve(config: Path, log: Path) -> int:
    """A child's whole life; its exit code."""
    from fedward.__main__ import main

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["fedward", "silo", "serve", str(config)]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        return 1
    return 0


def _silos(words: list[str]) -> dict[str, tuple[Path, Path]]:
    split = (word.split("=", 2) for word in words)
    return {name: (Path(config), Path(log)) for name, config, log in split}


if __name__ == "__main__":
    import silo_node.service.serve  # noqa: F401 - loaded once, before the first fork
    from protocol.service_log import start_log

    start_log("json")
    Parent(_silos(sys.argv[1:])).run()
