"""The officer's page, asked as a browser would and as a hostile page in the same browser could."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode, urlsplit

import pytest

pytest.importorskip("syft_rds")

from protocol.errors import ApprovalError
from protocol.governance.shown import shown
from protocol.governance.submission import pack
from protocol.plan import Plan
from silo_node.governance.page.server import ReviewPage
from silo_node.governance.page.views import error_page
from tests.silo_node.governance.test_office import Story, a_plan
from tests.silo_node.governance.test_program import MODULE, coded_plan


class Browser:
    """Asks the page for things; forms are posted as the page's own would be."""

    def __init__(self, page: ReviewPage) -> None:
        parts = urlsplit(page.address)
        self.port, self.root = parts.port or 0, parts.path
        self.token = parts.path.strip("/")

    def ask(
        self, path: str = "", form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, Mapping[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        place = path if path.startswith("/") else self.root + path
        body = None if form is None else urlencode(form)
        kind = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("GET" if form is None else "POST", place, body, {**kind, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, dict(answer.headers)


def handed_over(story: Story) -> Story:
    story.meet()
    story.researcher().submit(a_plan(), "north", note="<script>alert(1)</script>")
    story.sync()
    return story


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return handed_over(Story(tmp_path))


@contextmanager
def opened(story: Story) -> Iterator[Browser]:
    page = ReviewPage(story.office, "north", "ann", story.keys["ann"], story.keys["north"], lambda: "Nothing yet.")
    thread = Thread(target=page.serve)
    thread.start()
    try:
        yield Browser(page)
    finally:
        page.close()
        thread.join(20)


@pytest.fixture
def browser(story: Story) -> Iterator[Browser]:
    with opened(story) as browser:
        yield browser


def decision(browser: Browser, verdict: str = "approve", **other: str) -> dict[str, str]:
    return {"token": browser.token, "digest": a_plan().digest, "verdict": verdict, "reason": "we looked at it", **other}


def status(story: Story) -> str:
    return story.office.approvals.standing(a_plan().digest).status


def test_an_officer_finds_the_plan_reads_it_and_approves_it(story: Story, browser: Browser) -> None:
    code, text, _ = browser.ask()
    assert (code, a_plan().digest in text) == (200, True)
    code, text, _ = browser.ask(f"plan?digest={a_plan().digest}")
    assert code == 200
    assert "What leaves each round?" in text
    assert "Nothing yet." in text
    code, _, headers = browser.ask("decide", decision(browser))
    assert (code, status(story)) == (303, "approved")
    code, text, _ = browser.ask(headers["Location"])
    assert "by ann until" in text
    (answer,) = story.researcher().answers()
    assert answer.status == "approved"


def test_a_withdrawal_and_a_rejection_need_a_reason(story: Story, browser: Browser) -> None:
    for verdict in ("withdraw", "reject"):
        code, text, _ = browser.ask("decide", decision(browser, verdict, reason=" "))
        assert (code, "give a reason" in text, status(story)) == (400, True, "pending")
    browser.ask("decide", decision(browser, "reject"))
    assert status(story) == "rejected"


def test_the_page_says_who_else_must_agree_withdraws_and_knows_when_an_approval_has_ended(tmp_path: Path) -> None:
    story, place = handed_over(Story(tmp_path, needed=2)), f"plan?digest={a_plan().digest}"
    with opened(story) as browser:

        def shows() -> str:
            return " ".join(browser.ask(place)[1].split())

        assert "2 of 2: ann has said nothing yet; bob has said nothing yet." in shows()
        assert 'value="withdraw"' not in shows()
        browser.ask("decide", decision(browser))
        assert "ann approved, until 2027-02-19; bob has said nothing yet." in shows()
        assert "waits for the word of 1 of its data officers: bob" in shows()
        assert "Withdraw your approval" in shows()
        assert "1 of its data officers: bob" in browser.ask()[1]
        story.say("approve", "bob")
        assert 'class="mark approved"' in shows()
        assert "Withdraw the approval" in shows()
        story.clock += timedelta(days=story.policy.approval_days)
        assert 'class="mark expired"' in shows()
        assert "Approve as ann" in shows()
        browser.ask("decide", decision(browser))
        story.say("approve", "bob")
        assert 'class="mark approved"' in shows()
        code, _, _ = browser.ask("decide", decision(browser, "withdraw", reason="consent was withdrawn"))
        assert (code, status(story)) == (303, "withdrawn")
        assert "ann withdrew; bob approved" in shows()
        with pytest.raises(ApprovalError, match="withdrew the approval"):
            story.office.approvals.require(a_plan().digest)


def test_what_a_researcher_writes_stays_text(browser: Browser) -> None:
    _, text, headers = browser.ask(f"plan?digest={a_plan().digest}")
    assert "<script" not in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/wrong-secret/", {}),
        ("", {"Host": "north.example"}),
        ("", {"Origin": "http://elsewhere.example"}),
    ],
)
def test_without_the_secret_or_from_elsewhere_nothing_is_shown(browser: Browser, path: str, headers: dict[str, str]) -> None:
    code, text, _ = browser.ask(path, headers=headers)
    assert code == 403
    assert a_plan().digest not in text


@pytest.mark.parametrize(
    ("changed", "headers"),
    [
        ({"token": ""}, {}),
        ({"token": "x" * 32}, {}),
        ({}, {"Origin": "http://elsewhere.example"}),
        ({}, {"Host": "rebound.example"}),
        ({"verdict": "publish"}, {}),
        ({"digest": "sha256:" + "0" * 64}, {}),
    ],
)
def test_a_form_that_is_not_of_this_page_decides_nothing(
    story: Story, browser: Browser, changed: dict[str, str], headers: dict[str, str]
) -> None:
    code, _, _ = browser.ask("decide", decision(browser, **changed), headers)
    assert code in (400, 403)
    assert status(story) == "pending"


def test_a_form_larger_than_any_of_ours_is_not_read(story: Story, browser: Browser) -> None:
    code, _, _ = browser.ask("decide", decision(browser, reason="x" * 100_000))
    assert (code, status(story)) == (400, "pending")


class Labels(HTMLParser):
    """Which fields a page has, and which are named for those who cannot see it."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: set[str] = set()
        self.named: set[str] = set()
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag in ("textarea", "select") or (tag == "input" and facts.get("type") != "hidden"):
            self.fields.add(facts.get("id") or "")
        if tag == "label":
            self.named.add(facts.get("for") or "")
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)


def test_every_field_is_named_and_headings_descend(story: Story, browser: Browser) -> None:
    hand_over(story, coded_plan())
    for path in ("", f"plan?digest={a_plan().digest}", f"plan?digest={coded_plan().digest}"):
        labels = Labels()
        labels.feed(browser.ask(path)[1])
        assert labels.fields <= labels.named
        assert labels.headings[0] == "h1"
        assert labels.headings.count("h1") == 1


def test_a_connection_that_says_nothing_keeps_nobody_waiting(browser: Browser) -> None:
    with socket.create_connection(("127.0.0.1", browser.port)) as silent:
        silent.sendall(b"GET ")
        assert browser.ask()[0] == 200


def test_text_that_would_run_backwards_or_move_the_cursor_is_made_visible() -> None:
    assert "\u202e" not in error_page("plan \u202eesrever", "north")
    assert shown("a\x1b[2Jb\r\n\tc") == "a\ufffd[2Jb\ufffd\n\tc"


def hand_over(story: Story, plan: Plan, at: str = "2026-11-21T09:00:00Z") -> None:
    files = pack(plan, story.keys["alice"], researcher="alice", hospital="north", cohort="", note="", at=at)
    story.office._book.take_up(f"job-{at}", "alice@demo.invalid", files)


def program_of(plan: Plan) -> str:
    assert plan.code is not None
    return plan.code.sha256


def test_a_program_is_approved_only_with_the_tick_that_names_it(story: Story, browser: Browser) -> None:
    plan, other = coded_plan(), coded_plan(MODULE + "x = 1\n")
    hand_over(story, plan)
    assert browser.ask()[1].count("brings a program") == 1
    _, text, _ = browser.ask(f"plan?digest={plan.digest}")
    assert f'name="code" value="{program_of(plan)}"' in text
    for tick in ("", "on", program_of(plan)[:11], program_of(other)):
        code, text, _ = browser.ask("decide", decision(browser, digest=plan.digest, code=tick))
        assert (code, "tick" in text) == (400, True)
    assert story.office.approvals.standing(plan.digest).status == "pending"
    browser.ask("decide", decision(browser, digest=plan.digest, code=program_of(plan)))
    assert story.office.approvals.standing(plan.digest).status == "approved"
    assert story.office.approvals.standing(other.digest).status == "pending"


def test_a_program_is_text_of_the_page_and_nothing_else(story: Story, browser: Browser) -> None:
    plan = coded_plan(MODULE + "# </code></li></ol><script>alert(1)</script> \u202e\u2028\n# <style>*{display:none}</style>\n")
    hand_over(story, plan)
    code, text, headers = browser.ask(f"plan?digest={plan.digest}")
    assert code == 200
    assert "script-src" not in headers["Content-Security-Policy"]
    assert ("<script" not in text, text.count("<style"), "\u202e" not in text) == (True, 1, True)
    assert '<mark title="RIGHT-TO-LEFT OVERRIDE">[U+202E]</mark>' in text
    assert text.count("<li><code>") == len(MODULE.splitlines()) + 2


def test_what_changed_in_a_program_is_shown_line_by_line(story: Story, browser: Browser) -> None:
    first, second = coded_plan(), coded_plan(MODULE.replace("import torch\n", "import torch\nimport ctypes\n"))
    hand_over(story, first)
    hand_over(story, second, "2026-11-21T10:00:00Z")
    browser.ask("decide", decision(browser, digest=first.digest, code=program_of(first)))
    _, text, _ = browser.ask(f"plan?digest={second.digest}")
    assert "<ins>+import ctypes</ins>" in text
    assert "7 lines" in text
    assert "It imports what networks seldom need: ctypes." in text
