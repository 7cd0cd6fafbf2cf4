"""Two people compare digits by telephone; nothing goes on before they have."""

from __future__ import annotations

import sys

import typer


def compare(whose: str, expected: str, typed: str | None) -> None:
    """Show `expected` and go on only if it was read out, here or in --fingerprint. Raises TrustError, ConsortiumError."""
    from protocol.consortium.fingerprint import same_fingerprint
    from protocol.errors import ConsortiumError, TrustError

    typer.echo(f"Fingerprint of {whose}:\n\n    {expected}\n", err=True)
    if typed is None:
        if not _somebody_is_here():
            raise ConsortiumError("nobody is here to compare it; telephone them and give what they read as --fingerprint.")
        if typer.confirm("Telephone them. Do they read the same digits?", err=True):
            return
    elif same_fingerprint(typed, expected):
        return
    raise TrustError(
        "the fingerprints differ, so nothing was done. Read them again, digit by digit; if they still differ, the file was "
        "changed on its way: ask for it by another way."
    )


def _somebody_is_here() -> bool:
    return sys.stdin.isatty()
