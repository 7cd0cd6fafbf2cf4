"""One look at the share: researchers are let in, their plans taken up or refused, and told how they stand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protocol.errors import FedwardError
from protocol.governance.standing import Standing
from silo_node.governance.requests import Request, RequestBook
from silo_node.governance.room import Room

if TYPE_CHECKING:
    from protocol.governance.pysyft.plane import Plane
    from protocol.governance.pysyft.records import Submission

_log = logging.getLogger(__name__)


@dataclass
class Exchange:
    """`stands` says how the plan of a digest stands, `report` gives the files of its report, empty before there is one.

    `problems` gathers what could not be used, in words.
    """

    plane: Plane
    book: RequestBook
    stands: Callable[[str], Standing]
    report: Callable[[str], Mapping[str, bytes]]
    problems: list[str] = field(default_factory=list)

    def run(self, pinned: list[str]) -> tuple[str, ...]:
        """Look once. `pinned` may see what was published. Returns the problems."""
        if self.plane.mended:
            self.problems.append(self.plane.mended)
        self._let_in()
        self.plane.show_cohorts(pinned)
        found = self.plane.submissions()
        room = Room.of(self.book, tuple((one, self.stands(one.digest)) for one in self.book.all()))
        for one in found:
            try:
                self._take(one, room)
            except (FedwardError, OSError, ValueError) as error:
                self.problems.append(f"{one.name} of {one.researcher}: {error}")
        aside = self.plane.sync()
        self.problems += [f"a message of {who} could not be used and was put aside, or one to them not sent" for who in aside]
        self.problems += [f"{who} has handed over more than is taken at one look; look again" for who in self.plane.waiting]
        return tuple(self.problems)

    def _let_in(self) -> None:
        for who in self.plane.requests_for_contact():
            try:
                self.plane.let_in(who)
            except FedwardError as error:
                self.problems.append(f"{who} asks to be let in and was not: {error}")
            except Exception as error:  # whatever PySyft raises at what somebody put there as a key
                self.problems.append(f"{who} asks to be let in and was not: what it offers is no key ({type(error).__name__})")

    def _take(self, one: Submission, room: Room) -> None:
        request = self.book.read(one.name, one.researcher, one.files)
        if not self.book.holds(request.digest):
            if one.status == "rejected":  # for lack of room, or by officers and then tidied away
                return
            size = sum(len(data) for data in one.files.values())
            if why := room.why_not(one.researcher, size):
                self.problems.append(f"{one.name} of {one.researcher} was refused: {why}")
                self._say(one, lambda: self.plane.answer(one.name, one.researcher, approved=False, reason=f"not read: {why}"))
                return
            self.book.keep(request, one.files)
            room.take(one.researcher, size)
        self._say(one, lambda: self._tell(one, self.stands(request.digest), self.book.kept(request.digest)))

    def _say(self, one: Submission, how: Callable[[], None]) -> None:
        try:
            how()
        except Exception as error:  # whatever PySyft raises at a job that somebody prepared: the others go on
            _log.warning("an answer could not be sent: %s", type(error).__name__)
            self.problems.append(f"the answer to {one.name} of {one.researcher} could not be sent ({type(error).__name__})")

    def _tell(self, one: Submission, standing: Standing, kept: Request) -> None:
        """Let the researcher know how the plan stands, and give back the report once there is one.

        `kept` is the request that the officers read: only who handed that over gets the report, not who copied the plan.
        """
        if one.status == "pending" and standing.status in ("approved", "rejected"):
            said = f"{standing.status} {standing.why}"
            self.plane.answer(one.name, one.researcher, approved=standing.status == "approved", reason=said)
        theirs = one.researcher == kept.sender and one.status in ("pending", "approved")
        if theirs and standing.status == "approved" and (report := self.report(kept.digest)):
            self.plane.return_results(one.name, report, one.researcher)
