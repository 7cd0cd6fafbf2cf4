"""What a finished job leaves in its folder: the model, the plan, the report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.evidence.bundle import evidenced, write_bundle
from aggregator.job import Job
from aggregator.summary import summarise
from evaluation.report.build import build_report
from evaluation.report.write import write_report
from protocol.identity import Identity
from protocol.vectors import save_tensors, vector_digest


@dataclass(frozen=True)
class Written:
    """Where the files lie, and the report as in report.json."""

    model: Path
    plan: Path
    report_json: Path
    report_html: Path
    report: dict[str, Any]
    evidence: Path | None = None


def write_results(job: Job, out: Path, identity: Identity | None = None, *, one_machine: bool = False) -> Written:
    """Write model.safetensors, plan.yaml, report.json, report.html and evidence/ of a job that ran to its end.

    `identity` signs the evidence; `one_machine`: it holds the hospitals' public keys too (aggregator.evidence.bundle).
    """
    vector, plan = job.models.final(), job.plan
    model = out / "model.safetensors"
    digest = vector_digest(vector)
    order = json.dumps([name for name, _ in job.models.layout.entries])
    metadata = {"job": job.name, "plan_digest": plan.digest, "model_digest": digest, "order": order, "format": "pt"}
    save_tensors(model, job.models.tensors(vector), metadata)
    (out / "plan.yaml").write_bytes(plan.canonical)  # JSON is YAML; these are the very bytes of the digest
    facts: dict[str, Any] = {
        "network": plan.network.name,
        "n_parameters": job.models.n_parameters,
        "digest": digest,
        "file": model.name,
        "personal_parts": list(plan.federation.personal),
    }
    if (other := job.models.compared_with) is not None:  # as the other job's report has it in model.digest
        facts["compared_with"] = other
    report = evidenced(build_report(summarise(job, facts)), job)
    report_json, report_html = write_report(report, out)
    evidence = write_bundle(job, out, report_json, identity, one_machine=one_machine)
    return Written(model, out / "plan.yaml", report_json, report_html, report, evidence)
