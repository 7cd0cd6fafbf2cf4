"""Carries governance between the coordinator's share and the hospitals', over the broker, while no job is at work."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from protocol.errors import FedwardError
from protocol.governance.courier import Courier, decode_answer, encode
from protocol.governance.pins import email_of
from protocol.governance.pysyft.share import Share
from protocol.governance.reports import FILES, put_report
from protocol.transport.base import Failure, Transport

_log = logging.getLogger(__name__)
EVERY_S = 10.0
_DEADLINE_S = 60.0
_ROUNDS = 16


class Post:
    """The share in `folder`, whose other ends are at the silos of `transport`. Without the folder nothing is carried."""

    def __init__(self, folder: Path, transport: Transport, consortium: str, every_s: float = EVERY_S) -> None:
        self._folder, self._transport, self._consortium, self._every_s = folder, transport, consortium, every_s
        self._couriers: dict[str, Courier] = {}
        self._last = 0.0

    def lay_out(self, plan_digest: str, results: Path) -> None:
        """Put the report of a finished job where the hospitals that took part get it, which give it back to the researcher.

        A hospital that refused the plan, or was never asked, gets nothing of it.
        """
        if not self._folder.is_dir():
            return
        files = {name: (results / name).read_bytes() for name in FILES}
        for silo in _took_part(files["report.json"]):
            put_report(self._reports(), email_of(silo, self._consortium), plan_digest, files)
        self._last = -self._every_s

    def carry(self, silos: Sequence[str]) -> None:
        """Bring every share up to date, if the last time is long enough ago. A silo that is not reached is asked next time."""
        if not self._folder.is_dir() or time.monotonic() < self._last + self._every_s:
            return
        open_ = {silo for silo in silos if silo in self._transport.silos}
        for _ in range(_ROUNDS):
            if not open_:
                break
            open_ = self._exchange(open_)
        self._last = time.monotonic()

    def _exchange(self, silos: set[str]) -> set[str]:
        """Ask each once; those that have more to carry."""
        asks = {silo: ask for silo in sorted(silos) if (ask := self._ask(silo))}
        more = set()
        for silo, reply in self._transport.exchange(asks, _DEADLINE_S):
            if isinstance(reply, Failure):
                _log.debug("%s gave no answer to the courier: %s", silo, reply.kind)
                continue
            try:
                if not self._courier(silo).take(decode_answer(bytes(reply))):
                    more.add(silo)
            except (FedwardError, OSError) as error:  # OSError: a file where a folder must be, a name that no disk takes
                fields = {"event": "what a silo gave the courier was not taken", "silo": silo, "reason": str(error)}
                _log.warning("%s: %s", silo, error, extra=fields)
                del self._couriers[silo]
        return more

    def _ask(self, silo: str) -> bytes:
        """Empty if the share cannot be read: the jobs go on without it."""
        try:
            return encode(self._courier(silo).ask())
        except (FedwardError, OSError) as error:
            fields = {"event": "the share could not be read", "silo": silo, "reason": str(error)}
            _log.warning("the share could not be read for %s: %s", silo, error, extra=fields)
            return b""

    def _courier(self, silo: str) -> Courier:
        if silo not in self._couriers:
            others = [email_of(one, self._consortium) for one in self._transport.silos if one != silo]
            self._couriers[silo] = Courier(Share(self._folder), email_of(silo, self._consortium), others, self._reports())
        return self._couriers[silo]

    def _reports(self) -> Share:
        """Beside the share: on it researchers could read the reports of others."""
        return Share(self._folder.with_name(f"{self._folder.name}-reports"))


def _took_part(report: bytes) -> list[str]:
    """The silos whose update counted in at least one round of a report of ours."""
    rounds = json.loads(report)["rounds"]
    return sorted({silo for one in rounds for silo in one["aggregated"]})
