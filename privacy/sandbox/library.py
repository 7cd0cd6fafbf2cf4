"""What a module may import, found before the walls are built.

Inside nothing is listed and no path is asked about: the size of a ledger and the time of its last change are nobody's business
there, and Landlock does not cover stat(). So the import system gets an index of files, and stat() is answered by opening.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import os
import stat
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType

_NOT_OURS = frozenset(("__pycache__", "site-packages", "dist-packages", "tests", "test", "lib-dynload", "include"))
_HEADER = 16  # bytes of a .pyc before its code (PEP 552)


class Library(importlib.abc.MetaPathFinder):
    """Finds what was there when it was made."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """As importlib asks; a package is a folder with an __init__.py."""
        del path, target
        file = self._files.get(fullname)
        if file is None:
            return None
        folder = [str(Path(file).parent)] if file.endswith("/__init__.py") else None
        return importlib.util.spec_from_file_location(
            fullname, file, loader=_Loader(fullname, file), submodule_search_locations=folder
        )


class _Loader(importlib.machinery.SourceFileLoader):
    """Takes the compiled file that lies beside a source as it is: which of them is newer cannot be asked."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - as importlib asks
        """Raises ImportError."""
        try:
            data = self.get_data(importlib.util.cache_from_source(self.path))
            if data[:4] == importlib.util.MAGIC_NUMBER:
                code: CodeType = marshal.loads(memoryview(data)[_HEADER:])  # noqa: S302 - as importlib does; nobody writes there
                return code
        except (OSError, ValueError, EOFError, TypeError):
            pass
        return self.source_to_code(self.get_data(self.path), self.path)


def close_shelves(left_out: Sequence[str]) -> None:
    """From now on this process imports what is found now, without `left_out`, and asks no path for more than opening says."""
    _load_extensions()
    files = {name: file for folder in _folders() for name, file in _modules(folder, left_out)}
    shelf = Library(files)
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not importlib.machinery.PathFinder] + [shelf]
    os.stat = os.lstat = _stat  # type: ignore[assignment]


def _folders() -> list[str]:
    """Later ones come first, as in sys.path."""
    return [*dict.fromkeys(sysconfig.get_path(name) for name in ("platlib", "purelib", "platstdlib", "stdlib"))]


def _modules(folder: str, left_out: Sequence[str]) -> Iterator[tuple[str, str]]:
    for place, below, files in os.walk(folder):
        parts = Path(place).relative_to(folder).parts
        below[:] = [name for name in below if name.isidentifier() and name not in _NOT_OURS and (parts or name not in left_out)]
        if parts and "__init__.py" not in files:
            below[:] = []
            continue
        for file in files:
            name = file.removesuffix(".py")
            if name != file and name.isidentifier() and (parts or name != "__init__"):
                whole = ".".join((*parts, name) if name != "__init__" else parts)
                yield whole, str(Path(place) / file)


def _load_extensions() -> None:
    """The standard library's compiled modules: the loader of shared libraries asks for more than is answered inside."""
    for place in (entry for entry in sys.path if entry.endswith("lib-dynload")):
        for name in sorted({file.partition(".")[0] for file in os.listdir(place)}):  # noqa: PTH208
            if not name.startswith(("_test", "_xx", "xx", "_tkinter", "_curses", "readline")):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)


def _stat(path: str | int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    """Whether `path` is a folder or a file that may be read. Raises OSError, for descriptors as well."""
    del follow_symlinks
    if isinstance(path, int):
        raise PermissionError(1, "no descriptor is asked about in the sandbox")
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd))
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd))
        kind = stat.S_IFDIR | 0o555
    except NotADirectoryError:
        kind = stat.S_IFREG | 0o444
    return os.stat_result((kind, 0, 0, 1, 0, 0, 0, 0, 0, 0))
