"""The carrier for real hospitals: NATS JetStream. The broker is not trusted; see docs/transport.md.

    NatsTransport   the aggregator's side: one request to each silo, replies pulled one after another
    NatsInbox       a silo's side: durable inbox, one request at a time, answered once
    Endpoint        where the broker is and how to get in

Pure parts: subjects, signed, transfer, assembly, heartbeat, presence, waiting, memory's content. The rest touches the network.
"""

from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.inbox import NatsInbox
from protocol.transport.nats.presence import Liveness
from protocol.transport.nats.streams import Sizes
from protocol.transport.nats.transport import NatsTransport

__all__ = ["Endpoint", "Liveness", "NatsInbox", "NatsTransport", "Sizes"]
