"""The page and `fedward audit compare` of a job whose audit scored another model too."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from evaluation.comparison import PAIRED, UNPAIRED
from evaluation.report.compare import compare_reports
from evaluation.report.figures.differences import difference_forest
from evaluation.report.finish import finished
from evaluation.report.render import render_html
from evaluation.report.schema import schema
from fedward.cli.audit_compare import compare
from tests.evaluation.audit.two_models import OTHER, audited, both, paired_layout
from tests.evaluation.made_up_audit import audit as made_up
from tests.evaluation.made_up_audit import audited_report
from tests.evaluation.test_report_page import Page, text_of

Report = dict[str, Any]


@pytest.fixture(scope="module")
def pair() -> tuple[Report, Report]:
    """A and B: B's audit scored A's model. A's own audit is made up, so its figures are others than B measured of it."""
    rng = np.random.default_rng(3)
    rows = both(rng, 400)
    rare = [{**one, "sex": "O" if index < 5 else one["sex"]} for index, one in enumerate(rows["a"].attributes)]
    rows["a"].attributes[:] = rare  # type: ignore[index]
    a = audited_report(n_rounds=1)
    b = copy.deepcopy(a) | {"job": "the-second"}
    shown = audited(paired_layout(), rows)
    shown["classes"][0]["name"] = shown["versus_baseline"]["classes"][0]["name"] = made_up()["classes"][0]["name"]
    b["audit"] = shown | {"fairness": made_up()["fairness"]}
    b["model"] = b["model"] | {"digest": "sha256:" + "22" * 32, "compared_with": a["model"]["digest"]}
    return finished(a), finished(b)


def rows_of(found: Report, figure: str) -> dict[tuple[str, str], Report]:
    return {(one["attribute"], one["value"]): one for one in found["figures"] if one["figure"] == figure}


def test_the_report_is_of_the_schema_and_a_difference_without_a_verdict_is_not(pair: tuple[Report, Report]) -> None:
    validator = Draft202012Validator(schema())
    assert not list(validator.iter_errors(pair[1]))
    broken = copy.deepcopy(pair[1])
    broken["audit"]["versus_baseline"]["classes"][0]["groups"][0]["auroc"]["verdict"] = "nicer"
    assert list(validator.iter_errors(broken))


def test_the_page_shows_every_group_beside_the_other_model_and_hides_who_is_hidden(pair: tuple[Report, Report]) -> None:
    html = render_html(pair[1])
    page, text = Page(html), text_of(html)
    assert page.open == []
    assert "Beside another model" in text
    assert "versus" in page.values("id")
    section = html.split('id="versus"')[1].split("</section>")[0]
    plot = next(value for tag, _, value in page.attributes if tag == "svg" and "differences of AUROCs" in value)
    for group in pair[1]["audit"]["versus_baseline"]["classes"][0]["groups"]:
        name = "Everyone" if group["attribute"] == "all" else group["value"]
        assert f">{name}</th>" in section
        row = section.split(f">{name}</th>")[1].split("</tr>")[0]
        if group["auroc"]["value"] is None:
            assert not any(letter.isdigit() for letter in text_of(row).replace("11", ""))
        else:
            assert f"{group['auroc']['value']:+.3f}".replace("-", "−") in row
            assert f"{group['auroc']['value']:+.3f}".replace("-", "−") in plot
    assert "O not shown" in plot
    assert page.tags["caption"] == page.tags["table"]


def test_a_report_without_another_model_has_no_such_section(pair: tuple[Report, Report]) -> None:
    assert 'id="versus"' not in render_html(pair[0])


