"""All silos of a cluster from one parent: the libraries are loaded once, then each silo is a process of its own.

    python -m fedward.cluster.silos NAME=CONFIG=LOG ...

A silo that dies is started again, as a hospital's service manager would. One that ends by itself with an error, soon after it
was started for the first time, was started with something wrong: then all end, and its last words are said. SIGTERM ends all of
them in order.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from fedward.cluster.tied import tie

_PAUSE_S = 1.0
_NEW_S = 60.0
_ENDINGS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger(__name__)


class Parent:
    """Forks one child a silo. Must not have threads of its own: a fork would copy their locks as they are."""

    def __init__(self, silos: dict[str, tuple[Path, Path]], serve: Callable[[Path, Path], int]) -> None:
        self._silos, self._serve = silos, serve
        self._children, self._ending, self._started = dict[int, str](), False, time.monotonic()
        self._again: set[str] = set()

    def run(self) -> int:
        """Until SIGTERM; the exit code."""
        for number in _ENDINGS:
            signal.signal(number, self._end)
        for name in self._silos:
            self._fork(name)
        wrong = 0
        while self._children:
            child, status = os.wait()  # a signal's handler runs meanwhile
            name = self._children.pop(child)
            if self._ending:
                continue
            if self._was_wrong(name, code := os.waitstatus_to_exitcode(status)):
                wrong = code
                self._say_why(name)
                self._end(signal.SIGTERM, None)
                continue
            _log.warning("died", extra={"event": "silo died, started again", "silo": name})
            time.sleep(_PAUSE_S)
            self._again.add(name)
            self._fork(name)
        return wrong

    def _was_wrong(self, name: str, code: int) -> bool:
        return code > 0 and name not in self._again and time.monotonic() - self._started < _NEW_S

    def _say_why(self, name: str) -> None:
        _log.error("ended", extra={"event": "silo ended by itself", "silo": name})
        _, log = self._silos[name]
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-2:]:
            print(f"{name}: {line}", file=sys.stderr, flush=True)

    def _fork(self, name: str) -> None:
        """An end that is asked for in the middle of this comes after it, in the child too, so that nobody misses it."""
        (config, log), parent = self._silos[name], os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        try:
            if self._ending:
                return
            child = os.fork()
            if child:
                self._children[child] = name
                return
            tie(parent)
            for number in _ENDINGS:
                signal.signal(number, signal.SIG_DFL)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
        os._exit(self._serve(config, log))

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
        for child in tuple(self._children):
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(child, signal.SIGTERM)


def serve(config: Path, log: Path) -> int:
    """A child's whole life; its exit code."""
    from fedward.__main__ import main

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
    import torch._dynamo  # noqa: F401 - the first optimiser loads it: two seconds in each silo's first round

    import silo_node.service.serve  # noqa: F401 - loaded once, before the first fork
    from protocol.service_log import start_log

    start_log("json")
    sys.exit(Parent(_silos(sys.argv[1:]), serve).run())
