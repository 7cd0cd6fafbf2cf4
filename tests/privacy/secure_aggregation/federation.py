"""A whole secure aggregation in memory, step by step, so that a test can stand between any two messages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.secure_aggregation import client, server
from privacy.secure_aggregation.client_state import ClientState
from privacy.secure_aggregation.manifest import default_colluders, least_threshold
from privacy.secure_aggregation.masking import Unsigned, dtype_of
from privacy.secure_aggregation.unmasking import open_sum
from protocol.identity import Identity
from protocol.secure_aggregation import (
    SCHEMA,
    Advertisement,
    EncryptedShares,
    Manifest,
    Member,
    Unmasking,
    Vouch,
    Where,
)

Signed = npt.NDArray[np.signedinteger[Any]]


def identity(name: str) -> Identity:
    """Always the same key for a name, so that tests repeat."""
    return Identity(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def names(n: int) -> list[str]:
    return [f"silo-{index:02}" for index in range(n)]


def manifest_of(n: int, *, size: int = 40, width: int = 32, **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "job": "job",
        "plan_digest": "sha256:plan",
        "roster": tuple(Member(name, identity(name).public_key) for name in names(n)),
        "threshold": least_threshold(n),
        "min_survivors": least_threshold(n),
        "colluders": default_colluders(n),
        "size": size,
        "width_bits": width,
        "parameters": {"sigma": 1.5},
    }
    return Manifest(**values | changes)


def random_vector(manifest: Manifest, rng: np.random.Generator) -> Unsigned:
    """Any integers at all: sums wrap around."""
    dtype = dtype_of(manifest.width_bits)
    return rng.integers(0, 2**manifest.width_bits, manifest.size, dtype=dtype.newbyteorder("="))


class Federation:
    """All silos and the aggregator. `who` says which silos take a step; left out: all that can."""

    def __init__(self, n: int = 4, where: Where | None = None, *, save: bool = False, **changes: Any) -> None:
        self.manifest = manifest_of(n, **changes)
        self.where = where or Where("job", 1, 0)
        self.identities = {name: identity(name) for name in names(n)}
        self.server = server.begin(self.manifest, self.where)
        self.save = save  # go through bytes after every step
        self.clients: dict[str, ClientState] = {}
        self.advertisements: tuple[Advertisement, ...] = ()
        self.boxes: dict[str, tuple[EncryptedShares, ...]] = {}
        self.masked: dict[str, Unsigned] = {}
        self.total = server.new_total(self.manifest)
        self.survivors: tuple[str, ...] = ()
        self.vouches: tuple[Vouch, ...] = ()
        self.unmaskings: dict[str, Unmasking] = {}
        self.refusals: dict[str, str] = {}

    def advertise(self, who: Iterable[str] | None = None) -> None:
        replies = {}
        for name in self.identities if who is None else who:
            state, replies[name] = client.advertise(self.manifest, name, self.identities[name], self.where)
            self.keep(name, state)
        self.server, self.advertisements, self.refusals = server.gather_advertisements(self.server, replies)
        self._saved()

    def share(self, who: Iterable[str] | None = None) -> None:
        for name in self._who(who):
            state, self.boxes[name] = client.share(self.clients[name], self.advertisements)
            self.keep(name, state)
        self.server, self.refusals = server.gather_shares(self.server, self.boxes)
        self._saved()

    def upload(self, vectors: Mapping[str, Unsigned], who: Iterable[str] | None = None) -> None:
        for name in self._who(who):
            state, self.masked[name] = client.mask(self.clients[name], server.incoming(self.server, name), vectors[name])
            self.keep(name, state)
            self.server = server.add(self.server, self.total, name, self.masked[name])
        self.server, self.survivors = server.close(self.server)
        self._saved()

    def vouch(self, who: Iterable[str] | None = None) -> None:
        replies = {}
        for name in self._who(who):
            state, replies[name] = client.vouch(self.clients[name], self.identities[name], self.survivors)
            self.keep(name, state)
        self.server, self.vouches, self.refusals = server.gather_vouches(self.server, replies)
        self._saved()

    def unmask(self, who: Iterable[str] | None = None) -> None:
        for name in self._who(who):
            state, self.unmaskings[name] = client.unmask(self.clients[name], self.vouches)
            self.keep(name, state)
        self.server, self.refusals = server.gather_unmaskings(self.server, self.unmaskings)
        self._saved()

    def open(self) -> Signed:
        return open_sum(self.server, self.total)

    def keep(self, name: str, state: ClientState) -> None:
        self.clients[name] = ClientState.from_bytes(state.to_bytes()) if self.save else state

    def vectors(self, seed: int = 0) -> dict[str, Unsigned]:
        rng = np.random.default_rng(seed)
        return {name: random_vector(self.manifest, rng) for name in self.identities}

    def sum_of(self, vectors: Mapping[str, Unsigned], who: Iterable[str]) -> Signed:
        """What the aggregator must find, computed with Python's integers."""
        width, total = self.manifest.width_bits, sum(vectors[name].astype(object) for name in who)
        centred = (total + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)
        return np.asarray(centred.astype(np.int64), dtype=f"i{width // 8}")

    def _who(self, who: Iterable[str] | None) -> Iterable[str]:
        return self.server.silos if who is None else who

    def _saved(self) -> None:
        if self.save:
            self.server = type(self.server).from_bytes(self.server.to_bytes())


def until_vouched(n: int = 4, late: Iterable[str] = (), **changes: Any) -> Federation:
    """All silos but the `late` ones uploaded, and survivors vouched."""
    federation = Federation(n, **changes)
    federation.advertise()
    federation.share()
    federation.upload(federation.vectors(), [name for name in federation.identities if name not in set(late)])
    federation.vouch()
    return federation
