"""Where one party's things lie on the share, for the parts of PySyft's connection that read and write them."""

from __future__ import annotations

from pathlib import Path

from syft.sync.connections.base_connection import SyftboxPlatformConnection
from syft.sync.events.file_change_event import FileChangeEventsMessageFileName

from protocol.governance.pysyft.share import Share


class OnShare(SyftboxPlatformConnection):  # type: ignore[misc]
    """The party `email` at the folder `root`."""

    root: Path
    email: str

    @property
    def share(self) -> Share:
        """The folder."""
        return Share(self.root)

    def _box(self, *names: str, email: str | None = None) -> Path:
        return self.share.at("box", email or self.email, *names)

    def _between(self, hospital: str, kind: str, peer: str) -> Path:
        return self.share.at("p2p", hospital, kind, peer)

    def download_file(self, file_id: str) -> bytes:
        """The bytes of the file with this identifier."""
        share = self.share
        return share.get(share.find(file_id))

    def _events(self, folder: Path, since: float | None) -> list[tuple[float, str, str]]:
        """Time, name and identifier of the events in a folder that are newer than `since`, the oldest first."""
        found, share = [], self.share
        for name in share.names(folder):
            try:
                at = FileChangeEventsMessageFileName.from_string(name).timestamp
            except ValueError:
                continue
            if since is None or at > since:
                found.append((at, name, share.identify(folder / name)))
        return sorted(found)
