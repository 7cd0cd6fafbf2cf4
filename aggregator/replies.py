"""Ask every silo one thing and sort the replies: the releases that fit, and a reason for each silo that gave none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from protocol.compression import decompress
from protocol.errors import MessageError, UpdateError
from protocol.messages import Address, PrivateUpdate, Refusal, Release, Request, Update, decode_release, encode
from protocol.plan.compression import Compression
from protocol.transport.base import Failure, Transport
from protocol.vectors import Vector

R = TypeVar("R", bound=Release)
_WORDS = 4000  # letters of a refusal that are kept; MLflow takes 6000 for a value


def ask(
    transport: Transport,
    request: Request,
    silos: tuple[str, ...],
    deadline_s: float,
    kind: type[R],
    accept: Callable[[str, R], None],
) -> dict[str, str]:
    """Send `request` to `silos`; hand each fitting release to `accept`; return why each other silo has none.

    `accept` may raise UpdateError or MessageError to refuse a release; the reason is recorded like any other.
    """
    return _exchange(transport, dict.fromkeys(silos, encode(request)), request.address, deadline_s, kind, accept)


def ask_each(
    transport: Transport,
    requests: Mapping[str, Request],
    address: Address,
    deadline_s: float,
    kind: type[R],
    accept: Callable[[str, R], None],
) -> dict[str, str]:
    """As `ask`, with a request of its own for each silo; all have the same `address`."""
    encoded: dict[int, bytes] = {}  # one request for all is encoded once
    data = {silo: encoded.setdefault(id(request), encode(request)) for silo, request in requests.items()}
    return _exchange(transport, data, address, deadline_s, kind, accept)


def _exchange(
    transport: Transport,
    requests: Mapping[str, bytes],
    address: Address,
    deadline_s: float,
    kind: type[R],
    accept: Callable[[str, R], None],
) -> dict[str, str]:
    failures: dict[str, str] = {}
    for silo, reply in transport.exchange(requests, deadline_s):
        try:
            accept(silo, _expect(reply, address, kind))
        except (UpdateError, MessageError) as error:
            failures[silo] = str(error)
        del reply  # one update at a time in memory
    return failures


def _expect(reply: bytes | Failure, address: Address, kind: type[R]) -> R:
    if isinstance(reply, Failure):
        raise UpdateError(f"{reply.kind}: {reply.reason}")
    message = decode_release(reply)
    if isinstance(message, Refusal):
        raise UpdateError(_shown(f"{message.error}: {message.reason}"))
    if message.address != address:
        raise UpdateError("the reply answers another job, plan, round or attempt; it was not used.")
    if not isinstance(message, kind):
        raise UpdateError(f"the reply is a {type(message).__name__}, not the {kind.__name__} that was asked for.")
    return message


def _shown(words: str) -> str:
    """A hospital's own words as they may stand in a journal, in MLflow and on a terminal: not endless, nothing but text."""
    cut = words if len(words) <= _WORDS else f"{words[:_WORDS]} ..."
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in cut)


def checked_delta(update: Update | PrivateUpdate, size: int, how: Compression) -> Vector:
    """The update's vector, shape (size,). Raises UpdateError if it is not one of the model's, or a value is not finite."""
    delta = decompress(how, update.delta, size)
    if not np.isfinite(delta).all():
        raise UpdateError(f"the update holds {int((~np.isfinite(delta)).sum())} values that are not finite; it was not used.")
    return delta


def named(failures: Mapping[str, str]) -> str:
    """Failures as people read them: one line a reason, with everyone who gave it."""
    silos: dict[str, list[str]] = {}
    for silo, reason in failures.items():
        silos.setdefault(reason, []).append(silo)
    return "\n".join(f"  {', '.join(names)}: {reason}" for reason, names in silos.items())
