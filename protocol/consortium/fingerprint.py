"""Fingerprints that two people can read to each other: eight groups of four digits of a SHA-256, 106 bits."""

from __future__ import annotations

import hashlib

_GROUPS, _DIGITS = 8, 4


def fingerprint(data: bytes) -> str:
    """`data` as people compare it by telephone, for example `4821 0937 5510 2764 8850 1193 0042 7716`."""
    number = int.from_bytes(hashlib.sha256(data).digest()) % 10 ** (_GROUPS * _DIGITS)
    digits = f"{number:0{_GROUPS * _DIGITS}d}"
    return " ".join(digits[start : start + _DIGITS] for start in range(0, len(digits), _DIGITS))


def same_fingerprint(typed: str, expected: str) -> bool:
    """Whether what a person typed is `expected`, whatever stands between the digits. Nothing shorter counts."""
    return [mark for mark in typed if mark.isdigit()] == [mark for mark in expected if mark.isdigit()]
