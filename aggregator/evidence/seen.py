"""Every reply's digest, and the bytes of those that figures are made from, in the journal before anything follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from aggregator.journal import Journal
from protocol.canonical import digest_bytes
from protocol.errors import MessageError
from protocol.messages import (
    Address,
    Advertise,
    Advertised,
    AskReceipts,
    Cosign,
    Delivered,
    Done,
    MaskedUpdate,
    PrivateUpdate,
    Refusal,
    Release,
    Request,
    Revealed,
    Shared,
    Update,
    Vouched,
    decode_release,
    decode_request,
)
from protocol.secure_aggregation import UPDATE, Manifest
from protocol.transport.base import Failure, Transport

_SEEN, _KEPT = "evidence/seen/", "evidence/kept/"
_LEFT = (Update, PrivateUpdate, MaskedUpdate, Shared, Delivered, Done, Refusal)  # no figure is made from these
_OPENING = (Advertised, Vouched, Revealed)  # kept where a sum of counts is opened, not of updates


class Reply(Struct, frozen=True, forbid_unknown_fields=True):
    """One silo's reply: the tag of the release, empty if it was none, and the digest of its bytes."""

    kind: str
    commitment: str


class Seen(Struct, frozen=True, forbid_unknown_fields=True):
    """One request to some silos and what they replied. `request` is its tag, `model` the digest of the vector in it."""

    request: str
    address: Address
    model: str
    replies: dict[str, Reply]
    manifest: Manifest | None = None


class Watched:
    """A transport whose replies are noted in `journal`."""

    def __init__(self, inner: Transport, journal: Journal) -> None:
        self._inner, self._journal = inner, journal
        self._next = len(seen(journal))

    @property
    def silos(self) -> tuple[str, ...]:
        """As the transport has them."""
        return self._inner.silos

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        """As the transport does it. What came is durable before the last silo's turn is over."""
        asked = decode_request(next(iter(requests.values()))) if requests else None
        if asked is None or isinstance(asked, AskReceipts | Cosign):
            yield from self._inner.exchange(requests, deadline_s)
            return
        replies: dict[str, Reply] = {}
        kept: dict[str, bytes] = {}
        try:
            for answer in self._inner.exchange(requests, deadline_s):
                holding = [answer]
                if isinstance(answer[1], bytes):
                    replies[answer[0]] = _note(answer[1], asked.address, kept)
                del answer  # one update at a time in memory
                yield holding.pop()
        finally:
            self._remember(asked, replies, kept)

    def _remember(self, asked: Request, replies: dict[str, Reply], kept: Mapping[str, bytes]) -> None:
        vector = getattr(asked, "model", None)
        note = Seen(
            request=tag_of(asked),
            address=asked.address,
            model="" if vector is None else digest_bytes(vector),
            replies=replies,
            manifest=asked.manifest if isinstance(asked, Advertise) and asked.address.purpose != UPDATE else None,
        )
        self._journal.remember_all({f"{_SEEN}{self._next:08d}": note, **{_KEPT + name: data for name, data in kept.items()}})
        self._next += 1


def seen(journal: Journal) -> list[Seen]:
    """Everything that was asked and answered, in order; empty in a journal of an older release."""
    keys = sorted(key for key in journal.keys() if key.startswith(_SEEN))  # noqa: SIM118 - not a mapping
    return [one for key in keys if (one := journal.fact(key, Seen)) is not None]


def kept(journal: Journal, commitment: str) -> bytes | None:
    """The bytes of a reply, if they were kept."""
    return journal.bytes(_KEPT + commitment)


def tag_of(message: Request | Release) -> str:
    """The name of its kind."""
    return str(type(message).__struct_config__.tag)


def _note(data: bytes, address: Address, kept: dict[str, bytes]) -> Reply:
    commitment = digest_bytes(data)
    try:
        release = decode_release(data)
    except MessageError:
        return Reply("", commitment)
    if not isinstance(release, _LEFT) and (address.purpose != UPDATE or not isinstance(release, _OPENING)):
        kept[commitment] = data
    return Reply(tag_of(release), commitment)
