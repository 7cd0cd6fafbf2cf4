"""What a check found, and at whose place."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from protocol.errors import FedwardError

State = Literal["ok", "broken", "missing", "unchecked"]
_UNREADABLE = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
FAILING: tuple[State, ...] = ("broken", "missing")


@dataclass(frozen=True, slots=True)
class Finding:
    """`broken`: it is not what it claims to be. `missing`: what would show it is not here. `unchecked`: nothing was looked at.

    `who` is the party at whose place it is: a silo, the aggregator, the report; empty for all of them.
    """

    state: State
    check: str
    who: str
    what: str


@dataclass
class Findings:
    """All of them, in the order of the checks."""

    found: list[Finding] = field(default_factory=list)

    def add(self, state: State, check: str, who: str, what: str) -> None:
        """One more, unless it was said before."""
        finding = Finding(state, check, who, what)
        if finding not in self.found:
            self.found.append(finding)

    @property
    def sound(self) -> bool:
        """Whether nothing is broken or missing."""
        return not any(one.state in FAILING for one in self.found)

    def checking(self, check: str, who: str) -> Checking:
        """Whatever cannot be read or does not fit is broken; foreign bytes may fail a check in ways nobody thought of."""
        return Checking(self, check, who)

    def counted(self, check: str, text: str, before: int) -> None:
        """One line that a check went well, unless it found something since there were `before` findings."""
        if all(one.state == "unchecked" for one in self.found[before:]):
            self.add("ok", check, "", text)


@dataclass(frozen=True)
class Checking:
    """Turns what goes wrong inside it into a finding."""

    findings: Findings
    check: str
    who: str

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if isinstance(error, FedwardError):
            self.findings.add("broken", self.check, self.who, str(error))
        elif isinstance(error, _UNREADABLE):
            what = f"it cannot be read as what it should be ({type(error).__name__})"
            self.findings.add("broken", self.check, self.who, what)
        else:
            return False
        return True
