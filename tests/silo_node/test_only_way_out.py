"""No module of silo_node but the gate can make bytes to send; none but the service reaches the network, and it carries the
node's replies only: read from the imports of all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "silo_node").rglob("*.py"))
SENDING = (
    "protocol.transport",
    "socket",
    "ssl",
    "http",
    "urllib",
    "requests",
    "aiohttp",
    "nats",
    "ftplib",
    "smtplib",
    "asyncio",
)
# The service: the broker, the health page, the checks before it starts. It sees replies, never what they are made of.
NETWORK = {f"silo_node/service/{name}.py" for name in ("serve", "health", "preflight")}
# The data officer's page on the loopback address. It sees plans and decisions, never the cohort or the node.
PAGE = "silo_node/governance/page/server.py"
SEAM = "protocol.transport.base"  # types only
# The sandboxed decoders of the intake talk to their parent over pipes; their messages are encoded there and go nowhere else.
OWN_CODEC = {f"silo_node/{name}.py" for name in ("outbox", "private_answers", "receipts", "secure", "governance/log")}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of everything a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_of_the_silo_reaches_nothing_that_sends(path: Path) -> None:
    served = str(path.relative_to(ROOT)) in NETWORK | {PAGE}
    for module, name in imports(path):
        assert served or module == SEAM or not module.startswith(SENDING), f"{path.name} imports {module}"
        assert (module, name) != ("protocol", "transport")
        assert "import_module" not in (name, module), f"{path.name} imports by name"


def test_nothing_that_sees_patients_reaches_the_service() -> None:
    for path in MODULES:
        if path.parent.name != "service":
            for module, _ in imports(path):
                assert not module.startswith("silo_node.service"), f"{path.name} imports {module}"


def test_of_the_silo_the_service_sees_the_node_and_what_it_may_check() -> None:
    seen = {module for path in MODULES if str(path.relative_to(ROOT)) in NETWORK for module, _ in imports(path)}
    silo = {module for module in seen if module.startswith("silo_node.") and not module.startswith("silo_node.service")}
    governance = {"silo_node.governance.approvals", "silo_node.governance.office"}
    assert silo <= {"silo_node.node", "silo_node.policy", "silo_node.cohort", "silo_node.cohort.format"} | governance


def test_the_officers_page_and_desk_see_no_patient() -> None:
    """What is published of a cohort is made by `mock` alone, and the command hands it over as a file."""
    for path in sorted((ROOT / "silo_node" / "governance").rglob("*.py")):
        allowed = ["silo_node.governance", "silo_node.policy"] + ["silo_node.cohort"] * (path.name == "mock.py")
        for module, _ in imports(path):
            assert not module.startswith("silo_node.") or module.startswith(tuple(allowed)), f"{path.name} imports {module}"


def test_only_the_gate_encodes_messages() -> None:
    encoders = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for module, name in imports(path)
        if (module == "protocol.messages" and name in ("encode", "*")) or (module == "protocol" and name == "messages")
    }
    assert encoders == {"silo_node/gate.py"}


def test_what_the_node_returns_comes_from_the_gate() -> None:
    """Every return of the node's answer is a call of the gate; nothing else has the type that leaves."""
    tree = ast.parse((ROOT / "silo_node" / "node.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    def returned(name: str) -> list[str]:
        return [ast.unparse(node.value) for node in ast.walk(functions[name]) if isinstance(node, ast.Return) and node.value]

    assert returned("__call__") == ["self._reply(data)"]
    assert sorted(text.split("(")[0] for text in returned("_reply")) == [
        "self._gate.attest",
        "self._gate.refuse",
        "self._gate.release",
    ]


def test_a_message_is_turned_into_bytes_by_nothing_else() -> None:
    """msgspec's own encoders are used where records are kept on disk, never in what answers a request."""
    users = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if "msgpack.encode" in path.read_text() or "json.encode" in path.read_text() or "Encoder(" in path.read_text()
    }
    assert {user for user in users if not user.startswith(("silo_node/intake/", "silo_node/cohort/"))} == OWN_CODEC
