"""No byte of a bundle can be changed, whichever file it stands in; nor can what is in it stop the checks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.verify.opened import Opened
from evaluation.verify.run import verify_opened
from protocol.evidence import bundle as names
from tests.evaluation.verify.jobs import Case


@settings(max_examples=60)
@given(data=st.data())
def test_a_byte_that_was_flipped_anywhere_is_found(open_job: Case, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(open_job.files)))
    position, flip = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, 255))
    files = dict(open_job.files)
    changed = bytearray(files[path])
    changed[position % len(changed)] ^= flip
    files[path] = bytes(changed)
    assert not verify_opened(Opened(files, open_job.keys), None).sound


@settings(max_examples=40)
@given(data=st.data())
def test_nor_in_what_others_signed_if_the_aggregator_signs_its_files_anew(summed_job: Case, data: st.DataObject) -> None:
    """README.txt and the file of keys are the aggregator's own; of everything else somebody else signed the content."""
    paths = [path for path in summed_job.files if path not in (names.README, names.KEYS, names.INDEX, names.COURSE)]
    path = data.draw(st.sampled_from(sorted(paths)))
    position, flip = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, 255))
    job = summed_job.copy()
    changed = bytearray(job.files[path])
    changed[position % len(changed)] ^= flip
    job.files[path] = bytes(changed)
    try:
        job.sign_again()
    except Exception:  # a checkpoint that cannot be read names no job to sign for
        job.files = summed_job.files | {path: bytes(changed)}
    assert not job.verify(again=False).sound


@settings(max_examples=30)
@given(data=st.data())
def test_whatever_stands_in_a_file_the_other_checks_still_run(open_job: Case, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(open_job.files)))
    files = dict(open_job.files) | {path: data.draw(st.binary(max_size=60))}
    findings = verify_opened(Opened(files, open_job.keys), open_job.report)
    assert not findings.sound
    assert findings.found[-1].check in ("report", "figures")
