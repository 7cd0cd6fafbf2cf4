"""The command line in processes of its own, without the ten seconds in which each would import torch, MONAI and MLflow again.

A parent imports them once and forks; a child then is `python -m fedward`, or a script, with the words, folder and environment
it was given, and imports what is fedward's own itself. What depends on a start from nothing, or is sent signals, starts a
process in the ordinary way instead.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

PRELOADED = ("torch._dynamo", "monai.networks.nets", "monai.transforms", "mlflow", "matplotlib.pyplot", "scipy.stats")


class Warm:
    """The parent, as those see it who want something run."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self._parent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
        )
        atexit.register(self.close)

    def run(
        self, words: list[str], script: Path | None, cwd: Path | None, environment: Mapping[str, str], timeout: float | None
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run(["python", "-m", "fedward", *words], ...) with what it prints. Raises subprocess.TimeoutExpired."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            wanted = {
                "words": words,
                "script": script and str(script),
                "cwd": str(cwd or Path.cwd()),
                "environment": dict(environment),
            }
            self._parent.stdin.write(json.dumps(wanted | {"out": str(out), "err": str(err)}) + "\n")
            if not select.select([self._parent.stdout], [], [], timeout)[0]:
                os.killpg(self._parent.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout or 0.0)
            code = int(self._parent.stdout.readline())
            return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    @property
    def lives(self) -> bool:
        """False after a time-out."""
        return self._parent.poll() is None

    def close(self) -> None:
        """The parent ends when there is nothing more to read."""
        with self._parent:
            atexit.unregister(self.close)


_warm: Warm | None = None


def run(
    *words: str,
    script: Path | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """`fedward`, or a script, with these words; see Warm.run."""
    global _warm
    if _warm is None or not _warm.lives:
        _warm = Warm()
    return _warm.run(list(words), script, cwd, os.environ if environment is None else environment, timeout)


def serve() -> dict[str, Any]:
    """Forks for each request on standard input and answers with the exit code. Comes back in the children, with the request."""
    for name in PRELOADED:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise SystemExit("an import started a thread; a fork would copy its locks as they are")
    gc.freeze()  # a child that looked through all of it would copy all of it
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            wanted: dict[str, Any] = json.loads(line)
            return wanted
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    raise SystemExit


def become(wanted: Mapping[str, Any]) -> NoReturn:
    """What was wanted, but for the two seconds of taking down, at its end, what was loaded."""
    for number, path in enumerate((os.devnull, wanted["out"], wanted["err"])):
        file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    script = wanted["script"]
    sys.path[0], sys.argv = str(Path(script).parent) if script else wanted["cwd"], [script or "fedward", *wanted["words"]]
    code: Any = 1
    try:
        if script:
            runpy.run_path(script, run_name="__main__")
        else:
            runpy.run_module("fedward", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    become(serve())
