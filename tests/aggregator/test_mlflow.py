"""What a researcher finds in MLflow, and that drawing a job twice changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from aggregator.events import JobOpened, RoundCommitted, Scored
from aggregator.job import Job
from aggregator.records import RosterRecord, RoundRecord, ScoresRecord
from aggregator.tracking import MlflowTracker
from aggregator.tracking.names import of_guarantee, of_round, of_scores, of_spent
from privacy.spent import Spent
from protocol.messages import PrivateDescription
from protocol.plan import Plan
from protocol.transport.in_process import InProcessTransport
from protocol.vectors import save_tensors
from tests.conftest import PRIVATE, SIZE, tiny_node, tiny_plan, tiny_store
from tests.evaluation.made_up_runs import ADDRESS, draw_rows, noised

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, str, int]:
    """A job drawn once as it ran and once more from its journal; the plan, MLflow's URI and how many events the replay had."""
    folder = tmp_path_factory.mktemp("tracked")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    plan = tiny_plan()
    stores = {name: tiny_store(folder / name, n=80, seed=seed) for seed, name in enumerate(("north", "south"))}
    replayed = 0
    for _ in range(2):
        nodes = {name: tiny_node(name, store, folder / f"state-{name}") for name, store in stores.items()}
        tracker = MlflowTracker(uri, folder / "artifacts", {"python": "3"})
        events: list[object] = []

        def both(event: object, tracker: MlflowTracker = tracker, events: list[object] = events) -> None:
            events.append(event)
            tracker(event)  # type: ignore[arg-type]

        job = Job(plan, InProcessTransport(nodes), folder / "job", both)
        with closing(job.journal):
            job.run()
            model = folder / "model.safetensors"
            save_tensors(model, job.models.layout.unflatten(job.models.final()))
            (folder / "plan.yaml").write_bytes(plan.canonical)
            tracker.finish("FINISHED", {"plan": folder / "plan.yaml"}, plan, model)
        assert tracker.problem == ""
        replayed = sum(getattr(event, "replayed", False) for event in events)
    return plan, uri, replayed


def test_there_is_one_parent_run_and_one_child_run_a_silo(tracked: tuple[Plan, str, int]) -> None:
    from mlflow import MlflowClient

    plan, uri, replayed = tracked
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(plan.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.data.tags["fl.role"] == "job"]
    children = {run.data.tags["fl.silo"]: run for run in runs if run.data.tags["fl.role"] == "silo"}
    assert len(parents) == 1
    assert sorted(children) == ["north", "south"]
    assert len(runs) == 3
    assert replayed >= 2 * plan.federation.rounds
    (parent,) = parents
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children.values())
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.params["training/mu"] == "0.1"
    assert parent.data.params["plan_digest"] == plan.digest


def test_per_silo_curves_stand_beside_the_global_one_with_the_round_as_step(tracked: tuple[Plan, str, int]) -> None:
    from mlflow import MlflowClient

    plan, uri, _ = tracked
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(plan.name)
    assert experiment is not None
    rounds = list(range(1, plan.federation.rounds + 1))
    for run in client.search_runs([experiment.experiment_id]):
        names = ["train/loss", "val/auroc", "test/auroc", "test/auroc_alone"]
        if run.data.tags["fl.role"] == "job":
            names = ["val/auroc", "global/val/auroc", "site/north/val/auroc", "site/south/train/loss", "global/test/auroc"]
        for name in names:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
            assert steps == (rounds if "test" not in name else rounds[-1:]), (name, steps)


