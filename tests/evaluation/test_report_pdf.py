"""report.pdf: PDF/A-3 with report.json inside, the same bytes every time; and what is said where it cannot be made."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import zlib

import pytest

from evaluation.report.finish import finished
from evaluation.report.pdf import read_report, render_pdf
from protocol.errors import EvaluationError, InputError
from tests.evaluation.made_up_audit import audited_report

# WeasyPrint leaves a colour profile open, and its libraries use what Python deprecates.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{name}")
    for name in ("DeprecationWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning")
]


def everything(pdf: bytes) -> bytes:
    """The file and what its compressed streams hold."""
    parts = [pdf]
    for found in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            parts.append(zlib.decompress(found[1]))
    return b"\n".join(parts)


@pytest.fixture(scope="module")
def content():
    return (json.dumps(finished(audited_report(n_rounds=2)), indent=2) + "\n").encode()


@pytest.fixture(scope="module")
def pdf(content):
    try:
        return render_pdf(json.loads(content), content)
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_the_pdf_holds_report_json_byte_by_byte(pdf, content):
    assert read_report(pdf) == content


@pytest.mark.slow
def test_the_pdf_says_it_is_archival_and_tagged(pdf):
    found = everything(pdf)
    assert re.search(rb'pdfaid:part(="|>)3', found)
    assert b"/AFRelationship/Source" in found.replace(b" ", b"")
    for key in (b"/MarkInfo", b"/OutputIntents", b"/StructTreeRoot"):
        assert key in found


@pytest.mark.slow
def test_the_same_report_gives_the_same_bytes(pdf, content):
    assert render_pdf(json.loads(content), content) == pdf


@pytest.mark.parametrize(
    ("module", "says"),
    [(None, "pip install 'fedward[pdf]'"), (OSError("cannot load library 'pango-1.0-0'"), "apt-get install")],
)
def test_what_is_missing_is_named_with_the_way_to_get_it(monkeypatch, content, module, says):
    if module is None:
        monkeypatch.setitem(sys.modules, "weasyprint", None)
    else:

        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == "weasyprint":
                    raise module

        monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(InputError) as caught:
        render_pdf(json.loads(content), content)
    assert says in str(caught.value)


def test_a_pdf_without_a_report_is_refused():
    with pytest.raises(EvaluationError, match=r"holds no report\.json"):
        read_report(b"%PDF-1.7\n%%EOF")
