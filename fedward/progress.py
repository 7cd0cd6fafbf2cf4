"""Live progress of a job: one line a silo, the global curve, the rounds; plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from fedward.printed import print_result

if TYPE_CHECKING:
    from aggregator.events import Event
    from privacy.spent import Spent

__all__ = ["Progress", "print_result"]

_SPARKS = "▁▂▃▄▅▆▇█"


class Progress:
    """An observer that draws. Everything goes to standard error, so that --json stays alone on standard output."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, emoji=False)
        self._bars = Bars(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            console=self.console,
        )  # fmt: skip
        self._task = self._bars.add_task("opening the cohorts", total=None)
        self._silos: dict[str, dict[str, str]] = {}
        self._curve: list[float] = []
        self._spent: Spent | None = None
        self._epsilon = ""
        self._title = "fedward"
        self._live = Live(console=self.console, refresh_per_second=8, get_renderable=self._draw, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        getattr(self, f"_on_{type(event).__name__}")(event)

    # ------------------------------------------------------------------------------------------------------------ events

    def _on_JobOpened(self, event: Any) -> None:
        from privacy.spent import Spent

        self._spent = None if event.plan.privacy.mechanism == "none" else Spent(event.plan)
        self._title = f"{event.plan.title or event.plan.name}"
        for silo in event.roster.configured:
            self._silos[silo] = {"failure": event.roster.failures.get(silo, "")}
        self._bars.update(self._task, total=event.plan.federation.rounds, completed=event.committed, description="rounds")
        if event.committed:
            self._line(f"resumed: {event.committed} of {event.plan.federation.rounds} rounds were committed before")

    def _on_StepStarted(self, event: Any) -> None:
        self._bars.update(self._task, description=event.name)
        for silo in event.silos:
            self._silos.setdefault(silo, {})["state"] = "…"

    def _on_SiloAnswered(self, event: Any) -> None:
        row = self._silos.setdefault(event.silo, {})
        row["state"], row["failure"] = ("✗", event.failure) if event.failure else ("✓", "")
        if event.failure:
            self._line(f"{event.step}: {event.silo}: {event.failure}")

    def _on_RoundCommitted(self, event: Any) -> None:
        record = event.record
        for silo, loss in record.losses.items():
            self._silos.setdefault(silo, {})["loss"] = f"{loss:.3f}"
        self._bars.update(self._task, completed=record.round)
        if self._spent is not None:
            self._epsilon = f"{self._spent.after(record.round):.3g} of {self._spent.guarantee.epsilon:.3g}"
        if not event.replayed:
            losses = list(record.losses.values())
            known = [f"mean loss {sum(losses) / len(losses):.4f}"] if losses else []
            known += [f"epsilon {self._epsilon}"] if self._epsilon else []
            done = f"{len(record.aggregated)} of {len(record.configured)} silos"
            self._line(", ".join([f"round {record.round}: {done}", *known, f"{record.seconds:.1f} s"]), quiet=True)
            if record.rejected:
                self._line(f"round {record.round} was rejected: {record.rejected}")

    def _on_Scored(self, event: Any) -> None:
        from aggregator.tracking.names import of_scores

        parent, silos = of_scores(event.record)
        for silo, metrics in silos.items():
            for name, value in metrics.items():
                if "auroc" in name and not name.endswith("half_width"):
                    self._silos.setdefault(silo, {})[name] = f"{value:.3f}"
        if event.record.unsummed is not None and not event.replayed:
            self._line(f"{event.record.split} ({event.record.kind}): there is no sum: {event.record.unsummed}")
        if (whole := parent.get("global/val/auroc")) is not None:
            self._curve.append(whole)
            if not event.replayed:
                self._line(f"round {event.record.round}: global validation AUROC {whole:.4f}", quiet=True)

    def _on_Audited(self, event: Any) -> None:
        record = event.record
        if record.unsummed is not None:
            self._line(f"audit: there is no sum: {record.unsummed}")
        elif not event.replayed:
            self._line(f"audit: counts of {len(record.sites)} silos, {len(event.layout.groups)} groups", quiet=True)

    def _on_PhaseDone(self, event: Any) -> None:
        self._line(f"{event.record.phase} models: {len(event.record.seconds)} silos", quiet=True)

    # ----------------------------------------------------------------------------------------------------------- drawing

    def _line(self, text: str, *, quiet: bool = False) -> None:
        """A line that stays; `quiet` ones only where nothing is drawn live."""
        if not (quiet and self.console.is_terminal):
            self.console.print(text, markup=False, highlight=False)

    def _draw(self) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        columns = {"state": "", "loss": "loss", "val/auroc": "AUROC (val)", "test/auroc": "AUROC (test)"}
        columns |= {"test/auroc_alone": "alone (test)", "failure": ""}
        if self._spent is not None:  # no loss leaves a hospital, and no model of its own is scored
            columns = {key: title for key, title in columns.items() if key not in ("loss", "test/auroc_alone")}
        for column in ("silo", *columns.values()):
            table.add_column(column, justify="right" if column not in ("silo", "") else "left", no_wrap=True)
        for silo, row in self._silos.items():
            table.add_row(Text(silo), *(Text(row.get(key, "")[:60]) for key in columns))
        parts: list[Any] = [table]
        if self._epsilon:
            parts.append(Text(f"epsilon spent  {self._epsilon}", style="bold"))
        if self._curve:
            parts.append(Text(f"global AUROC (val)  {_spark(self._curve)}  {self._curve[-1]:.3f}", style="bold"))
        return Group(Panel(Group(*parts), title=Text(self._title), title_align="left", border_style="dim"), self._bars)


def _spark(values: list[float]) -> str:
    shown = values[-60:]
    low, high = min(shown), max(shown)
    return "".join(_SPARKS[int((value - low) / ((high - low) or 1.0) * (len(_SPARKS) - 1))] for value in shown)
