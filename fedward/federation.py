"""A whole federation on one machine: open the stores, run the job, draw it in MLflow, write the report."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward.hospitals import approvals_of, home_of, ledger_of, policies_of, refuse_plan, refuse_unlabelled
from fedward.settings import Settings
from protocol.errors import InputError
from protocol.plan import Plan
from protocol.plan.federation import refuse_unnamed

if TYPE_CHECKING:
    from aggregator.events import Observer


@dataclass(frozen=True)
class Result:
    """What a finished run left: the report (as in report.json) and where everything lies."""

    report: dict[str, Any]
    report_json: Path
    report_html: Path
    model: Path
    tracking_uri: str
    tracking_problem: str


def run_federation(plan: Plan, stores: Mapping[str, Path], settings: Settings, observe: Observer) -> Result:
    """Run `plan` over the cohort stores in this process; each silo keeps its state under `out`/silos/<name>.

    Killed at any instant, the same call with `resume` continues at the same round with the same model. Raises InputError
    if `out` holds a job and `resume` is not set, PlanError if the plan declares weights of other hospitals, PolicyError if too
    few hospitals allow the plan, StoreError if a store cannot be used, FederationError if the job fails.
    """
    _check(plan, stores, settings)
    policies = policies_of(stores, settings)
    refuse_plan(plan, policies)
    _make_folder(settings.out)
    # Imported here: torch and monai take seconds, and a wrong argument should not.
    from aggregator.job import Job
    from aggregator.results import write_results
    from aggregator.software import software
    from aggregator.tracking import MlflowTracker
    from aggregator.tracking.note import note
    from protocol.secure_aggregation import Member
    from protocol.transport.in_process import InProcessTransport
    from silo_node.cohort import CohortStore
    from silo_node.node import SiloNode

    out = settings.out
    _check_device(settings.device)
    cohorts = {name: CohortStore.open(path) for name, path in stores.items()}
    refuse_unlabelled(plan, cohorts)
    _check_distinct({name: cohort.digest for name, cohort in cohorts.items()})
    nodes = {
        name: SiloNode(
            name,
            cohort,
            out / "silos" / name,
            policy=policies[name],
            ledger=(ledger := ledger_of(stores[name], settings.ledgers)),
            device=settings.device,
            home=home_of(ledger, settings.homes),
            approvals=approvals_of(name, policies[name], stores[name]),
        )
        for name, cohort in cohorts.items()
    }
    # On one machine nobody stands between the silos: each pins the others' keys as they are.
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)
    uri = settings.tracking_uri or f"sqlite:///{(out / 'mlflow.db').absolute()}"
    tracker = MlflowTracker(uri, None if settings.tracking_uri else out / "mlartifacts", software())

    def both(event: Any) -> None:
        observe(event)
        tracker(event)

    with _silo_log(out / "silos.log"), closing(InProcessTransport(nodes)) as transport:
        facts = software() | {"threads": str(_threads(settings.threads, plan))}
        job = Job(plan, transport, out / "job", both, facts, members)
        with closing(job.journal), _status(tracker, plan):
            _limit_threads(int((job.journal.fact("environment", dict[str, str]) or {}).get("threads", "1")))
            job.run()
            written = write_results(job, out, one_machine=True)
            files = {"report": written.report_html, "": written.report_json, "plan": written.plan, "model-file": written.model}
            tracker.finish("FINISHED", files, plan, written.model, note(written.report), written.report)
    return Result(written.report, written.report_json, written.report_html, written.model, uri, tracker.problem)


@contextmanager
def _silo_log(path: Path) -> Iterator[None]:
    """The silos' own log: the reasons that, under a private plan, they do not tell the aggregator."""
    log, handler = logging.getLogger("silo_node"), logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    before = log.level, log.propagate
    if not log.isEnabledFor(logging.DEBUG):  # on the screen the command itself says what it is told
        log.setLevel(logging.WARNING)
        log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
        log.setLevel(before[0])
        log.propagate = before[1]


@contextmanager
def _status(tracker: Any, plan: Plan) -> Iterator[None]:
    """Tell MLflow how a job that did not finish ended."""
    try:
        yield
    except KeyboardInterrupt:
        tracker.finish("KILLED", {}, plan, None)
        raise
    except Exception:
        tracker.finish("FAILED", {}, plan, None)
        raise


def _check(plan: Plan, stores: Mapping[str, Path], settings: Settings) -> None:
    refuse_unnamed(plan.federation, tuple(stores))
    if len(stores) < plan.federation.quorum:
        raise InputError(
            f"{len(stores)} silos given, the plan's quorum is {plan.federation.quorum}; "
            "add --silo NAME=STORE, or lower federation.quorum."
        )
    if settings.resume and not (settings.out / "job" / "journal.sqlite").exists():
        raise InputError(f"there is no job in {settings.out} to resume. Leave --resume out to begin one; it is charged anew.")
    if not settings.resume and (settings.out / "job" / "journal.sqlite").exists():
        raise InputError(f"{settings.out} already holds a job. Continue it with --resume, or choose another --out.")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be made ({error.strerror}); choose another folder.") from error


def _check_device(device: str) -> None:
    import torch

    if device == "auto":
        return
    try:
        torch.empty(1, device=torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device} is not usable here; leave it out, or say cpu.") from error


def _check_distinct(digests: Mapping[str, str]) -> None:
    """One cohort under two names would count every patient twice."""
    first: dict[str, str] = {}
    for name, digest in digests.items():
        if (other := first.setdefault(digest, name)) != name:
            raise InputError(f"--silo {other} and --silo {name} are the same cohort; name each store once.")


def _threads(wanted: int, plan: Plan) -> int:
    """As many as wanted; else one per core, or a single one under privacy.

    A pass over one patient is too little work to share: two threads on two busy cores made rounds five to ten times longer.
    """
    if wanted or plan.privacy.mechanism != "none":
        return wanted or 1
    return min(8, os.cpu_count() or 1)


def _limit_threads(threads: int) -> None:
    """The number of threads decides in which order floats are added: a resumed job uses as many as it began with."""
    import torch

    torch.set_num_threads(threads)
