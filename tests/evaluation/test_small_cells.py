"""No number that the audit would withhold stands in the report's parts on single hospitals, nor follows from those that do."""

from __future__ import annotations

import dataclasses
from typing import Any

import jsonschema
import numpy as np
import pytest

from evaluation.audit.layout import AuditLayout
from evaluation.report.build import build_report
from evaluation.report.inputs import AuditSummary
from evaluation.report.render import render_html
from evaluation.report.schema import schema
from evaluation.report.small_cells import COUNTS, held_back, rests_on_few, without_numbers
from protocol.canonical import digest_json
from protocol.plan.audit import Audit
from tests.evaluation.made_up_runs import draw_scores, make_private_summary, make_summary
from tests.evaluation.test_report_page import text_of

K = 11


def audit(sites, k=K, epsilon=None):
    return {"classes": [], "smallest_cell": k, "epsilon": epsilon, "sites_in_sum": sites}


def entry(name: str, patients: int, train: list[int], validation: int, test: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": name,
        "n_patients": patients,
        "n_train": sum(train),
        "n_validation": validation,
        "n_test": sum(test),
        "class_counts_train": {str(index): count for index, count in enumerate(train)},
        "positives_test": {"1": test[1]},
    }


def audited(summary, k=K):
    asked = Audit(attributes=("sex",), smallest_cell=k)
    plan = dict(summary.plan) | {"evaluation": {"audit": asked.model_dump(mode="json")}}
    private = summary.privacy["mechanism"] != "none"
    layout = AuditLayout(asked, 1, private, tuple(site.id for site in summary.sites))
    one = AuditSummary(layout, (), (), (), "no sum was opened")
    return dataclasses.replace(summary, plan=plan, plan_digest=digest_json(plan), audit=one)


@pytest.fixture(scope="module")
def report():
    return build_report(audited(make_summary(n_rounds=2)))


def unknown_of(sites, held):
    """Name of every number that is not shown (negatives too), all values, and sums as rows over the hidden."""
    values = {}
    for one in sites:
        values |= {(one["id"], name): one[name] for name in COUNTS}
        values |= {(one["id"], f"class_counts_train.{c}"): n for c, n in one["class_counts_train"].items()}
        values |= {(one["id"], "positives_test.1"): one["positives_test"]["1"]}
        values |= {(one["id"], "negatives"): one["n_test"] - one["positives_test"]["1"]}
    for name in COUNTS:
        values["", name] = sum(one[name] for one in sites)
    hidden = [key for key in values if key in held.numbers or key[1] == "negatives"]
    sums = [[("", name), *((one["id"], name) for one in sites)] for name in COUNTS]
    for one in sites:
        own = one["id"]
        sums.append([(own, "n_train"), *((own, f"class_counts_train.{c}") for c in one["class_counts_train"])])
        sums.append([(own, "n_test"), (own, "positives_test.1"), (own, "negatives")])
    rows = np.array([[(-1.0 if key == s[0] else 1.0) * (key in s) for key in hidden] for s in sums])
    return values, hidden, rows


@pytest.mark.parametrize("seed", range(60))
def test_no_small_number_is_shown_or_follows_from_sums_of_those_that_are(seed):
    rng = np.random.default_rng(seed)

    def draw():
        return int(rng.choice([0, rng.integers(1, K), rng.integers(K, 400)], p=[0.1, 0.3, 0.6]))

    sites = [
        entry(f"s{i}", draw(), [draw(), draw(), draw()][: 2 + seed % 2], draw(), (draw(), draw()))
        for i in range(int(rng.integers(1, 6)))
    ]
    held = held_back(sites, audit([one["id"] for one in sites]))
    values, hidden, rows = unknown_of(sites, held)
    assert not [key for key, value in values.items() if 0 < value < K and key not in hidden]
    rank = np.linalg.matrix_rank(rows) if hidden else 0
    for place, key in enumerate(hidden):
        if 0 < values[key] < K:
            unit = np.eye(len(hidden))[place]
            assert np.linalg.matrix_rank(np.vstack([rows, unit])) > rank, key


def test_a_single_small_number_takes_the_next_smallest_with_it_and_large_ones_stay():
    sites = [
        entry("a", 300, [200, 100], 40, (60, 50)),
        entry("b", 200, [90, 90], 5, (40, 40)),
        entry("c", 99, [50, 50], 30, (20, 20)),
    ]
    held = held_back(sites, audit(["a", "b", "c"]))
    assert held.of("b") == {"n_validation": "small_cell"}
    assert held.of("c") == {"n_validation": "complement"}
    assert not held.of("a")
    assert not held.of("")


def test_a_total_goes_only_where_nothing_else_can():
    held = held_back([entry("a", 300, [200, 100], 5, (60, 50))], audit(["a"]))
    assert set(held.numbers) == {("a", "n_validation"), ("", "n_validation")}


def test_images_of_few_patients_are_withheld_though_they_are_many():
    held = held_back([entry("a", 5, [200, 100], 50, (60, 50)), entry("b", 300, [200, 100], 50, (60, 50))], audit(["a", "b"]))
    assert {"n_patients", "n_train", "n_test", "n_validation"} <= held.of("a").keys()


def test_what_the_audit_withholds_of_a_hospital_is_not_in_its_entry():
    sites = [entry(name, 300, [200, 100], 50, (60, 50)) for name in "ab"]
    groups = [{"attribute": "site", "value": "a", "why": "complement"}, {"attribute": "site", "value": "b", "why": None}]
    held = held_back(sites, audit(["a", "b"]) | {"classes": [{"name": "1", "groups": groups}]})
    assert {"positives_test.1", "n_test"} <= held.of("a").keys()


def test_the_report_of_a_hospital_with_few_images_says_so_and_shows_none(report):
    jsonschema.validate(report, schema())
    small = next(site for site in report["sites"] if site["id"] == "st-elsewhere")
    exact = next(site for site in make_summary(n_rounds=1).sites if site.id == "st-elsewhere")
    positives = exact.federated.classes[0].n_positive
    assert 0 < min(positives, 16 - positives) < K
    assert small["positives_test"] == {"pneumonia": None}
    assert small["n_validation"] is None
    assert {small[key]["why"] for key in ("auroc", "alone", "personalised")} == {"small_cell"}
    assert small["versus_alone"]["federated"]["verdict"] == "not_estimable"
    assert "st-elsewhere" in report["outcome"]["versus_alone"]["not_estimable"]
    assert report["performance"]["worst_site"]["id"] != "st-elsewhere"
    assert all(one["validation"]["st-elsewhere"]["value"] is None for one in report["rounds"])
    text = text_of(render_html(report))
    assert "withheld" in text
    assert (
        "fewer than 11" not in text.split("Data at each hospital")[1].split("Privacy")[0]
    )  # of its test images many may be left


def test_without_an_audit_and_under_privacy_nothing_is_withheld():
    sites = [entry("a", 5, [3, 4], 5, (1, 2))]
    for one in (None, audit(["a"], epsilon=1.0)):
        held = held_back(sites, one)
        assert [without_numbers(site, held) for site in sites] == sites
    assert all("withheld" not in site for site in build_report(make_summary(n_rounds=1))["sites"])
    assert all("withheld" not in site for site in build_report(make_private_summary(n_rounds=1))["sites"])


def test_a_score_on_ten_of_a_class_rests_on_few_where_eleven_are_asked_for():
    scores = draw_scores(3, 400, 1.0)
    assert not rests_on_few(scores, K)
    assert rests_on_few(scores, scores.classes[0].n_positive + 1)
