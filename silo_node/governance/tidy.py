"""What a hospital may throw away of its governance: old messages that were taken or put aside, and plans rejected long ago.

What stays: every decision, plans that wait or ever were approved, keys. A plan that was removed is in PySyft's own memory still
and not taken up again; its researcher can hand it over anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from protocol.governance.decisions import Decision, moment
from protocol.governance.pysyft.share import Share
from protocol.service_leftovers import Leftover
from silo_node.governance.approvals import ApprovedByOfficers
from silo_node.governance.requests import RequestBook

_DAY_S = 86_400.0


def old_messages(share: Share, hospital: str, older_than_days: float, now: float) -> Iterator[Leftover]:
    """Of each sender, what was taken or put aside so many days ago. `hospital`: its email, `now`: seconds since 1970."""
    for kind, words in (("archive", "taken"), ("quarantine", "put aside")):
        folder = share.at("p2p", hospital, kind)
        for sender in sorted(folder.iterdir()) if folder.is_dir() else ():
            days = {sender / name: (now - (sender / name).stat().st_mtime) / _DAY_S for name in share.names(sender)}
            old = tuple(path for path, age in days.items() if age >= older_than_days)
            if old:
                yield Leftover(f"messages of {sender.name} that were {words}", min(days[path] for path in old), old, None)


def old_rejections(book: RequestBook, approvals: ApprovedByOfficers, older_than_days: float, now: float) -> Iterator[Leftover]:
    """Plans that stand rejected since so many days, and were never approved. Raises ApprovalError for unreadable decisions."""
    decisions = approvals.log.decisions()
    for request in book.all():
        theirs = [one for one in decisions if one.plan_digest == request.digest]
        if approvals.standing(request.digest).status != "rejected" or any(one.verdict == "approve" for one in theirs):
            continue
        days = (now - _last(theirs)) / _DAY_S
        if days >= older_than_days:
            name = f"rejected plan {request.handed_over.plan.name} {request.digest.removeprefix('sha256:')[:12]}"
            yield Leftover(name, days, tuple(book.files(request.digest)), None)


def _last(decisions: list[Decision]) -> float:
    return max(moment(one.at).timestamp() for one in decisions)
