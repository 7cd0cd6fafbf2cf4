"""report.html: made from report.json alone, loads nothing, runs nothing, reads well in every light."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from evaluation.report import render
from evaluation.report.build import build_report
from evaluation.report.figures.forest import forest
from evaluation.report.figures.svg import ACCENT
from evaluation.report.render import render_html
from evaluation.report.write import write_report
from protocol.errors import EvaluationError
from tests.evaluation.made_up_runs import make_summary
from tests.evaluation.test_report_content import with_round, without_a_third

VOID = {"meta", "br", "hr", "img", "link", "input", "path", "use", "rect"}
NASTY = '<script>alert("1")</script> $x$ --> 病院'


class Page(HTMLParser):
    """Tags that do not nest, ids that are not unique, every tag and attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


@pytest.fixture(scope="module")
def report():
    return build_report(make_summary(n_rounds=5))


@pytest.fixture(scope="module")
def html(report):
    return render_html(report)


def test_page_is_well_formed_with_unique_ids_and_targets_for_every_link(html):
    page = Page(html)
    assert page.open == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    targets = [value for value in page.values("href") if value.startswith("#")]
    targets += [f"#{found}" for value in page.values("clip-path") for found in re.findall(r"url\(#(.*)\)", value)]
    assert {target[1:] for target in targets} <= set(ids)


def test_page_loads_nothing_and_runs_nothing(html):
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "img", "image", "form"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    assert all(value.startswith("#") for value in page.values("href"))
    assert "://" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_page_is_the_same_bytes_every_time_and_from_the_file_alone(report, tmp_path):
    json_path, html_path = write_report(report, tmp_path / "first" / "deep")
    again = write_report(json.loads(json_path.read_text(encoding="utf-8")), tmp_path / "second")
    assert json_path.read_bytes() == again[0].read_bytes()
    assert html_path.read_bytes() == again[1].read_bytes()
    assert sorted(path.name for path in html_path.parent.iterdir()) == ["report.html", "report.json"]


def test_what_people_wrote_is_shown_not_run():
    summary = make_summary({NASTY: 60, "b": 60}, n_rounds=4)
    summary = dataclasses.replace(summary, job=NASTY, title=NASTY, intended_use=NASTY, software={NASTY: NASTY})
    summary = with_round(summary, 0, trained=("b",), aggregated=("b",), train_loss={}, failures={NASTY: NASTY})
    html = render_html(build_report(summary))
    page = Page(html)
    assert "script" not in page.tags
    assert page.open == []
    assert any(NASTY in text for text in page.text)


@pytest.mark.parametrize(
    ("n_tests", "n_classes", "models"),
    [
        ({"only": 80}, 2, {}),
        ({"only": 6}, 4, {"personalised": False}),
        ({"only": 80}, 3, {"alone": False}),
        ({f"hospital {index}": 60 for index in range(6)}, 4, {"alone": False, "personalised": False}),
    ],
)
def test_page_renders_whatever_the_plan_asked_for(n_tests, n_classes, models):
    page = Page(render_html(build_report(make_summary(n_tests, n_rounds=2, n_classes=n_classes, **models))))
    assert page.open == []
    assert "epsilon: infinite (no differential privacy)" in "".join(page.text)


def test_page_renders_without_rounds_validation_or_scores():
    summary = make_summary({"a": 40, "b": 30}, n_rounds=1)
    sites = tuple(dataclasses.replace(site, federated=None, alone=None, personalised=None) for site in summary.sites)
    bare = with_round(summary, 0, validation={}, train_loss={})
    for one in (bare, dataclasses.replace(bare, sites=sites), dataclasses.replace(summary, rounds=())):
        assert Page(render_html(build_report(one))).open == []


def test_a_repeated_round_is_shown_beside_the_attempt_that_failed():
    summary = make_summary({"a": 40, "b": 40}, n_rounds=2)
    lost = dataclasses.replace(
        summary.rounds[1], trained=("a",), aggregated=(), failures={"b": "TransportError: gone"}, train_loss={}, validation={}
    )
    second = dataclasses.replace(summary.rounds[1], attempt=2)
    html = render_html(build_report(dataclasses.replace(summary, rounds=(summary.rounds[0], lost, second))))
    assert "trained, not aggregated" in html
    assert "′ the round was tried again" in html
    assert "round 2: TransportError: gone" in "".join(Page(html).text)


def test_tables_and_figures_speak_to_those_who_cannot_see_them(html):
    page = Page(html)
    assert page.values("lang") == ["en"]
    assert all(scope in ("col", "row") for scope in page.values("scope"))
    assert len(page.values("scope")) == page.tags["th"]
    assert page.tags["caption"] == page.tags["table"]
    figures = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len(figures) == page.tags["svg"] == 6
    assert all(len(label) > 60 for label in figures)


