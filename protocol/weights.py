"""Public weights to start from: files kept by their digest, on every party's own machine; nothing is ever downloaded.

A plan names the digest only. Each party adds the file once (`fedward weights add FILE`) and every later run finds it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

from protocol.errors import WeightsError
from protocol.vectors import Tensors, load_tensors


def weights_folder() -> Path:
    """Where this machine keeps weights: `$FEDWARD_WEIGHTS`, or the user's data folder."""
    if named := os.environ.get("FEDWARD_WEIGHTS"):
        return Path(named)
    import platformdirs

    return platformdirs.user_data_path("fedward") / "weights"


def add_weights(path: Path) -> str:
    """Keep a copy of the safetensors file `path`; returns its digest. Raises WeightsError if it is not one."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            empty = not tensors.keys()
        digest = _digest(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} is not a readable safetensors file: {error}") from error
    if empty:
        raise WeightsError(f"{path.name} holds no tensor.")
    target = weights_file(digest)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}.partial")
        shutil.copyfile(path, partial)
        partial.replace(target)
    return digest


def find_weights(digest: str) -> Tensors:
    """The tensors of the file with `digest`. Raises WeightsError if it is not here, or is another file by now."""
    path = weights_file(digest)
    if not path.exists():
        raise WeightsError(f"network.weights: no file {digest} on this machine; add it with `fedward weights add FILE`.")
    if _digest(path) != digest:
        raise WeightsError(f"network.weights: the kept file {digest} was changed; delete it and add the right one again.")
    return load_tensors(path)


def weights_file(digest: str) -> Path:
    """Where the file with `digest` is kept, if it is."""
    return weights_folder() / f"{digest.removeprefix('sha256:')}.safetensors"


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()
