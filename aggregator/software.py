"""Which software made a result: written into every report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("fedward", "torch", "monai", "numpy", "pydicom", "scikit-learn", "mlflow")


def software() -> dict[str, str]:
    """Package to version, of those that are installed, and Python's own."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
