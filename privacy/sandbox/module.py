"""The plan's module, compiled and run from its text: inside a fork only."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType, TracebackType

from protocol.errors import CodeError

NAME = "plan_code"
_forks: list[bool] = []


def enter_fork() -> None:
    """This process is a fork of the nursery, confined: from now on it may run modules."""
    _forks.append(True)


def load_module(source: str, file: str) -> ModuleType:
    """The module of this text, run; `file` is its name in tracebacks. Outside of a fork: CodeError."""
    if not _forks:
        raise CodeError("the plan's own module runs in the sandbox only.")
    module = ModuleType(NAME)
    module.__file__ = file
    sys.modules[NAME] = module  # dataclasses and inspect look their module up by name
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102 - what this process is for
    return module


def where(error: BaseException, file: str | None = None) -> str:
    """The kind and text of `error` and the module's line it came from, for its author: it may hold data of the images."""
    line = _last_line(error.__traceback__, file)
    at = f"{line[0]}, line {line[1]}: " if line else ""
    return f"{at}{type(error).__name__}: {error}{_advice(error)}"


def _advice(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return ". It may import Python's standard library, torch, monai and numpy, and no second file of your own."
    if isinstance(error, OSError):
        return ". It runs without files, network and other programs: what it needs stands in it, or comes in network.args."
    return ""


def _last_line(trace: TracebackType | None, file: str | None) -> tuple[str, int] | None:
    found = None
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == file or (file is None and trace.tb_frame.f_globals.get("__name__") == NAME):
            found = (code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found
