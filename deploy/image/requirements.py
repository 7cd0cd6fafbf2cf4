"""What one image needs of pyproject.toml, one requirement a line: `python3 requirements.py silo pyproject.toml`.

An image holds what its service imports. The other half of the house would only make it larger and have more to patch.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

# tests/deploy shows that each image's floors import without these.
LEFT_OUT = {
    "silo": {"mlflow", "scikit-learn"},
    "aggregator": {"pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls"},
}


def requirements(audience: str, pyproject: str) -> list[str]:
    """The requirements of `audience`, in the order of the file. Raises KeyError for another audience."""
    project = tomllib.loads(pyproject)["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][audience]]
    return [line for line in wanted if _name(line) not in LEFT_OUT[audience]]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8"))))
