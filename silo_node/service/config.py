"""The hospital's own configuration of its node: one file that hospital IT writes and nobody else reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from protocol.errors import InputError, PlanError
from protocol.plan.load import parse_part
from protocol.plan.part import Part

_MAX_BYTES = 100_000


class Health(Part):
    """Where /healthz, /readyz and /metrics answer; on this machine only."""

    port: int = Field(default=9464, ge=0, le=65535, description="TCP port on 127.0.0.1; 0 turns them off")


class SiloConfig(Part):
    """Paths are relative to the file they are written in."""

    schema_: Literal["fedward.silo/1"] = Field(default="fedward.silo/1", alias="schema", description="version of this format")
    kit: str = Field(description="folder that `fedward silo join` made: keys, certificates, the signed roster")
    store: str = Field(description="the cohort store that takes part")
    state: str = Field(default="state", description="folder for models, caches and the node's place in its jobs")
    policy: str | None = Field(default=None, description="policy file; left out: NAME.policy.yaml beside the store")
    ledger: str | None = Field(default=None, description="ledger file; left out: NAME.ledger.jsonl beside the store")
    governance: str = Field(default="governance", description="folder for requests, decisions and PySyft's keys")
    approval: Literal["local"] | None = Field(
        default=None,
        description="local: whoever runs this node answers for every plan. Counts only where the policy says nothing of it",
    )
    share: str | None = Field(
        default=None, description="folder that researchers reach too, where plans are handed over; left out: over the broker"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, ...")
    threads: int = Field(default=0, ge=0, le=1024, description="processor threads for training; 0 leaves it to torch")
    proxy: str | None = Field(default=None, description="http://host:port of a proxy that knows CONNECT")
    health: Health = Field(default_factory=Health, description="the local health page")
    log: Literal["json", "text"] = Field(default="json", description="json: one object a line, of allowed fields only")


class Places(Part):
    """A configuration with every path absolute."""

    kit: Path
    store: Path
    state: Path
    policy: Path
    ledger: Path
    governance: Path
    share: Path


def load_config(path: Path) -> SiloConfig:
    """The configuration in `path`. Raises InputError naming every wrong key with its line."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path.name}: larger than {_MAX_BYTES} bytes; this is not a silo's configuration.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `fedward silo serve --new {path}` writes one.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; `fedward silo serve --new FILE` writes one.") from error
    try:
        return parse_part(text, SiloConfig, name=path.name, advice="`fedward silo serve --new FILE` writes one.")
    except PlanError as error:
        raise InputError(str(error)) from error


def places(config: SiloConfig, beside: Path) -> Places:
    """Where everything lies; `beside` is the folder of the configuration file."""

    def at(text: str) -> Path:
        return (beside / Path(text).expanduser()).absolute()

    store = at(config.store)
    return Places(
        kit=at(config.kit),
        store=store,
        state=at(config.state),
        policy=at(config.policy) if config.policy else store.with_name(f"{store.name}.policy.yaml"),
        ledger=at(config.ledger) if config.ledger else store.with_name(f"{store.name}.ledger.jsonl"),
        governance=at(config.governance),
        share=at(config.share) if config.share else at(config.governance) / "share",
    )
