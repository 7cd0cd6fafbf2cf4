"""PySyft's own interface to what lies between parties, on a shared folder instead of a cloud drive.

The method names are PySyft's; a test calls every one that its router calls. Messages come here encrypted. Own events and public
mocks have a module each.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from syft.sync.connections.base_connection import ConnectionConfig
from syft.sync.messages.proposed_filechange import FileNameParseError, MessageFileName
from syft.sync.version.version_info import VersionInfo

from protocol.errors import TrustError
from protocol.governance.bounds import ARCHIVE, drop_oldest
from protocol.governance.pysyft.own_events import OwnEvents
from protocol.governance.pysyft.peers import read_peers, write_peers
from protocol.governance.pysyft.public_mocks import PublicMocks

# ruff: noqa: D102 -- the methods are PySyft's, and named by it


class FolderConnection(OwnEvents, PublicMocks):
    """One party's view of the share."""

    @classmethod
    def from_config(cls, config: ConnectionConfig) -> FolderConnection:
        return cls(root=config.root, email=config.email, config=config)

    def get_authenticated_email(self) -> str:
        return self.email

    def copy(self, **_: Any) -> FolderConnection:
        return self

    def reset_caches(self) -> None:
        """There is nothing to forget."""

    # ------------------------------------------------------------------------------------------------------------- peers

    def add_peer(self, peer_email: str) -> None:
        for kind in ("inbox", "outbox"):
            self._between(peer_email, kind, self.email).mkdir(parents=True, exist_ok=True)

    def _get_peers_json(self, force_download: bool = False) -> dict[str, Any]:  # noqa: ARG002 -- PySyft's signature
        return read_peers(self.share, self.email)

    def _update_peer_state(self, peer_email: str, state: str, public_encryption_bundle: Any = None) -> None:
        peers = self._get_peers_json()
        entry = peers.setdefault(peer_email, {})
        entry["state"] = state
        if public_encryption_bundle is not None:
            entry["public_encryption_bundle"] = public_encryption_bundle
        write_peers(self.share, self.email, peers)

    def get_peer_requests(self) -> list[str]:
        inbox, boxes, known = self.share.at("p2p", self.email, "inbox"), self.share.at("box"), self._get_peers_json()
        found = {one.name for one in inbox.iterdir() if one.is_dir()} if inbox.is_dir() else set()
        # Whoever has put a key for us there wants to write: over the broker no empty folder travels.
        found |= {path.parts[-3] for path in boxes.glob(f"*/bundles/{self.email}.json")}
        return sorted(name for name in found if known.get(name, {}).get("state") not in ("accepted", "rejected"))

    def write_version_file(self, version: VersionInfo) -> None:
        self.share.put(self._box("version.json"), version.to_json().encode())

    def read_own_version_file(self) -> VersionInfo | None:
        return self.read_peer_version_file(self.email)

    def read_peer_version_file(self, peer_email: str) -> VersionInfo | None:
        path = self._box("version.json", email=peer_email)
        try:
            return VersionInfo.from_json(self.share.get(path).decode()) if path.exists() else None
        except (TrustError, OSError, ValueError):  # whatever somebody put there as a version: to PySyft it is unknown
            return None

    def share_version_file_with_peer(self, peer_email: str) -> None:
        """Everybody can read it where it lies."""

    def write_encryption_bundle(self, peer_email: str, bundle_json: str) -> None:
        self.share.put(self._box("bundles", f"{peer_email}.json"), bundle_json.encode())

    def share_encryption_bundles_folder(self, peer_email: str) -> None:
        """Everybody can read them where they lie."""

    def read_peer_encryption_bundle(self, peer_email: str) -> str | None:
        path = self._box("bundles", f"{self.email}.json", email=peer_email)
        return self.share.get(path).decode() if path.exists() else None

    # -------------------------------------------------------------------------------------------------- inbox and outbox

    def quarantine(self, identifier: str) -> None:
        """Put a message aside that cannot be used: else every later sync would stop at it."""
        self._keep("quarantine", identifier)

    def _keep(self, kind: str, identifier: str) -> None:
        """Move a message out of the inbox; of what is kept of its sender, the oldest makes room."""
        share, path = self.share, self.share.find(identifier)
        folder = self._between(self.email, kind, path.parent.name)
        folder.mkdir(parents=True, exist_ok=True)
        path.replace(folder / path.name)
        drop_oldest(share, folder, ARCHIVE.shared_by(len(list(folder.parent.iterdir()))))

    def watcher_send_raw_bytes_to_inbox(self, recipient: str, filename: str, data: bytes) -> None:
        share = self.share
        share.put(self._between(recipient, "inbox", self.email) / share.at(filename).name, data)

    def owner_download_next_raw_proposed_message_from_inbox(self, sender_email: str) -> tuple[bytes, str] | None:
        folder, share, found = self._between(self.email, "inbox", sender_email), self.share, []
        for name in share.names(folder):
            try:
                found.append((MessageFileName.from_string(name).submitted_timestamp, name))
            except FileNameParseError:
                self.quarantine(share.identify(folder / name))
        if not found:
            return None
        path = folder / min(found)[1]
        return share.get(path), share.identify(path)

    def owner_remove_proposed_filechange_message_from_inbox(self, message: Any) -> None:
        self._keep("archive", message.platform_id)

    def owner_write_raw_bytes_to_outbox(self, recipient: str, filename: str, data: bytes) -> None:
        share = self.share
        share.put(self._between(self.email, "outbox", recipient) / share.at(filename).name, data)

    def watcher_get_outbox_file_metadatas(self, peer_email: str, since_timestamp: float | None) -> list[dict[str, Any]]:
        found = self._events(self._between(peer_email, "outbox", self.email), since_timestamp)
        return [{"timestamp": at, "file_name": name, "file_id": identifier} for at, name, identifier in found]

    def watcher_download_raw_events_from_outbox(self, peer_email: str, since_timestamp: float | None) -> list[bytes]:
        return [
            self.download_file(one["file_id"]) for one in self.watcher_get_outbox_file_metadatas(peer_email, since_timestamp)
        ]

    def _get_own_datasite_outbox_id(self, peer: str) -> str | None:
        folder = self._between(self.email, "outbox", peer)
        return self.share.identify(folder) if folder.is_dir() else None

    def get_file_metadatas_from_folder(
        self,
        folder_id: str,
        since_timestamp: float | None = None,  # noqa: ARG002 -- PySyft's signature
        page_size: int = 100,  # noqa: ARG002 -- PySyft's signature
    ) -> list[dict[str, Any]]:
        names = self.share.names(self.share.find(folder_id))
        return [{"id": f"{folder_id}/{name}", "name": name} for name in reversed(names)]

    # --------------------------------------------------------------------------------------------------------- deletion

    def delete_file_by_id(self, file_id: str) -> None:
        path = self.share.find(file_id)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def delete_multiple_files_by_ids(self, file_ids: list[str], **_: Any) -> None:
        for identifier in file_ids:
            self.delete_file_by_id(identifier)

    def gather_all_file_and_folder_ids(self) -> list[str]:
        return [self.share.identify(self._box())]

    def find_orphaned_message_files(self) -> list[str]:
        return []


class FolderConnectionConfig(ConnectionConfig):  # type: ignore[misc]
    """Which share, and who we are on it."""

    connection_type: ClassVar[type[FolderConnection]] = FolderConnection
    root: Path
    email: str
