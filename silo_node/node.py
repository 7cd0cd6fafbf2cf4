"""The silo node: a request in, a gated release out. It answers every request, if only with a refusal, and survives a kill."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from protocol.errors import FedwardError, SiloError
from protocol.messages import (
    Address,
    Describe,
    Done,
    Refusal,
    Release,
    Request,
    Score,
    Train,
    TrainAlone,
    decode_request,
)
from protocol.plan import Plan, parse_plan
from silo_node.answers import Job, describe, personalise, score, train, train_alone
from silo_node.cohort import CohortStore
from silo_node.gate import release
from silo_node.state import JobState
from silo_node.training.cohort import load_cohort
from silo_node.training.device import pick_device
from silo_node.training.local import Trainer
from silo_node.training.model import SiloModel

_log = logging.getLogger(__name__)
_NOWHERE = Address(job="", plan_digest="", round=0, attempt=0)


class SiloNode:
    """Serves requests for one cohort store. `state` is a folder inside the hospital; it holds models and cached pixels."""

    def __init__(self, name: str, store: CohortStore, state: Path, *, device: str = "auto") -> None:
        self.name = name
        self._store, self._state, self._device = store, state, device
        self._jobs: dict[str, Job] = {}

    def __call__(self, data: bytes) -> bytes:
        """Answer one request. Errors become a Refusal that names the error and holds no patient data."""
        address = _NOWHERE
        try:
            request = decode_request(data)
            address = request.address
            answer, job = self._answer(request)
            return release(answer, address, job.model.layout)
        except FedwardError as error:
            kind, reason = type(error).__name__, str(error)
        except MemoryError:
            kind, reason = "MemoryError", "not enough memory; use a smaller batch_size or network."
        except Exception as error:  # whatever a library raises may hold a path or a value: only its kind leaves
            kind, reason = (
                type(error).__name__,
                "an unexpected error; the silo's own log has the details at level DEBUG.",
            )
            _log.error("request failed: %s", kind)
            _log.debug("traceback", exc_info=True)
        return release(Refusal(address, kind, reason), address, None)

    def _answer(self, request: Request) -> tuple[Release, Job]:
        start = time.monotonic()
        if isinstance(request, Describe):
            job = self._open(request.address, parse_plan(_text(request.plan)))
            return describe(job, request.address), job
        job = self._job(request.address)
        if isinstance(request, Train):
            return train(job, request, start), job
        if isinstance(request, Score):
            return score(job, request), job
        if isinstance(request, TrainAlone):
            train_alone(job, start + request.deadline_s)
        else:
            personalise(job, request, start + request.deadline_s)
        return Done(request.address, time.monotonic() - start), job

    def _job(self, address: Address) -> Job:
        job = self._jobs.get(address.job)
        if job is None:
            plan = JobState(self._state, address.job).plan()
            if plan is None:
                raise SiloError("this job was never described to this silo; send its plan first.")
            job = self._open(address, plan)
        if address.plan_digest != job.plan.digest:
            raise SiloError("the request names another plan than the one this job was described with.")
        return job

    def _open(self, address: Address, plan: Plan) -> Job:
        if plan.digest != address.plan_digest:
            raise SiloError("the plan's digest is not the one in the request's address.")
        state = JobState(self._state, address.job)
        state.keep_plan(plan)
        if address.job not in self._jobs:
            cohort = load_cohort(self._store, plan, self._state / "cache")
            model = SiloModel(plan, cohort.input_shape, pick_device(self._device))
            self._jobs[address.job] = Job(plan, state, cohort, model, Trainer(plan, cohort, model, self.name))
        return self._jobs[address.job]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SiloError("the plan is not UTF-8 text.") from error
