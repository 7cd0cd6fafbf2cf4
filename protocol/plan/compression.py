"""The part of the plan about how updates travel up: as they are, with fewer bits each, or only the largest values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocol.plan.part import Part


class NoCompression(Part):
    """Updates travel as float32."""

    name: Literal["none"]


class Quantised(Part):
    """Every value as an integer of few bits, rounded stochastically: right on average (QSGD, Alistarh et al. 2017)."""

    name: Literal["quantised"] = Field(
        description="values in blocks of 1024 with one scale each; 16 bits halve an upload, 8 bits quarter it"
    )
    bits: Literal[8, 16] = Field(description="bits of a value")


class TopK(Part):
    """Only the values largest in size; the others wait at the silo and are added to its next update (Stich et al. 2018)."""

    name: Literal["top_k"] = Field(
        description="each value sent takes 6 bytes, so a fraction of 0.1 makes an upload some 7 times smaller. What waits is "
        "late. Under mechanism local the noise is most of every value, so mostly noise would be sent: rather quantise"
    )
    fraction: float = Field(gt=0.0, lt=1.0, description="fraction of the values that is sent, above 0 to below 1")


Compression = Annotated[NoCompression | Quantised | TopK, Field(discriminator="name")]
