"""PySyft's connection, the part on collections: the public mocks that hospitals show, and who may read them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syft.sync.connections.base_connection import FileCollection
from syft.sync.connections.drive.gdrive_transport import CollectionFolder

from protocol.governance.pysyft.on_share import OnShare

# ruff: noqa: D102 -- the methods are PySyft's, and named by it


class PublicMocks(OnShare):
    """Collections in the boxes of the hospitals."""

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