@pytest.fixture
def at_home() -> Iterator[None]:
    """MLflow remembers where a test looked, in the environment that later tests give to their processes."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    mlflow.set_tracking_uri(before)


def test_the_logged_model_loads_without_pickle_and_predicts(tracked: tuple[Plan, str, int], at_home: None) -> None:
    import mlflow

    plan, uri, _ = tracked
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.get_experiment_by_name(plan.name)
    assert experiment is not None
    models = mlflow.search_logged_models([experiment.experiment_id], output_format="list")
    location = Path(models[0].artifact_location.removeprefix("file://"))
    assert not [path for path in location.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]
    loaded = mlflow.pyfunc.load_model(models[0].model_uri)
    probabilities = loaded.predict(np.zeros((2, 1, SIZE, SIZE), dtype=np.float32))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)


def test_an_unreachable_mlflow_never_stops_the_job(tmp_path: Path) -> None:
    stores = {name: tiny_store(tmp_path / name, n=20, seed=seed) for seed, name in enumerate("ab")}
    nodes = {name: tiny_node(name, store, tmp_path / f"state-{name}") for name, store in stores.items()}
    tracker = MlflowTracker("sqlite:////dev/null/mlflow.db", None, {})
    job = Job(tiny_plan(**{"federation.rounds": 1}), InProcessTransport(nodes), tmp_path / "job", tracker)
    with closing(job.journal):
        job.run()
        assert len(job.journal.rounds()) == 1
    assert "the job goes on" in tracker.problem


def test_a_database_that_was_cut_short_while_being_made_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """A process killed inside MLflow's table making leaves only a .partial file, which the next one replaces."""
    from aggregator.tracking.mlflow_tracker import _client

    (tmp_path / "mlflow.db.partial").write_bytes(b"half a database")
    client = _client(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.get_experiment_by_name("Default") is not None
    assert sorted(path.name for path in tmp_path.iterdir() if "mlflow" in path.name) == ["mlflow.db"]


class TestUnderAPrivatePlan:
    """Made-up records: what a private job leaves to be drawn."""

    ROSTER = RosterRecord(
        configured=("north", "south", "east"),
        descriptions={name: PrivateDescription(ADDRESS, "sha256:22", f"token-{name}") for name in ("north", "south")},
        failures={"east": "TransportError: gone"},
    )

    @staticmethod
    def record(number: int) -> RoundRecord:
        both = ("north", "south")
        return RoundRecord(
            round=number, attempt=1, started_at=1e9, seconds=2.0, configured=(*both, "east"), trained=both, aggregated=both,
            failures={"east": "gone"}, weights=dict.fromkeys(both, 1.0), losses={}, proximals={}, steps={}, silo_seconds={},
            update_norm=0.1, model_digest="sha256:33",
        )  # fmt: skip

    def test_epsilon_grows_with_the_rounds_and_no_loss_is_drawn(self) -> None:
        spent = Spent(tiny_plan(**PRIVATE))
        parent, silos = of_round(self.record(2))
        assert silos == {"north": {"federation/weight": 0.5}, "south": {"federation/weight": 0.5}}
        assert not [name for name in parent if "loss" in name]
        curve = [of_spent(spent, number)["privacy/epsilon"] for number in (1, 2, 3)]
        assert 0 < curve[0] < curve[1] < curve[2] == spent.guarantee.epsilon
        assert spent.by_round(range(1, 4)) == dict(zip((1, 2, 3), curve, strict=True))
        assert of_guarantee(spent)["guarantee/noise_multiplier"] == "2"

    def test_a_plan_without_a_mechanism_has_no_epsilon_to_draw(self) -> None:
        spent = Spent(tiny_plan())
        assert (of_spent(spent, 1), spent.by_round([1, 2])) == ({}, {})
        assert of_guarantee(spent) == {"guarantee/epsilon": "infinite"}

    def test_noised_scores_are_drawn_with_half_their_interval_and_only_where_noise_leaves_a_figure(self) -> None:
        labels, logs = draw_rows(3, 900, 1.2)
        few = draw_rows(4, 12, 1.2)
        scores = {
            "north": noised((labels, logs), 1, 1.0, "federated", "validation"),
            "south": noised(few, 2, 1.0, "federated", "validation"),
        }
        parent, silos = of_scores(ScoresRecord(2, "federated", "validation", 1e9, scores, {}))
        assert set(silos["north"]) == {"val/rarest_class", "val/auroc", "val/auroc_half_width"}
        assert set(silos["south"]) == {"val/rarest_class"}
        assert 0 < silos["north"]["val/auroc_half_width"] < 0.2
        assert {"global/val/auroc", "val/auroc", "global/val/auroc_half_width"} <= set(parent)

    def test_mlflow_takes_a_private_job(self, tmp_path: Path) -> None:
        from mlflow import MlflowClient

        plan, uri = tiny_plan(**PRIVATE), f"sqlite:///{tmp_path / 'mlflow.db'}"
        tracker = MlflowTracker(uri, tmp_path / "artifacts", {})
        tracker(JobOpened("job", plan, self.ROSTER, 0))
        for number in (1, 2, 3):
            tracker(RoundCommitted(self.record(number)))
        scores = {"north": noised(draw_rows(3, 900, 1.2), 1, 1.0, "federated", "validation")}
        tracker(Scored(ScoresRecord(3, "federated", "validation", 1e9, scores, {})))
        assert tracker.problem == ""
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(plan.name)
        assert experiment is not None
        runs = {run.data.tags.get("fl.silo", "job"): run for run in client.search_runs([experiment.experiment_id])}
        assert runs["north"].data.params == {"cohort": "token-north"}
        params = runs["job"].data.params
        assert {params["privacy/mechanism"], params["guarantee/unit"]} == {"local", "patient"}
        history = [metric.value for metric in client.get_metric_history(runs["job"].info.run_id, "privacy/epsilon")]
        assert len(history) == 3
        assert history[-1] == pytest.approx(float(params["guarantee/epsilon"]), rel=1e-4)
        assert "val/auroc" in runs["north"].data.metrics


def test_drawing_a_job_leaves_no_address_behind_for_other_processes(tracked: tuple[Plan, str, int]) -> None:
    assert tracked[1] != os.environ.get("MLFLOW_TRACKING_URI", "")
