"""One party's PySyft client over the share, made without any login and without a word on the terminal."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from protocol.errors import TrustError

Role = Literal["hospital", "researcher"]


def make_client(email: str, home: Path, share: Path, role: Role, pins: Mapping[str, str]) -> Any:
    """A SyftRDSClient whose keys lie under `home`, readable by the owner only; guarded if it is a hospital's.

    Raises TrustError if others can read a key file.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home = home.resolve() / "syft"  # it writes beside its folder, too
    _refuse_readable(home)
    os.environ["PRE_SYNC"] = "false"  # PySyft would sync at every look at its attributes
    with quiet():
        from syft.sync.syftbox_manager import SyftboxManagerConfig, default_collections_folder
        from syft.sync.sync.caches.datasite_owner_cache import DataSiteOwnerEventCacheConfig
        from syft.sync.sync.caches.datasite_watcher_cache import DataSiteWatcherCacheConfig
        from syft.sync.sync.datasite_owner_syncer import DatasiteOwnerSyncerConfig
        from syft.sync.sync.datasite_watcher_syncer import DatasiteWatcherSyncerConfig
        from syft.sync.version.peer_manager import PeerManagerConfig
        from syft_rds import SyftRDSClient, SyftRDSClientConfig
        from syft_rds.config import DATASET_COLLECTION_SPECS as SPECS

        from protocol.governance.pysyft.connection import FolderConnectionConfig
        from protocol.governance.pysyft.guard import GuardedRouter

        share.mkdir(parents=True, exist_ok=True)
        connections = [FolderConnectionConfig(root=share.resolve(), email=email)]
        collections = default_collections_folder(home, email, SPECS)
        who = {"email": email, "syftbox_folder": home}
        owner_cache = DataSiteOwnerEventCacheConfig(**who, use_in_memory_cache=False, collections_folder=collections)
        watcher_cache = DataSiteWatcherCacheConfig(
            **who, use_in_memory_cache=False, collection_specs=SPECS, connection_configs=connections
        )
        config = SyftboxManagerConfig(
            **who,
            has_do_role=role == "hospital",
            has_ds_role=role == "researcher",
            use_in_memory_cache=False,
            datasite_owner_syncer_config=DatasiteOwnerSyncerConfig(
                **who,
                collections_folder=collections,
                collection_specs=SPECS,
                connection_configs=connections,
                cache_config=owner_cache,
            ),
            datasite_watcher_syncer_config=DatasiteWatcherSyncerConfig(
                **who, connection_configs=connections, datasite_watcher_cache_config=watcher_cache
            ),
            peer_manager_config=PeerManagerConfig(
                **who,
                connection_configs=connections,
                has_do_role=role == "hospital",
                has_ds_role=role == "researcher",
                use_encryption=True,
            ),
        )
        client = SyftRDSClient.from_config(SyftRDSClientConfig._compose(config))
        client.sync_engine.write_local_version()
        client.sync_engine.peer_manager.write_own_version()
        client.load_peers()
        if role == "hospital":
            syncer = client.sync_engine.datasite_owner_syncer
            router = syncer.connection_router
            syncer.connection_router = GuardedRouter(
                connections=router.connections,
                peer_store=router.peer_store,
                pins=dict(pins),
                jobs=home / email / "app_data" / "job" / "inbox",
                withheld=home.parent / "withheld",
            )
    for path in _keys(home):
        path.chmod(0o600)
    return client


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """PySyft prints as it goes; what it has to say is said by fedward."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _refuse_readable(home: Path) -> None:
    for path in _keys(home):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise TrustError(f"others may have read {path.name}; run chmod 600 on it, and think of making a new one.")


def _keys(home: Path) -> list[Path]:
    return [path for path in home.rglob("*key*") if path.is_file()]
