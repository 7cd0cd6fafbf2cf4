"""What a job left beside its evidence and people take from there: the model's file, and the page made from report.json.

Neither is in the bundle. The model must be the one that the silos cosigned, and the page must say what report.json says: a
page is all that most readers see, and whoever edits it need not touch a signed byte.
"""

from __future__ import annotations

import html
import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from safetensors import safe_open

from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from protocol.errors import EvidenceError
from protocol.evidence import bundle as names
from protocol.messages import Description, PrivateDescription
from protocol.vectors import Layout, load_tensors, vector_digest

MODEL, PAGE = "model.safetensors", "report.html"


def check_beside(opened: Opened, findings: Findings, report: Path) -> None:
    """Findings about the files beside `report`, the path of report.json; what is not there is not missed."""
    if (model := report.parent / MODEL).is_file():
        with findings.checking("model", names.AGGREGATOR):
            _check_model(opened, findings, model)
    if (page := report.parent / PAGE).is_file():
        with findings.checking("page", "report"):
            _check_page(findings, report, page)


def read_model(path: Path) -> tuple[str, Layout]:
    """The digest of the vector in a model's file, as checkpoints have it, and which tensor lies where in it.

    Raises EvidenceError or MessageError.
    """
    tensors = load_tensors(path)
    with safe_open(path, framework="numpy") as opened:
        order = (opened.metadata() or {}).get("order", "")
    try:
        entries = tuple((name, tensors[name].shape) for name in msgspec.json.decode(order, type=list[str]))
    except (msgspec.DecodeError, KeyError) as error:
        raise EvidenceError(f"{path.name} does not say how its tensors are hashed: {error}.") from error
    layout = Layout(entries)
    return vector_digest(layout.flatten(tensors)), layout


def _check_model(opened: Opened, findings: Findings, path: Path) -> None:
    (found, layout), signed = read_model(path), opened.checkpoint.model
    layouts = _layouts(opened)
    if found == signed and layouts - {layout.digest}:
        text = f"{path.name} beside the report has the final model's values under other names. Do not use it."
        findings.add("broken", "model", names.AGGREGATOR, text)
    elif found == signed:
        findings.add("ok", "model", "", f"{path.name} beside the report is the final model, {signed[7:19]}")
        if not layouts:
            text = f"which tensor each value of {path.name} belongs to: the silos' descriptions, which say it, are not here"
            findings.add("unchecked", "model", "", text)
    else:
        findings.add(
            "broken",
            "model",
            names.AGGREGATOR,
            f"{path.name} beside the report is another model, {found[7:19]}, than the final {signed[7:19]}. Do not use it.",
        )


def _layouts(opened: Opened) -> set[str]:
    """Digests of the network's layout, as far as silos' descriptions are here: the vector's digest alone binds no names."""
    described = opened.course.described.items()
    said = [opened.release(silo, found) for silo, found in described if names.release_path(found) in opened.files]
    return {one.layout_digest for one in said if isinstance(one, Description | PrivateDescription)}


def _check_page(findings: Findings, report: Path, path: Path) -> None:
    from evaluation.report.render import render_html

    told = json.loads(report.read_bytes())
    shown, made = path.read_bytes().decode("utf-8", errors="replace"), render_html(told)
    if shown == made:
        findings.add("ok", "page", "", f"{path.name} is the page of this report.json")
        return
    again = "`fedward audit report` makes it again"
    release = told["software"].get("fedward")
    if _words(shown) == _words(made):
        text = f"{path.name} has the words of this report.json, but not the same bytes: drawn elsewhere, or touched; {again}."
        findings.add("unchecked", "page", "report", text)
    elif release is not None and release != _own_release():
        text = f"{path.name} was made by release {release} of fedward, whose words this one does not know; {again}."
        findings.add("unchecked", "page", "report", text)
    else:
        text = (
            f"{path.name} does not say what report.json says: it was edited, or another build made it. Do not read it; {again}."
        )
        findings.add("broken", "page", "report", text)


def _words(page: str) -> list[str]:
    """The text of a page, figures' too, without how it is drawn."""
    return html.unescape(re.sub(r"<[^>]*>", " ", page)).split()


def _own_release() -> str | None:
    try:
        return version("fedward")
    except PackageNotFoundError:
        return None
