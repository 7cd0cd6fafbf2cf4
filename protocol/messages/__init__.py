"""Every message a silo and the aggregator exchange: one frozen struct each, and the only codec that reads them.

Requests travel down to a silo, releases travel up. The codec (MessagePack through msgspec) accepts these types and nothing
else: unknown tags, unknown or missing fields and wrong types are refused. Vectors travel as raw little-endian float32.
"""

from protocol.messages.address import Address, Receipt
from protocol.messages.codec import decode_release, decode_request, encode
from protocol.messages.releases import (
    Advertised,
    Delivered,
    Description,
    Done,
    MaskedScores,
    MaskedUpdate,
    PrivateDescription,
    PrivateUpdate,
    Refusal,
    Release,
    Revealed,
    Shared,
    Update,
    Vouched,
)
from protocol.messages.requests import (
    Advertise,
    AskVouch,
    Deliver,
    Describe,
    Personalise,
    Request,
    Reveal,
    Score,
    ScoreMasked,
    ShareSecrets,
    Train,
    TrainAlone,
    TrainMasked,
)
from protocol.messages.scores import ClassScores, NoisyHistograms, PrivateScores, Scores

__all__ = [
    "Address",
    "Advertise",
    "Advertised",
    "AskVouch",
    "ClassScores",
    "Deliver",
    "Delivered",
    "Describe",
    "Description",
    "Done",
    "MaskedScores",
    "MaskedUpdate",
    "NoisyHistograms",
    "Personalise",
    "PrivateDescription",
    "PrivateScores",
    "PrivateUpdate",
    "Receipt",
    "Refusal",
    "Release",
    "Request",
    "Reveal",
    "Revealed",
    "Score",
    "ScoreMasked",
    "Scores",
    "ShareSecrets",
    "Shared",
    "Train",
    "TrainAlone",
    "TrainMasked",
    "Update",
    "Vouched",
    "decode_release",
    "decode_request",
    "encode",
]
