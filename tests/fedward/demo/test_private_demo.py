"""The demo's plan promises every patient epsilon 8 or less, and its federation learns all the same."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fedward.demo import show
from privacy.guarantee import guarantee_of
from protocol.network import build_network, logits
from protocol.plan import Plan, load_plan
from protocol.vectors import load_tensors
from silo_node.cohort import CohortStore
from silo_node.policy import Policy
from silo_node.training.cohort import load_cohort
from tests.fedward.test_cli import fedward


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(Path(str(files("fedward.demo") / "plan.yaml")))


def test_the_plan_promises_what_a_hospital_without_a_policy_file_allows(plan: Plan) -> None:
    guarantee = guarantee_of(plan)
    assert plan.privacy.mechanism == "local"
    assert 0.0 < guarantee.epsilon <= 8.0
    assert guarantee.delta == 1e-6
    assert not guarantee.notes
    Policy().admit(plan, guarantee)


def test_what_is_promised_is_said_before_anything_happens(plan: Plan) -> None:
    said = show._promise(plan)
    assert f"epsilon {guarantee_of(plan).epsilon:.3g} at delta 1e-06" in said
    assert "every patient" in said
    open_plan = {**plan.model_dump(mode="json", by_alias=True), "privacy": {"mechanism": "none"}}
    assert "infinite" in show._promise(Plan.model_validate_json(json.dumps(open_plan)))


@pytest.mark.slow(100)
def test_the_demo_shows_a_whole_federation_that_learns_under_its_promise(plan: Plan, tmp_path: Path) -> None:
    """The real command, once: its noise is never seeded, so the bound is far below what runs usually reach."""
    out = tmp_path / "demo"
    done = fedward("demo", "--out", out, "--json", cold=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    privacy, sites = report["privacy"], report["sites"]
    assert privacy["epsilon"] == pytest.approx(guarantee_of(plan).epsilon)
    assert privacy["epsilon"] <= 8.0
    assert len(sites) == 4
    released = report["performance"]["global"]["auroc"]
    assert released["value"] >= 0.8
    assert released["lo"] < released["value"] < released["hi"]
    exact = _exact_auroc(plan, out)
    assert exact >= 0.8
    assert released["value"] == pytest.approx(exact, abs=0.1)  # noised counts, one image a patient, sixteen bins
    assert all(list((out / "stores").glob(f"{site['id']}*ledger*")) for site in sites)
    page = (out / "report.html").read_text()
    assert "northgate" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "mlflow" in done.stderr
    again = fedward("demo", "--out", out)
    assert again.returncode == 2
    assert "not empty" in again.stderr


def _exact_auroc(plan: Plan, out: Path) -> float:
    """What no hospital would tell: the AUROC over all test images, without noise."""
    network = build_network(plan)
    network.load_state_dict({name: torch.as_tensor(value) for name, value in load_tensors(out / "model.safetensors").items()})
    network.eval()
    labels, scores = [], []
    for path in sorted((out / "stores").iterdir()):
        if not path.is_dir():
            continue
        cohort = load_cohort(CohortStore.open(path), plan, out / "exact")
        test = np.array(cohort.parts.test)
        with torch.no_grad():
            odds = logits(network, torch.from_numpy(cohort.images[test]))
        labels.append(cohort.labels[test])
        scores.append((odds[:, 1] - odds[:, 0]).numpy())
    return float(roc_auc_score(np.concatenate(labels), np.concatenate(scores)))
