"""How many plans may lie at a hospital: of one researcher, and of all. Beyond that one is refused by name, never dropped."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.governance.bounds import Bound
from protocol.governance.standing import Standing
from silo_node.governance.requests import Request, RequestBook

UNDECIDED, UNDECIDED_IN_ALL = 32, 256
"""Plans that wait for the officers' word."""
KEPT, KEPT_IN_ALL = Bound(500, 32 << 20), Bound(4000, 256 << 20)
"""All plans, and their bytes."""


@dataclass
class Room:
    """What lies at the hospital now, counted once; `take` counts what comes."""

    waiting: dict[str, int]
    kept: dict[str, Bound]

    @classmethod
    def of(cls, book: RequestBook, found: tuple[tuple[Request, Standing], ...]) -> Room:
        """Of the requests in `book`, with their standing."""
        room = cls({}, {})
        for request, standing in found:
            room._count(request.sender, book.size(request.digest), waits=standing.status == "pending")
        return room

    def why_not(self, sender: str, size: int) -> str:
        """Why one more plan of so many bytes is not taken up, in words for its sender; "" if it is."""
        waits, kept = self.waiting.get(sender, 0), self.kept.get(sender, Bound(0, 0))
        if waits >= UNDECIDED or sum(self.waiting.values()) >= UNDECIDED_IN_ALL:
            whose = f"{waits} of yours" if waits >= UNDECIDED else "as many as it takes"
            return f"too many plans wait here, {whose}: hand it over again once the data officers have decided on some."
        files, bytes_ = sum(one.files for one in self.kept.values()), sum(one.size for one in self.kept.values())
        full = kept.files >= KEPT.files or kept.size + size > KEPT.size
        if full or files >= KEPT_IN_ALL.files or bytes_ + size > KEPT_IN_ALL.size:
            return (
                "this hospital keeps no more plans: ask it to remove rejected ones (fedward silo tidy), and hand it over again."
            )
        return ""

    def take(self, sender: str, size: int) -> None:
        """One more waits now."""
        self._count(sender, size, waits=True)

    def _count(self, sender: str, size: int, *, waits: bool) -> None:
        before = self.kept.get(sender, Bound(0, 0))
        self.kept[sender] = Bound(before.files + 1, before.size + size)
        self.waiting[sender] = self.waiting.get(sender, 0) + waits
