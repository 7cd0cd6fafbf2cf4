"""Draws a job into MLflow as it happens, and again from the journal after a restart; drawing twice changes nothing."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aggregator.events import Audited, Event, JobOpened, RoundCommitted, Scored
from aggregator.records import ScoresRecord
from aggregator.tracking import series
from aggregator.tracking.audit_names import of_audit
from aggregator.tracking.card import card_tags, model_card
from aggregator.tracking.names import Metrics, flatten, of_guarantee, of_round, of_scores, of_spent
from aggregator.tracking.registry import CARD, WORST, register
from privacy.spent import Spent
from protocol.messages import Description, PrivateDescription
from protocol.plan import Plan

_log = logging.getLogger(__name__)


class MlflowTracker:
    """An observer of one job. The job never waits for, or fails with, MLflow: `problem` says what went wrong, if anything.

    `uri` is MLflow's tracking URI; `artifacts` is where a new local experiment keeps its files (None: the server decides).
    """

    def __init__(self, uri: str, artifacts: Path | None, environment: Mapping[str, str]) -> None:
        self.uri, self.problem = uri, ""
        self._artifacts, self._environment = artifacts, dict(environment)
        self._parent = ""
        self._children: dict[str, str] = {}
        self._gaps: dict[int, str | None] = {}  # by round, why a validation has no point of the worst hospital

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        try:
            if isinstance(event, JobOpened):
                self._open(event)
            elif isinstance(event, RoundCommitted):
                record = event.record
                parent, silos = of_round(record, weights=not self._smallest)
                parent |= of_spent(self._spent, record.round)
                self._log((parent, silos), record.round, record.started_at + record.seconds)
            elif isinstance(event, Scored):
                parent, silos = of_scores(event.record, self._smallest)
                parent |= series.of_sites(event.record, self._smallest)
                self._log((parent, silos), event.record.round, event.record.at)
                self._say_gaps(event.record)
            elif isinstance(event, Audited):
                self._log((of_audit(event), {}), event.record.round, event.record.at)
        except Exception as error:  # MLflow raises whatever its store raises
            self._trouble(error)

    def finish(
        self,
        status: str,
        files: Mapping[str, Path],
        plan: Plan,
        model: Path | None,
        note: str = "",
        report: dict[str, Any] | None = None,
    ) -> None:
        """End the runs (`FINISHED`, `FAILED`, `KILLED`) with `files` (artifact folder -> file) and the model, if any.

        `note` (Markdown) is what the parent run's overview says. With `report`, the content of report.json, the model is
        registered under the plan's name, with a model card, and jobs can be sorted by what the report found.
        """
        if not self._parent:
            return
        try:
            if note:
                self._client.set_tag(self._parent, "mlflow.note.content", note)
            for folder, path in files.items():
                self._client.log_artifact(self._parent, str(path), folder or None)
            if report is not None:
                self._tell(report)
            if model is not None:
                with _tracked_at(self.uri):  # the registry looks the model up there too
                    logged = self._log_model(plan, model)
                    if report is not None:
                        register(self._client, plan.name, self._parent, logged, report)
        except Exception as error:
            self._trouble(error)
        try:  # whatever went wrong above, no run stays open
            for run in (*self._children.values(), self._parent):
                self._client.set_terminated(run, status)
        except Exception as error:
            self._trouble(error)

    def _tell(self, report: dict[str, Any]) -> None:
        """What the report found, so that jobs can be sorted by it (docs/mlflow.md), and the card."""
        for key, value in card_tags(report).items():
            self._client.set_tag(self._parent, key, value)
        worst, last = report["performance"]["worst_site"], max((one["round"] for one in report["rounds"]), default=0)
        lowest = None if worst is None else worst["auroc"]["value"]
        if lowest is not None and self._client.get_run(self._parent).data.metrics.get(WORST) != lowest:  # drawn once
            self._client.log_metric(self._parent, WORST, lowest, step=last)
        self._client.log_text(self._parent, model_card(report), CARD)

    def _say_gaps(self, record: ScoresRecord) -> None:
        why = series.why_no_worst(record, self._smallest)
        if why != "" and self._parent:
            self._gaps[record.round] = why
            self._client.set_tag(self._parent, series.FAIRNESS, series.said(self._gaps))

    # -------------------------------------------------------------------------------------------------------------- runs

    def _open(self, event: JobOpened) -> None:
        self._spent = Spent(event.plan)
        audit, exact = event.plan.evaluation.audit, event.plan.privacy.mechanism == "none"
        self._smallest = audit.smallest_cell if audit is not None and exact else 0
        self._client = _client(self.uri)
        experiment = self._experiment(event.plan.name)
        tags = {"fl.job": event.job, "fl.plan_digest": event.plan.digest, "fl.mechanism": event.plan.privacy.mechanism}
        self._parent = self._run(experiment, {**tags, "fl.role": "job", "mlflow.runName": event.job})
        for silo in event.roster.configured:
            child = {"mlflow.parentRunId": self._parent, "fl.silo": silo, "mlflow.runName": silo, "fl.role": "silo"}
            self._children[silo] = self._run(experiment, tags | child)
            if (description := event.roster.descriptions.get(silo)) is not None:
                self._params(self._children[silo], _of_cohort(description, counts=not self._smallest))
        for key, value in series.at_start(event.plan).items():
            self._client.set_tag(self._parent, key, value)
        self._params(self._parent, flatten(event.plan.to_json()) | {"plan_digest": event.plan.digest})
        self._params(self._parent, of_guarantee(self._spent))
        self._params(self._parent, {f"environment/{name}": value for name, value in self._environment.items()})

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if self._artifacts is None else self._artifacts.absolute().as_uri()
        # A federation is training, not a chat: this tag makes MLflow 3 open the experiment in its training view.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(name, artifact_location=location, tags=tags))

    def _run(self, experiment: str, tags: dict[str, str]) -> str:
        """The run with these job and silo tags: found after a restart, made otherwise."""
        wanted = [f"tags.`{key}` = '{tags[key]}'" for key in ("fl.job", "fl.role", "fl.silo") if key in tags]
        found = self._client.search_runs([experiment], " and ".join(wanted), max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        return str(self._client.create_run(experiment, tags=tags, run_name=tags["mlflow.runName"]).info.run_id)

    def _params(self, run: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(run, params=[Param(key, value) for key, value in params.items()])

    def _log(self, metrics: tuple[Metrics, dict[str, Metrics]], step: int, at: float) -> None:
        if not self._parent:
            return
        from mlflow.entities import Metric

        parent, silos = metrics
        for run, values in [(self._parent, parent), *((self._children[silo], m) for silo, m in silos.items())]:
            self._client.log_batch(run, metrics=[Metric(key, value, int(at * 1000), step) for key, value in values.items()])

    def _log_model(self, plan: Plan, model: Path) -> Any:
        """The global model as an MLflow model: code plus safetensors, nothing pickled (aggregator/tracking/served_model.py)."""
        import mlflow

        with warnings.catch_warnings(), mlflow.start_run(run_id=self._parent):
            warnings.simplefilter("ignore")  # it advises on type hints for tables; this model takes images
            return mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name("served_model.py")),
                artifacts={"weights": str(model), "plan": str(model.with_name("plan.yaml"))},
                pip_requirements=["fedward"],
                metadata={"plan_digest": plan.digest, "personal_parts": list(plan.federation.personal)},
            )

    def _trouble(self, error: Exception) -> None:
        if not self.problem:
            self.problem = f"MLflow did not take a message ({type(error).__name__}); the job goes on, its journal is complete."
            _log.warning(self.problem)
        _log.debug("mlflow", exc_info=error)


def _of_cohort(description: Description | PrivateDescription, *, counts: bool) -> dict[str, str]:
    if isinstance(description, PrivateDescription):
        return {"cohort": description.cohort}
    # Which counts an audit withholds is known only at the end, when all of them are there: until then none is told.
    return {"store_digest": description.store_digest} | ({"n_train": str(description.n_train)} if counts else {})


def _client(uri: str) -> Any:
    # Before the first import: MLflow reads these once.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # A job must not wait minutes for a server that is not there.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # MLflow prints tracebacks of what it raises anyway; here they become `problem`, and debug output.
    for name in ("alembic", "mlflow.store.db.utils", "mlflow"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from mlflow import MlflowClient

    _make_database(uri, MlflowClient)
    return MlflowClient(tracking_uri=uri)


def _make_database(uri: str, client: Callable[..., Any]) -> None:
    """Let MLflow make its tables in a file that gets its name only when they are complete.

    MLflow builds them step by step; a process killed on the way would leave a file that no MLflow can open again.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    client(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
    partial.replace(path)


@contextmanager
def _tracked_at(uri: str) -> Iterator[None]:
    """MLflow's own functions log to `uri` meanwhile. It tells child processes too, by a variable that would stay behind."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None forgets it; its types do not say so