def test_colours_have_the_contrast_that_wcag_aa_asks_for():
    style = (Path(render.__file__).parent / "style.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", line)) for line in style.splitlines() if "--paper:" in line]
    assert len(schemes) == 3
    for colours in schemes:
        for text in ("ink", "muted", "accent", "warn"):
            for ground in ("paper", "raised"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        assert contrast(colours["faint"], colours["paper"]) >= 2.2  # context lines only


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_what_is_not_a_report_is_refused_and_nothing_is_written(report, tmp_path):
    damaged = [
        {},
        report | {"schema_version": "fedward.report/99"},
        {key: value for key, value in report.items() if key != "sites"},
        report | {"performance": None},
        report | {"generated_at": "yesterday"},
        report | {"job": float("nan")},
        report | {"sites": [{**report["sites"][0], "auroc": {"value": "<b>", "lo": 0, "hi": 1, "status": "ok"}}]},
    ]
    for one in damaged:
        with pytest.raises(EvaluationError):
            write_report(one, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_page_says_where_a_difference_was_not_paired(report):
    text = " ".join("".join(Page(render_html(report)).text).split())
    assert "though their difference is clear. Each verdict stands" in text
    old = json.loads(json.dumps(report))
    del old["sites"][0]["versus_alone"]["federated"]["method"]  # as a report of the first release
    assert "Not at charite: there the two are compared as if" in " ".join("".join(Page(render_html(old)).text).split())


def text_of(html: str) -> str:
    return " ".join("".join(Page(html).text).split())


def test_page_says_who_took_no_part_and_why():
    html = render_html(build_report(without_a_third()))
    text, page = text_of(html), Page(html)
    assert "A third hospital, c, never took part in training: no patient of this cohort has the label" in text
    assert "at 2 of 3 hospitals; 370 test images" in text
    assert "hospitals that can be compared; 1 cannot" in text
    assert "too few test images" not in text
    assert "took no part no patient of this cohort has the label 'finding'; see data.label" in text
    forest = next(value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label")
    assert "c, federated took no part (no patient of this cohort" in forest
    assert "scored at 2 of 3" in html  # beside the two figures of all hospitals
    assert "at 3 hospitals, 2 of which trained" in text_of(render_html(build_report(without_a_third(described=True))))


def test_page_still_shows_a_report_of_a_release_that_did_not_say_why(report):
    old = json.loads(json.dumps(report))
    for key in ("n_sites_described", "n_sites_trained"):
        del old["cohort"][key]
    del old["outcome"]["never_trained"]
    for site in old["sites"]:
        del site["never_trained"]
        for kind in ("auroc", "alone", "personalised"):
            site[kind].pop("why", None)
    assert "too few test images" in text_of(render_html(old))


@pytest.mark.parametrize(("kind", "place"), [("pooled", "global"), ("within", "stratified")])
@pytest.mark.parametrize("status", ["ok", "wide"])
def test_diamonds_are_filled_and_hollow_as_the_legend_says(monkeypatch, report, kind, place, status):
    drawn: dict[str, tuple[bool, str]] = {}

    def fill(axes, *corners, facecolor, linestyle, **_):
        drawn[f"{corners[0][1]:.6f}"] = (facecolor == ACCENT, "broken" if linestyle != "-" else "whole")

    monkeypatch.setattr(Axes, "fill", fill)
    changed = json.loads(json.dumps(report))
    estimate = changed["performance"][place]["auroc"]
    estimate["status"] = status
    forest(changed, "forest", narrow=False)
    assert drawn[f"{estimate['value']:.6f}"] == ((True, "whole") if status == "ok" else (False, "broken"))


def test_page_speaks_of_images_where_images_are_compared(html):
    text = text_of(html)
    assert not re.search(r"ranks patients|compares (all|only) patients|compares patients|patients of the same hospital", text)
    assert "the figure within hospitals allow for that, the pooled interval does not" in text
    assert "every count of test data is of images" in text


def test_page_says_how_to_check_digests_and_why_a_curve_is_missing(html):
    text = text_of(html)
    assert "canonical JSON (RFC 8785). Model: SHA-256 of the tensors' little-endian float32 bytes" in text
    assert "fewer than ten validation images of either class, or with those of a class all of one patient, has no curve" in text
    assert "MLflow and the console show AUROCs on so few images too" in text


@pytest.mark.parametrize(
    ("evaluation", "says"),
    [
        ({"personalise": "fine_tune"}, "trained on at the hospital"),
        ({"personalise": "mix"}, "mixed with the hospital"),
        ({"personalise": "none"}, "with the parts that never leave the hospital"),
        ({}, "with the parts that never leave the hospital"),
    ],
)
def test_the_page_says_how_personalised_models_were_made(evaluation: dict[str, str], says: str) -> None:
    from evaluation.report.texts import how_personalised

    assert says in how_personalised({"plan": {"content": {"evaluation": evaluation}}})


@pytest.mark.parametrize(
    ("rounds", "says"),
    [
        (["4"], "4"),
        (["1", "2"], "1, 2"),
        (["1", "3", "4", "5", "7"], "1, 3 to 5, 7"),
        (["1", "2", "2 (attempt 2)", "3", "4"], "1, 2, 2 (attempt 2), 3, 4"),
    ],
)
def test_rounds_that_follow_one_another_are_said_by_the_first_and_the_last(rounds: list[str], says: str) -> None:
    assert render._in_runs(rounds) == says
