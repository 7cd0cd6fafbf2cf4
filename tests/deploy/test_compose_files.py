"""The compose files keep what docs/deploy.md promises to hospital IT."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from silo_node.service.config import load_config, places

DEPLOY = Path(__file__).parents[2] / "deploy"
PARTIES = ("hospital", "coordinator")


def compose(party: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / party / "compose.yaml").read_text())


def services(party: str) -> list[tuple[str, dict[str, Any]]]:
    return list(compose(party)["services"].items())


def targets(service: dict[str, Any]) -> dict[str, str]:
    """Where its volumes appear, and whether read-only."""
    found = {}
    for volume in service["volumes"]:
        target, _, mode = re.sub(r"\$\{[^}]*\}", "", volume).partition(":")[2].partition(":")
        found[target] = mode or "rw"
    return found


EVERY = [pytest.param(service, id=f"{party}-{name}") for party in PARTIES for name, service in services(party)]


@pytest.mark.parametrize("service", EVERY)
def test_every_container_is_locked_down(service: dict[str, Any]) -> None:
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert not {"privileged", "cap_add", "devices"} & service.keys()
    assert service.get("network_mode") != "host"


def test_a_hospital_runs_one_service_and_opens_no_port() -> None:
    running = [name for name, service in services("hospital") if "profiles" not in service]
    assert running == ["silo"]
    for _, service in services("hospital"):
        assert not {"ports", "expose"} & service.keys()


def test_the_node_cannot_change_images_and_policy_and_never_sees_the_pseudonym_key() -> None:
    silo, desk = (compose("hospital")["services"][name] for name in ("silo", "desk"))
    seen = targets(silo)
    assert seen["/stores"] == seen["/etc/fedward"] == "ro"
    assert seen["/ledger"] == seen["/kit"] == seen["/state"] == "rw"
    assert "/pseudonyms" not in seen
    assert "/pseudonyms" in targets(desk)
    assert desk["network_mode"] == "none"


def test_of_the_coordinator_only_the_broker_is_reached_from_outside() -> None:
    published = {name: service["ports"] for name, service in services("coordinator") if "ports" in service}
    assert published.keys() == {"broker", "mlflow"}
    assert all(port.startswith("127.0.0.1:") for port in published["mlflow"])
    assert "outside" not in compose("coordinator")["services"]["mlflow"]["networks"]


def test_what_always_runs_at_the_coordinator_never_holds_the_keys_that_admit() -> None:
    for name, service in services("coordinator"):
        whole = "/consortium" in targets(service)  # ca.key and coordinator.key lie at its top
        assert whole == ("profiles" in service), name


@pytest.mark.parametrize("party", PARTIES)
def test_the_example_of_env_names_what_the_compose_file_reads(party: str) -> None:
    text = (DEPLOY / party / "compose.yaml").read_text()
    example = (DEPLOY / party / ".env.example").read_text()
    given = {line.split("=")[0] for line in example.splitlines() if line and not line.startswith("#")}
    assert given == set(re.findall(r"\$\{([A-Z_]+)", text)) - {"BROKER_CONTAINER"}  # a name, changed by trials alone


def test_the_example_of_silo_yaml_is_valid_and_stays_inside_the_mounts() -> None:
    file = DEPLOY / "hospital" / "config" / "silo.yaml"
    config = load_config(file)
    mounted = targets(compose("hospital")["services"]["silo"])
    for path in places(config, Path("/etc/fedward")).model_dump().values():
        assert any(Path(path).is_relative_to(target) for target in mounted), path
    assert f"HEALTH_PORT={config.health.port}" in (DEPLOY / "silo" / "Containerfile").read_text()


@pytest.mark.parametrize("party", PARTIES)
def test_the_compose_file_keeps_the_specification(party: str) -> None:
    tool = tool_of("check-jsonschema")
    if tool is None:
        pytest.skip("check-jsonschema is not installed: pip install check-jsonschema")
    command = [tool, "--builtin-schema", "vendor.compose-spec", str(DEPLOY / party / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def tool_of(name: str) -> str | None:
    """A program of this environment, or of PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)