def test_paired_differences_are_used_and_told_apart_from_the_others(pair: tuple[Report, Report]) -> None:
    found = compare_reports(*pair)
    versus = {(g["attribute"], g["value"]): g for g in pair[1]["audit"]["versus_baseline"]["classes"][0]["groups"]}
    everyone = rows_of(found, "auroc")["all", "all"]
    assert (found["paired"], everyone["method"]) == ("b", PAIRED)
    assert everyone["difference"]["value"] == versus["all", "all"]["auroc"]["value"]
    assert everyone["a"]["value"] == versus["all", "all"]["baseline"]["auroc"]["value"]  # on B's test patients
    assert rows_of(found, "average_precision")["all", "all"]["method"] == PAIRED
    assert rows_of(found, "sensitivity")["sex", "F"]["method"] in (UNPAIRED, None)
    assert rows_of(found, "auroc")["sex", "O"]["difference"]["value"] is None


def test_the_other_way_round_differences_change_their_sign(pair: tuple[Report, Report]) -> None:
    there, back = (rows_of(compare_reports(*each), "auroc")["all", "all"] for each in (pair, pair[::-1]))
    assert back["difference"]["value"] == -there["difference"]["value"]
    assert (back["difference"]["lo"], back["difference"]["hi"]) == (-there["difference"]["hi"], -there["difference"]["lo"])
    assert (there["verdict"], back["verdict"]) == ("higher", "lower")
    assert (back["a"], back["b"]) == (there["b"], there["a"])


def test_without_the_same_digest_nothing_is_paired(pair: tuple[Report, Report]) -> None:
    other = copy.deepcopy(pair[0])
    other["model"]["digest"] = "sha256:" + "33" * 32
    found = compare_reports(other, pair[1])
    assert found["paired"] is None
    assert {row["method"] for row in found["figures"]} <= {UNPAIRED, None}


def test_a_job_without_an_audit_is_paired_all_the_same(pair: tuple[Report, Report]) -> None:
    found = compare_reports(pair[0] | {"audit": None}, pair[1])
    everyone = [row for row in found["figures"] if (row["attribute"], row["figure"]) == ("all", "auroc")]
    assert [row["method"] for row in everyone] == [PAIRED]  # and not once more under no class
    assert rows_of(found, "auroc")["sex", "F"]["method"] == PAIRED


@pytest.mark.parametrize(
    ("order", "says", "says_not"),
    [
        ("ab", "Rows marked paired: B's audit scored A's model", "To pair the two"),
        ("ba", "Rows marked paired: A's audit scored B's model", "To pair the two"),
        ("aa", "A and B are the same job", "not known"),
        ("ac", "To pair the two", "Rows marked paired"),
    ],
)
def test_the_terminal_says_how_differences_were_made(
    order: str, says: str, says_not: str, pair: tuple[Report, Report], tmp_path: Path
) -> None:
    import typer

    app = typer.Typer()
    app.command()(compare)
    third = copy.deepcopy(pair[0]) | {"job": "a-third"}
    third["sites"][0]["store_digest"] = ""
    for name, report in zip("abc", (*pair, third), strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    done = CliRunner().invoke(app, [str(tmp_path / f"{name}.json") for name in order], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert says in done.output
    assert says_not not in done.output
    assert (", paired" in done.output) is ("marked paired" in says)


def test_the_plan_s_digest_of_the_file_is_in_the_report(pair: tuple[Report, Report]) -> None:
    assert pair[1]["audit"]["versus_baseline"]["weights"] == OTHER


@pytest.mark.parametrize("far", [0.012, 0.047, 0.055, 0.09, 0.3])
def test_ticks_of_the_differences_stand_at_the_distances_they_name(far: float) -> None:
    row = {"attribute": "all", "value": "all", "difference": {"value": 0.0, "lo": -far, "hi": far, "status": "ok", "why": None}}
    drawn = difference_forest([row], "1", 11, "ticks", narrow=False)
    assert drawn is not None
    named = [float(text.replace("−", "-")) for text in re.findall(r">([+−]?0(?:\.\d+)?)</text>", drawn)]
    assert len(named) > 4
    steps = np.diff(named)
    assert np.allclose(steps, steps[0])
