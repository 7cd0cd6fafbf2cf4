"""PySyft's connection, the part on a party's own memory: events that were accepted, and checkpoints of them."""

from __future__ import annotations

import shutil

from syft.sync.checkpoints.checkpoint import Checkpoint, IncrementalCheckpoint

from protocol.governance.pysyft.on_share import OnShare

# ruff: noqa: D102 -- the methods are PySyft's, and named by it


class OwnEvents(OnShare):
    """What a hospital remembers, in its own box and encrypted for itself."""

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
