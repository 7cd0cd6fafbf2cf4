"""PySyft's own interface to what lies between parties, on a shared folder instead of a cloud drive.

The method names are PySyft's; a test calls every one that its router calls. Messages come here encrypted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from syft.sync.checkpoints.checkpoint import Checkpoint, IncrementalCheckpoint
from syft.sync.connections.base_connection import ConnectionConfig, FileCollection, SyftboxPlatformConnection
from syft.sync.connections.drive.gdrive_transport import CollectionFolder
from syft.sync.events.file_change_event import FileChangeEventsMessageFileName
from syft.sync.messages.proposed_filechange import FileNameParseError, MessageFileName
from syft.sync.version.version_info import VersionInfo

from protocol.governance.pysyft.share import Share

# ruff: noqa: D102 -- the methods are PySyft's, and named by it


class FolderConnection(SyftboxPlatformConnection):  # type: ignore[misc]
    """One party's view of the share."""

    root: Path
    email: str

    @classmethod
    def from_config(cls, config: ConnectionConfig) -> FolderConnection:
        return cls(root=config.root, email=config.email, config=config)

    # ------------------------------------------------------------------------------------------------------------ places

    @property
    def share(self) -> Share:
        """The folder."""
        return Share(self.root)

    def _box(self, *names: str, email: str | None = None) -> Path:
        return self.share.at("box", email or self.email, *names)

    def _between(self, hospital: str, kind: str, peer: str) -> Path:
        return self.share.at("p2p", hospital, kind, peer)

    def quarantine(self, identifier: str) -> None:
        """Put a message aside that cannot be used: else every later sync would stop at it."""
        path = self.share.find(identifier)
        aside = self._between(self.email, "quarantine", path.parent.name)
        aside.mkdir(parents=True, exist_ok=True)
        path.replace(aside / path.name)

    def get_authenticated_email(self) -> str:
        return self.email

    def copy(self, **_: Any) -> FolderConnection:
        return self

    def reset_caches(self) -> None:
        """There is nothing to forget."""

    def download_file(self, file_id: str) -> bytes:
        share = self.share
        return share.get(share.find(file_id))

    # ------------------------------------------------------------------------------------------------------------- peers

    def add_peer(self, peer_email: str) -> None:
        for kind in ("inbox", "outbox"):
            self._between(peer_email, kind, self.email).mkdir(parents=True, exist_ok=True)

    def _get_peers_json(self, force_download: bool = False) -> dict[str, Any]:  # noqa: ARG002 -- PySyft's signature
        path = self._box("peers.json")
        return json.loads(self.share.get(path)) if path.exists() else {}

    def _update_peer_state(self, peer_email: str, state: str, public_encryption_bundle: Any = None) -> None:
        peers = self._get_peers_json()
        entry = peers.setdefault(peer_email, {})
        entry["state"] = state
        if public_encryption_bundle is not None:
            entry["public_encryption_bundle"] = public_encryption_bundle
        self.share.put(self._box("peers.json"), json.dumps(peers, indent=1).encode())

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
        return VersionInfo.from_json(self.share.get(path).decode()) if path.exists() else None

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
        path = self.share.find(message.platform_id)
        archive = self._between(self.email, "archive", path.parent.name)
        archive.mkdir(parents=True, exist_ok=True)
        path.replace(archive / path.name)

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

    def _events(self, folder: Path, since: float | None) -> list[tuple[float, str, str]]:
        found, share = [], self.share
        for name in share.names(folder):
            try:
                at = FileChangeEventsMessageFileName.from_string(name).timestamp
            except ValueError:
                continue
            if since is None or at > since:
                found.append((at, name, share.identify(folder / name)))
        return sorted(found)

    # --------------------------------------------------------------------------- a hospital's own events and checkpoints

    def owner_write_raw_bytes_to_syftbox(self, filename: str, data: bytes) -> str:
        return self.share.put(self._box("events", filename), data)

    def owner_download_raw_bytes_by_id(self, file_id: str) -> bytes:
        return self.download_file(file_id)

    def owner_get_all_accepted_event_file_ids(self, since_timestamp: float | None = None) -> list[str]:
        return [identifier for _, _, identifier in self._events(self._box("events"), since_timestamp)]

    def owner_download_all_raw_events_from_syftbox(self) -> list[bytes]:
        return [self.download_file(one) for one in self.owner_get_all_accepted_event_file_ids()]

    def download_raw_events_since_timestamp(self, since_timestamp: float) -> list[bytes]:
        return [self.download_file(one) for one in self.owner_get_all_accepted_event_file_ids(since_timestamp)]

    def get_events_count_since_checkpoint(self, timestamp: float) -> int:
        return len(self._events(self._box("events"), timestamp))

    def upload_raw_checkpoint(self, filename: str, data: bytes) -> str:
        folder, share = self._box("checkpoints"), self.share
        identifier = share.put(self._box("checkpoints", filename), data)
        for name in share.names(folder):
            if name != filename:
                (folder / name).unlink()
        return identifier

    def download_raw_latest_checkpoint(self) -> bytes | None:
        folder, share = self._box("checkpoints"), self.share
        names = share.names(folder)
        return share.get(folder / max(names, key=lambda name: Checkpoint.filename_to_timestamp(name) or -1)) if names else None

    def upload_raw_incremental_checkpoint(self, filename: str, data: bytes) -> str:
        return self.share.put(self._box("increments", filename), data)

    def download_all_raw_incremental_checkpoints(self) -> list[bytes]:
        folder, share = self._box("increments"), self.share
        return [share.get(folder / name) for name in share.names(folder)]

    def get_incremental_checkpoint_count(self) -> int:
        return len(self.share.names(self._box("increments")))

    def get_next_incremental_sequence_number(self) -> int:
        names = self.share.names(self._box("increments"))
        return 1 + max((IncrementalCheckpoint.filename_to_sequence_number(name) or 0 for name in names), default=0)

    def delete_all_incremental_checkpoints(self) -> None:
        shutil.rmtree(self._box("increments"), ignore_errors=True)

    def upload_raw_rolling_state(self, filename: str, data: bytes) -> str:  # noqa: ARG002 -- there is one
        return self.share.put(self._box("rolling", "state"), data)

    def download_raw_rolling_state(self) -> bytes | None:
        path = self._box("rolling", "state")
        return self.share.get(path) if path.exists() else None

    def delete_rolling_state(self) -> None:
        shutil.rmtree(self._box("rolling"), ignore_errors=True)

    # ------------------------------------------------------------------------------------ collections: the public mocks

    def _collection(self, owner: str, prefix: str, tag: str, content_hash: str) -> Path:
        return self._box(
            "collections", CollectionFolder(prefix=prefix, tag=tag, content_hash=content_hash).folder_name, email=owner
        )

    def _collections(self, email: str, prefix: str) -> Iterator[tuple[Path, CollectionFolder]]:
        base = self._box("collections", email=email)
        for folder in sorted(base.iterdir()) if base.is_dir() else ():
            try:
                yield folder, CollectionFolder.from_name(prefix, folder.name)
            except ValueError:
                continue

    def _readers(self, folder: Path) -> dict[str, Any]:
        path = folder / ".readers.json"
        return json.loads(self.share.get(path)) if path.exists() else {"any": False, "users": []}

    def _let_read(self, folder: Path, **changed: Any) -> None:
        self.share.put(folder / ".readers.json", json.dumps({**self._readers(folder), **changed}).encode())

    def owner_create_collection_folder(self, prefix: str, tag: str, content_hash: str, owner_email: str) -> str:  # noqa: ARG002
        folder = self._collection(self.email, prefix, tag, content_hash)
        folder.mkdir(parents=True, exist_ok=True)
        return self.share.identify(folder)

    def owner_tag_collection_as_any(self, prefix: str, tag: str, content_hash: str) -> None:
        self._let_read(self._collection(self.email, prefix, tag, content_hash), any=True)

    def owner_share_collection(self, prefix: str, tag: str, content_hash: str, users: list[str]) -> None:
        folder = self._collection(self.email, prefix, tag, content_hash)
        self._let_read(folder, users=sorted({*self._readers(folder)["users"], *users}))

    def owner_upload_collection_files(self, prefix: str, tag: str, content_hash: str, files: dict[str, bytes]) -> None:
        folder, share = self._collection(self.email, prefix, tag, content_hash), self.share
        for name, data in files.items():
            share.put(folder / share.at(Path(name).name).name, data)

    def owner_list_collections(self, prefix: str) -> list[str]:
        return [found.tag for _, found in self._collections(self.email, prefix)]

    def owner_list_all_collections_with_permissions(self, prefix: str) -> list[FileCollection]:
        return [
            FileCollection(
                folder_id=self.share.identify(folder),
                tag=found.tag,
                content_hash=found.content_hash,
                has_any_permission=self._readers(folder)["any"],
            )
            for folder, found in self._collections(self.email, prefix)
        ]

    def owner_delete_collection(self, prefix: str, tag: str) -> None:
        for folder, found in list(self._collections(self.email, prefix)):
            if found.tag == tag:
                shutil.rmtree(folder)

    def watcher_list_collections(self, prefix: str) -> list[dict[str, Any]]:
        boxes = self.share.at("box")
        others = sorted(one.name for one in boxes.iterdir() if one.name != self.email) if boxes.is_dir() else []
        return [
            {"owner_email": owner, "tag": found.tag, "content_hash": found.content_hash}
            for owner in others
            for folder, found in self._collections(owner, prefix)
            if self.email in self._readers(folder)["users"]
        ]

    def watcher_get_collection_file_metadatas(
        self, prefix: str, tag: str, content_hash: str, owner_email: str
    ) -> list[dict[str, Any]]:
        folder, share = self._collection(owner_email, prefix, tag, content_hash), self.share
        return [{"file_id": share.identify(folder / name), "file_name": name} for name in share.names(folder)]

    def watcher_download_collection(self, prefix: str, tag: str, content_hash: str, owner_email: str) -> dict[str, bytes]:
        found = self.watcher_get_collection_file_metadatas(prefix, tag, content_hash, owner_email)
        return {one["file_name"]: self.download_file(one["file_id"]) for one in found}

    def watcher_download_collection_file(self, file_id: str) -> bytes:
        return self.download_file(file_id)

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
