"""What may be read inside: Python, its packages, the system's libraries, and no more."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from protocol.errors import CodeError

_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
# torch counts processors there; not their counters of time, which are beside it.
_DEVICES = (
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/possible",
)
_OURS = ("protocol", "privacy")


def readable_paths(hidden: Sequence[Path], tasks: str) -> list[str]:
    """Absolute paths, links followed. Raises CodeError if one of `hidden` lies in them: nothing there may be read inside."""
    paths = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [folder(package) for package in (*_OURS, tasks.partition(".")[0])]
    paths += [Path(name) for name in (*_SYSTEM, *_DEVICES)]
    found = sorted({path.resolve() for path in paths if path.exists()})
    for place in hidden:
        real = place.resolve()
        if inside := [path for path in found if real.is_relative_to(path)]:
            raise CodeError(
                f"{place} lies in {inside[0]}, which a plan's own code can read: Python and its packages are there. "
                "Keep ledgers, keys, stores and state somewhere else."
            )
    return [str(path) for path in found]


def folder(package: str) -> Path:
    """Where `package`, a top-level one, is imported from. Raises CodeError."""
    known = sys.modules.get(package)
    spec = known.__spec__ if known is not None else importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CodeError(f"the sandbox finds no package {package!r}. Reinstall fedward.")
    return Path(next(iter(spec.submodule_search_locations))).resolve()
