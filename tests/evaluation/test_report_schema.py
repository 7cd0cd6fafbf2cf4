"""report.schema.json: every kind of report is valid, what is not a report is not, and the guide knows every key."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from evaluation.report.build import build_report
from evaluation.report.finish import finished
from evaluation.report.schema import schema
from evaluation.report.write import write_report
from tests.evaluation.made_up_audit import audited_report, no_sum
from tests.evaluation.made_up_runs import make_private_summary, make_summary

GUIDE = Path(__file__).parents[2] / "docs" / "report.md"


@pytest.fixture(scope="module")
def validator():
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(schema())


@pytest.fixture(scope="module")
def report():
    return finished(audited_report(n_rounds=2))


def problems(validator, report):
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(report)]


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("private", [False, True])
def test_every_kind_of_report_is_valid(validator, private, n_classes):
    made = make_private_summary if private else make_summary
    assert problems(validator, build_report(made(n_rounds=2, n_classes=n_classes))) == []
    assert problems(validator, finished(audited_report(n_rounds=2, private=private, n_classes=n_classes))) == []


def test_a_report_of_the_first_release_is_valid(validator):
    old = build_report(make_summary(n_rounds=1))
    for key in ("crosswalk",):
        del old[key]
    for key in ("n_sites_described", "n_sites_trained", "test_patients"):
        del old["cohort"][key]
    del old["outcome"]["never_trained"], old["performance"]["sums"]
    for site in old["sites"]:
        del site["never_trained"]
    assert problems(validator, old) == []


def test_an_audit_without_a_sum_and_with_evidence_is_valid(validator, report):
    assert problems(validator, finished({**report, "audit": no_sum("the quorum was missed")})) == []
    more = {"evidence": {"root": "sha256:ab"}, "checks": [{"name": "signed", "status": "ok"}]}
    assert problems(validator, finished({**report, **more})) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), "fedward.report/2"),
        (("audit", "classes", 0, "groups", 0, "auroc", "value"), None),  # ok, but without a figure
        (("audit", "classes", 0, "groups", 7, "auroc", "value"), 0.8),  # suppressed, yet shown
        (("audit", "fairness", "tests", 0, "verdict"), "fair"),
        (("audit", "fairness", "tests", 0, "p"), 1.2),
        (("performance", "global", "auroc", "status"), "good"),
        (("sites", 0, "n_test"), -1),
        (("sites", 0, "predictions"), [0.1, 0.9]),  # a key that nobody described
        (("privacy", "mechanism"), "trust"),
        (("crosswalk", "standards", 0, "requirements", 0, "state"), "compliant"),
    ],
)
def test_what_is_not_a_report_is_refused(validator, report, path, value):
    changed = copy.deepcopy(report)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert problems(validator, changed)


def test_the_suite_holds_every_report_that_it_writes_to_the_schema(report, tmp_path):
    with pytest.raises(AssertionError, match=r"not of report\.schema\.json"):
        write_report({**report, "predictions": []}, tmp_path)


def test_the_guide_explains_every_key_of_the_first_level_and_of_the_audit():
    text = GUIDE.read_text(encoding="utf-8")
    known = set(re.findall(r"`([a-z_]+)[`.\[]", text))
    assert not set(schema()["properties"]) - known
    assert not set(schema()["$defs"]["audit"]["properties"]) - known
