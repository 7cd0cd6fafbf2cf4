"""What Prometheus may read of a node: how it is, never what it holds. The budget is the hospital's own page."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)


class SiloMetrics:
    """One registry a node. `connected`: is the broker reached now; `share_spent`: how much of the privacy budget is gone."""

    def __init__(self, silo: str, connected: Callable[[], bool], share_spent: Callable[[], float]) -> None:
        self.registry = own = CollectorRegistry()
        Gauge("fedward_silo_info", "This node", ["silo"], registry=own).labels(silo).set(1)
        link = Gauge("fedward_broker_connected", "1 while the broker is reached", registry=own)
        link.set_function(lambda: float(connected()))
        spent = Gauge("fedward_budget_share_spent", "Share of the hospital's privacy budget that is spent", registry=own)
        spent.set_function(share_spent)
        self._busy = Gauge("fedward_busy", "1 while a request is answered", ["kind"], registry=own)
        self._requests = Counter("fedward_requests", "Requests by kind and outcome", ["kind", "outcome"], registry=own)
        self._seconds = Histogram("fedward_request_seconds", "Time to answer", ["kind"], buckets=_SECONDS, registry=own)
        self._last = Gauge("fedward_last_request_timestamp_seconds", "When the last one was answered", registry=own)

    def begin(self, kind: str) -> None:
        """A request is at hand."""
        self._busy.clear()
        self._busy.labels(kind).set(1)

    def end(self) -> None:
        """It is not any more."""
        self._busy.clear()

    def answered(self, kind: str, outcome: str, seconds: float) -> None:
        """What came of it."""
        self._requests.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)
        self._last.set_to_current_time()

    def page(self) -> bytes:
        """Prometheus text."""
        return generate_latest(self.registry)
