"""What the parent and the nursery say to each other: small JSON packets, one of them with a descriptor. Both are trusted."""

from __future__ import annotations

import array
import os
import socket
from typing import TypeVar

import msgspec

from privacy.sandbox.limits import Limits

_MOST = 2**17
Packet = TypeVar("Packet", "Start", "Order", "Done")


class Start(msgspec.Struct, frozen=True):
    """The first packet to a nursery."""

    tasks: str
    roots: list[str]
    readable: list[str]
    hidden: list[str]
    limits: Limits
    tell: bool
    parent: int


class Order(msgspec.Struct, frozen=True):
    """Fork, with the fork's end of its channel in the packet; or end fork number `end`."""

    end: int | None = None


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """The nursery is ready, or did as it was told; `fork` is the new fork's number. `refused` says why not."""

    fork: int | None = None
    refused: str | None = None


def send(link: socket.socket, packet: Start | Order | Done, descriptor: int | None = None) -> None:
    """One packet. Raises OSError if the other side has gone."""
    rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    link.sendmsg([msgspec.json.encode(packet)], rights)


def receive(link: socket.socket, kind: type[Packet]) -> tuple[Packet, int | None]:
    """One packet of `kind` and its descriptor. Raises EOFError if the other side has gone."""
    data, rights, _, _ = link.recvmsg(_MOST, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    if not data:
        raise EOFError
    found = array.array("i")
    for _, _, raw in rights:
        found.frombytes(raw[: len(raw) - len(raw) % found.itemsize])
    for extra in found[1:]:
        os.close(extra)
    return msgspec.json.decode(data, type=kind), found[0] if found else None
