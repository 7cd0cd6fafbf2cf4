"""Tests of randomness that give the same verdict every time: the operating system's random bytes are replaced."""

from __future__ import annotations

import hashlib
import itertools
import os

import pytest


def fix(monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> None:
    """Replace os.urandom, the only source of privacy.randomness, by SHAKE-256 of a counter."""
    counter = itertools.count()

    def urandom(n: int) -> bytes:
        return hashlib.shake_256(f"{seed} {next(counter)}".encode()).digest(n)

    monkeypatch.setattr(os, "urandom", urandom)
