"""What kind of file it is, by its first bytes and never by its name."""

from __future__ import annotations

from enum import Enum

from silo_node.intake.reasons import Reason, Rejection

HEAD = 264
"""Bytes of a file that `kind_of` looks at."""


class Kind(Enum):
    """The two kinds of file the intake reads."""

    DICOM = "DICOM"
    PICTURE = "picture"


PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
)
GROUPS = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")


def kind_of(head: bytes) -> Kind:
    """The kind of the file that begins with `head`. Rejection ARCHIVE or NOT_AN_IMAGE."""
    # Whole-slide files may be TIFF and DICOM at once: the DICOM side knows the patient.
    if head[128:132] == b"DICM":
        return Kind.DICOM
    if head.startswith(PICTURES):
        return Kind.PICTURE
    if head.startswith(ARCHIVES) or head[257:262] == b"ustar":
        raise Rejection(Reason.ARCHIVE)
    # Without a preamble a dataset begins with an element of group 2 or 8 whose number and length are small.
    if len(head) >= 8 and head.startswith(GROUPS) and b"\0\0" in (head[6:8], head[4:6], bytes([head[3], head[7]])):
        return Kind.DICOM
    raise Rejection(Reason.NOT_AN_IMAGE)
