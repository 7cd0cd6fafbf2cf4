"""What the officer's page shows, as HTML: pure, no I/O but the template's file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from protocol.governance.shown import shown
from protocol.plan.about_code import about
from silo_node.governance.program import read_program
from silo_node.governance.words import plain_words

if TYPE_CHECKING:
    from protocol.plan import Plan
    from silo_node.governance.office import Office

_HERE = Path(__file__).parent
_TEMPLATES = ("base", "list", "plan", "program", "error")


def list_page(office: Office, officer: str, hospital: str, token: str, said: str) -> str:
    """Every plan that was handed over and how it stands. `said`: what the last action led to."""
    return _render("list", officer=officer, hospital=hospital, token=token, said=said, rows=office.requests())


def plan_page(office: Office, digest: str, officer: str, hospital: str, token: str, spent: str) -> str:
    """One plan in plain words, what differs from the last approved one, and the officer's choices. Raises InputError.

    `spent`: what the cohort's patients have paid and what is left, in words.
    """
    request = office.find(digest)
    plan = request.handed_over.plan
    return _render(
        "plan",
        officer=officer,
        hospital=hospital,
        token=token,
        request=request,
        plan=plan,
        cover=request.handed_over.cover,
        standing=office.approvals.standing(request.digest),
        needed=office.approvals.officers.needed,
        words=office.approvals.words(request.digest),
        lines=plain_words(plan),
        changed=office.since_last_approval(request),
        spent=spent,
        program=None if plan.code is None else read_program(plan.code),
        about="" if plan.code is None else about(plan.code),
        whole=_whole(plan),
        decisions=[one for one in office.approvals.log.decisions() if one.plan_digest == request.digest],
    )


def _whole(plan: Plan) -> dict[str, Any]:
    """The plan as JSON types; the text of its program, which stands above it line by line, is not repeated."""
    found = plan.to_json()
    return found | {"code": found["code"] | {"source": "as above"}} if plan.code else found


def error_page(reason: str, hospital: str) -> str:
    """What went wrong, and the way back."""
    return _render("error", reason=reason, hospital=hospital)


def _render(kind: str, **facts: object) -> str:
    return _environment().get_template(kind).render(css=(_HERE / "page.css").read_text(encoding="utf-8"), **facts)


@cache
def _environment() -> Environment:
    from jinja2 import DictLoader

    sources = {kind: (_HERE / f"{kind}.html.j2").read_text(encoding="utf-8") for kind in _TEMPLATES}
    return Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_finalize
    )


def _finalize(value: object) -> object:
    """Text that is not our own template's."""
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
