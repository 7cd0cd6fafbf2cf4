"""What is checked before a node serves: one line each, with what to do."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from privacy.ledger import Ledger
from protocol.consortium.certificates import load_certificate
from protocol.consortium.files import read_public
from protocol.consortium.folder import PartyFolder, ready
from protocol.errors import FedwardError
from protocol.transport.nats import Endpoint
from protocol.transport.nats.kit import endpoint_of
from protocol.transport.nats.probe import Visit, probe
from silo_node.cohort import CohortStore
from silo_node.policy import load_policy
from silo_node.service.checks import Check, check_clock, check_code
from silo_node.service.config import Places, SiloConfig
from silo_node.service.serve import share_spent

_FREE_WARN, _FREE_FAIL = 20 << 30, 2 << 30
_DAYS_WARN = 30
_TIMEOUT_S = 5.0


def preflight(config: SiloConfig, where: Places) -> Iterator[Check]:
    """Every check, as soon as it is known; none stops the others."""
    visits: list[Visit] = []
    checks: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("kit", lambda: _kit(where)),
        ("certificate", lambda: _certificate(where)),
        ("proxy", lambda: _proxy(config)),
        ("broker name", lambda: _dns(config, where)),
        ("broker", lambda: _broker(config, where, visits)),
        ("clock", lambda: check_clock(where, next((visit.ahead_s for visit in visits), None))),
        ("store", lambda: _store(where)),
        ("policy", lambda: _policy(config, where)),
        ("code", lambda: check_code(config, where)),
        ("ledger", lambda: _ledger(where)),
        ("disk", lambda: _disk(where)),
        ("device", lambda: _device(config)),
    )
    for name, check in checks:
        try:
            yield check()
        except FedwardError as error:
            yield Check(name, "failed", str(error))
        except OSError as error:
            says = ": ".join(str(part) for part in (error.filename, error.strerror or type(error).__name__) if part)
            yield Check(name, "failed", says, "check the path and its permissions")


def _kit(where: Places) -> Check:
    name, roster = ready(PartyFolder(where.kit))
    return Check("kit", "ok", f"{name} in {roster.consortium}, roster {roster.sequence}, {len(roster.active)} hospitals")


def _certificate(where: Places) -> Check:
    place = PartyFolder(where.kit)
    until = load_certificate(read_public(place.certificate).decode("utf-8", "replace")).not_valid_after_utc
    days = (until - datetime.now(UTC)).days
    if days < 0:
        return Check("certificate", "failed", f"ended on {until:%Y-%m-%d}", "fedward silo join --renew, or check the clock")
    if days < _DAYS_WARN:
        return Check("certificate", "warning", f"ends in {days} days", "fedward silo join --renew")
    return Check("certificate", "ok", f"until {until:%Y-%m-%d}")


def _proxy(config: SiloConfig) -> Check:
    if config.proxy is None:
        return Check("proxy", "ok", "none is used")
    target = urlsplit(config.proxy)
    try:
        with socket.create_connection((target.hostname or "", target.port or 8080), _TIMEOUT_S):
            return Check("proxy", "ok", f"{target.hostname}:{target.port or 8080} answers")
    except OSError as error:
        return Check(
            "proxy", "failed", f"{target.hostname}: {error}", "check `proxy` in the configuration with your network team"
        )


def _dns(config: SiloConfig, where: Places) -> Check:
    host, port = _target(where)
    if config.proxy is not None:
        return Check("broker name", "ok", f"{host} is looked up by the proxy")
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except OSError as error:
        return Check("broker name", "failed", f"{host}: {error.strerror}", "ask your network team for this name, or a proxy")
    return Check("broker name", "ok", f"{host} is {', '.join(found)}")


def _broker(config: SiloConfig, where: Places, visits: list[Visit]) -> Check:
    """TLS with the consortium's CA and this hospital's certificate, then the inbox with its permissions.

    What was found there is added to `visits`.
    """
    place = PartyFolder(where.kit)
    name, _ = ready(place)
    endpoint = endpoint_of(place, name, config.proxy)
    if config.proxy is None and (trouble := _handshake(endpoint, *_target(where))):
        return trouble
    started = time.monotonic()
    visits.append(visit := probe(endpoint, 2 * _TIMEOUT_S))
    seconds = time.monotonic() - started
    if visit.inbox == "not made yet":
        return Check("broker", "warning", f"let in, in {seconds:.2f} s; no inbox yet", "it appears when the aggregator serves")
    return Check("broker", "ok", f"let in, in {seconds:.2f} s; outgoing only, no port is opened here")


def _handshake(endpoint: Endpoint, host: str, port: int) -> Check | None:
    """What is wrong with the way to the broker, in the words of TCP and TLS; None if it is open."""
    context = endpoint.tls()
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as raw:
            if context is not None:
                context.wrap_socket(raw, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        does = "something between opens the traffic, the clock is wrong, or the kit is of another consortium"
        return Check("broker", "failed", f"TLS: {error.verify_message}", does)
    except ssl.SSLError as error:
        return Check("broker", "failed", f"TLS: {error.reason}", "install the newest kit; is this the broker's port?")
    except OSError as error:
        does = "ask your network team for this one outgoing connection, or name a proxy"
        return Check("broker", "failed", f"{host}:{port}: {error.strerror or error}", does)
    return None


def _store(where: Places) -> Check:
    store = CohortStore.open(where.store)
    patients = len({sample.patient for sample in store.samples})
    policy = load_policy(where.policy)
    says = f"{len(store.samples)} images of {patients} patients, digests as sealed"
    if patients < policy.min_patients:
        return Check(
            "store", "failed", f"{says}; the policy asks for {policy.min_patients}", "import more, or lower min_patients"
        )
    return Check("store", "ok", says)


def _policy(config: SiloConfig, where: Places) -> Check:
    policy = load_policy(where.policy)
    if policy.approval is None and config.approval is None:
        do = "in the policy file, write approval: officers and their keys (`fedward silo officer`), or approval: local"
        do = do if where.policy.exists() else f"fedward silo policy {where.policy}; then {do}"
        return Check("policy", "failed", "nobody is named who approves plans, so the node will not start", do)
    if not where.policy.exists():
        return Check("policy", "warning", "no file: the defaults hold", f"fedward silo policy {where.policy}")
    total = f"epsilon {policy.max_epsilon_per_study:g} a study, {policy.max_epsilon_total:g} in all"
    if policy.allow_without_privacy:
        return Check("policy", "warning", f"plans without privacy may run; {total}", "set allow_without_privacy to false")
    return Check("policy", "ok", total)


def _ledger(where: Places) -> Check:
    if not where.ledger.exists():
        if (where.kit / "receipt.json").exists():
            return Check("ledger", "failed", "gone, and this silo signed for charges in it", "restore it from your backup")
        return Check("ledger", "ok", "none yet; the first private study makes it")
    entries = len(Ledger.open(where.ledger).entries)
    share = share_spent(where.ledger, load_policy(where.policy))
    if share >= 1.0:
        return Check("ledger", "failed", f"{entries} charges: the budget is spent", "no private study can run on this cohort")
    return Check("ledger", "ok", f"{entries} charges, chain intact, {share:.0%} of the budget spent")


def _disk(where: Places) -> Check:
    where.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = min(shutil.disk_usage(path).free for path in (where.state, where.ledger.parent))
    says = f"{free / 2**30:.0f} GB free for state and ledger"
    if not os.access(where.state, os.W_OK) or not os.access(where.ledger.parent, os.W_OK):
        return Check("disk", "failed", "state or the ledger's folder cannot be written", "chown them to the user of the node")
    if free < _FREE_WARN:
        return Check("disk", "failed" if free < _FREE_FAIL else "warning", says, "free space: models and caches lie there")
    return Check("disk", "ok", says)


def _device(config: SiloConfig) -> Check:
    import torch

    if config.device in ("auto", "cpu"):
        if config.device == "auto" and torch.cuda.is_available():
            return Check("device", "ok", torch.cuda.get_device_name())
        return Check("device", "ok", f"processor, {torch.get_num_threads()} threads; a GPU is optional")
    try:
        torch.empty(1, device=torch.device(config.device))
    except (RuntimeError, AssertionError):
        return Check("device", "failed", f"{config.device} cannot be used", "set device to auto, or install the driver")
    return Check("device", "ok", config.device)


def _target(where: Places) -> tuple[str, int]:
    url = urlsplit(read_public(PartyFolder(where.kit).url).decode("ascii", "replace").strip())
    return url.hostname or "", url.port or (443 if url.scheme == "wss" else 4222)
