"""From the folder of a party to its way into the broker."""

from __future__ import annotations

from protocol.consortium.files import read_public
from protocol.consortium.folder import PartyFolder
from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.subjects import AGGREGATOR, API, SILO_API


def endpoint_of(place: PartyFolder, name: str, proxy: str | None = None) -> Endpoint:
    """The endpoint of the party `name`, with the address, CA, certificate and key of its kit. Raises ConsortiumError."""
    return Endpoint(
        url=read_public(place.url).decode("ascii", "replace").strip(),
        user=name,
        ca=place.ca,
        certificate=place.certificate,
        key=place.key,
        proxy=proxy,
        api=API if name == AGGREGATOR else SILO_API,
    )
