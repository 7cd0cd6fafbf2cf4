"""Where the report of a finished job lies for one hospital: of those that took part, each has its own copy, and nobody else.

    p2p/<hospital>/reports/<digest of the plan>/report.json|html

At the coordinator in a folder apart from the share, which researchers can read; at the hospital in a folder for its account
alone. The hospital gives it, encrypted, to the researcher who handed the plan over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from protocol.governance.pysyft.share import Share

KIND, FILES = "reports", ("report.json", "report.html")


def folder_of(share: Share, hospital: str, plan_digest: str) -> Path:
    """`hospital`: its email. Raises TrustError for a digest that is no name of a folder."""
    return share.at("p2p", hospital, KIND, plan_digest.removeprefix("sha256:"))


def put_report(share: Share, hospital: str, plan_digest: str, files: Mapping[str, bytes]) -> None:
    """Lay the report out for one hospital."""
    for name in FILES:
        share.put(folder_of(share, hospital, plan_digest) / name, files[name])


def get_report(share: Share, hospital: str, plan_digest: str) -> dict[str, bytes]:
    """The report's files by name; empty before there is one. Raises TrustError.

    No link is followed: whoever can write on the share could have a file of the hospital's own sent to the researcher.
    """
    paths = {name: folder_of(share, hospital, plan_digest) / name for name in FILES}
    return {name: share.get(path) for name, path in paths.items()} if all(path.exists() for path in paths.values()) else {}
