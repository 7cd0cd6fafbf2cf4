"""Plans with a program of their own at the command line: written, checked, refused, run only when somebody said so."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional

from fedward.cli.run import _warn_code
from fedward.hospitals import policies_of
from fedward.mocks import mock_settings
from fedward.new_plan import MODULE, new_module, new_plan
from fedward.rehearsal import rehearse
from fedward.settings import Settings
from protocol.errors import PlanError
from protocol.plan import load_plan
from tests.conftest import tiny_store
from tests.fedward.test_cli import fedward
from tests.silo_node.governance.test_program import coded_plan

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom-code"


def imported(path: Path) -> ModuleType:
    """One of our own modules, here and not in the sandbox."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_plan_with_a_network_of_one_s_own_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    assert fedward("plan", "new", path, "--code").returncode == 0
    done = fedward("plan", "check", path, "--shallow", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    plan = load_plan(path)
    assert plan.code is not None
    assert plan.code.source == (tmp_path / MODULE).read_text()
    assert facts["code_digest"] == plan.code.sha256
    assert facts["code"].endswith("for the network")
    assert "officers_are_told" not in facts


@pytest.mark.parametrize("there", ["plan.yaml", MODULE])
def test_neither_file_is_written_over_and_none_without_the_other(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    done = fedward("plan", "new", tmp_path / "plan.yaml", "--code")
    assert (done.returncode, there in done.stderr) == (2, True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_two_files_cannot_be_printed(tmp_path: Path) -> None:
    done = fedward("plan", "new", "--code", cwd=tmp_path)
    assert (done.returncode, done.stdout, "--code writes two files" in done.stderr) == (2, "", True)


def test_the_author_sees_what_officers_are_told_to_look_at_twice(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    fedward("plan", "new", path, "--code")
    module = tmp_path / MODULE
    module.write_text("import os\n" + module.read_text() + "# \u202e\n")
    said = fedward("plan", "check", path, "--shallow").stdout
    assert "U+202E" in said
    assert "networks seldom need: os" in said
    assert "\u202e" not in said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "from torch import",
            "import timm_of_nobody\nfrom torch import",
            r"network.*timm_of_nobody.*standard library, torch, monai and numpy",
        ),
        ("return logits", "open('/etc/passwd')\n        return logits", r"line \d+: PermissionError.*without files"),
        ("return logits", "return logits / 0 * 0", r"not finite\. Look for a division by zero"),
        ("nn.GroupNorm(4, width)", "nn.BatchNorm2d(width)", r"BatchNorm2d.*in a module of your own write GroupNorm"),
        ("return loss.mean()", "return loss", r"plan\.yaml:LOSS: training\.loss: .*one number"),
    ],
    ids=["package", "file", "finite", "batchnorm", "loss"],
)
def test_what_is_wrong_with_a_module_is_said_with_what_to_do(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(new_plan(code=True).replace('name: "cross_entropy"', "name: code.own"))
    loss = (
        "\n\ndef own(logits: Tensor, labels: Tensor) -> Tensor:\n"
        "    loss = logits.logsumexp(1) - logits[:, 0]\n    return loss.mean()\n"
    )
    text = new_module() + loss
    assert text.count(old) == 1
    (tmp_path / MODULE).write_text(text.replace(old, new))
    line = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if line == "  loss:")
    with pytest.raises(PlanError, match=says.replace("LOSS", str(line))) as caught:
        rehearse(load_plan(path), path)
    assert ("Compare network.args" in str(caught.value)) is False


@pytest.mark.parametrize("private", [True, False])
def test_a_program_is_not_run_unless_somebody_said_so(tmp_path: Path, private: bool) -> None:
    plan = coded_plan(private=private)
    (tmp_path / "plan.yaml").write_bytes(plan.canonical)
    silos = []
    for seed, name in enumerate(("north", "south", "west")):
        tiny_store(tmp_path / name, seed=seed, n=12)
        silos.append(f"--silo={name}={tmp_path / name}")
    done = fedward("run", tmp_path / "plan.yaml", *silos, "--out", tmp_path / "out", "--accept-no-dp")
    assert done.returncode != 0
    assert "custom_code: approved" in done.stderr
    assert "--accept-code" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("private", "says"), [(True, "whatever it computes"), (False, "in whatever disguise")])
def test_running_one_is_never_silent(capsys: pytest.CaptureFixture[str], private: bool, says: str) -> None:
    code = coded_plan().code
    assert code is not None
    _warn_code(code, private=private, mock=False)
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert code.sha256[:19] in said
    assert says in said


def test_the_example_is_a_plan_and_its_network_and_loss_do_what_they_say() -> None:
    plan, module = load_plan(EXAMPLE / "plan.yaml"), imported(EXAMPLE / "network.py")
    network = module.SmallNet(**plan.network.args)
    with torch.no_grad():
        logits = network(torch.randn(3, 1, 40, 40, generator=torch.Generator().manual_seed(1)))
    labels = torch.tensor([0, 1, 1])
    assert logits.shape == (3, 2)
    log_p = functional.log_softmax(logits, 1)[torch.arange(3), labels]
    assert module.focal(logits, labels) == pytest.approx(float(((1 - log_p.exp()) ** 2 * -log_p).mean()), rel=1e-6)
    module.GAMMA = 0.0
    assert float(module.focal(logits, labels)) == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-6)


def test_on_mocks_a_program_may_run_because_their_patients_are_invented(tmp_path: Path) -> None:
    settings = mock_settings(tmp_path / "out", resume=False, tracking_uri="", device="cpu", threads=1)
    tiny_store(tmp_path / "north", n=12)
    policy = policies_of({"north": tmp_path / "north"}, settings)["north"]
    policy.admit(coded_plan(private=False), None)


def test_what_the_command_line_accepts_is_said_for_every_hospital_and_nothing_else(tmp_path: Path) -> None:
    tiny_store(tmp_path / "north", n=12)
    stores = {"north": tmp_path / "north"}
    (refused,) = policies_of(stores, Settings(tmp_path / "out", accept_no_dp=True)).values()
    (accepted,) = policies_of(stores, Settings(tmp_path / "out", accept_code=True)).values()
    assert (refused.custom_code, accepted.custom_code) == ("refused", "approved")
    assert accepted.model_copy(update={"custom_code": "refused"}) == policies_of(stores, Settings(tmp_path / "out"))["north"]
