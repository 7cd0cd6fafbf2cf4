"""The broker's configuration: a pure function of the roster and of where the broker runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from aggregator.consortium.permissions import SYSTEM, accounts
from protocol.consortium.records import Roster, Url
from protocol.consortium.rosters import tls_keys
from protocol.errors import ConsortiumError

_MIB = 1 << 20
_PORT = 4222  # NATS's own
_Host = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9.\-:]{1,253}\Z")]
_LISTEN = r"[A-Za-z0-9.\-\[\]:]{1,255}:[0-9]{1,5}"
_Listen = Annotated[str, msgspec.Meta(pattern=rf"\A{_LISTEN}\Z")]
_MaybeListen = Annotated[str, msgspec.Meta(pattern=rf"\A({_LISTEN})?\Z")]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the broker listens and what it may use.

    `hosts` are the names and addresses in its certificate. `listen` and `websocket` are HOST:PORT; the second is off when
    empty. `monitor_port` is on loopback always: it asks for no password. `folder` is the broker's folder on the machine where
    it runs. `max_file` and `max_mem` bound JetStream (bytes); all streams together must fit.
    """

    folder: str
    hosts: tuple[_Host, ...]
    listen: _Listen = "0.0.0.0:4222"  # hospitals come from outside, with a certificate
    monitor_port: _Port = 8222
    websocket: _MaybeListen = ""
    max_file: Annotated[int, msgspec.Meta(ge=1)] = 20 * 1024 * _MIB
    max_mem: Annotated[int, msgspec.Meta(ge=1)] = 64 * _MIB


def settings_of(
    url: str, folder: str, hosts: tuple[str, ...], listen: str, websocket: str, monitor_port: int, max_file: int
) -> BrokerSettings:
    """Checked settings; the host of `url` comes first among the certificate's. Raises ConsortiumError.

    Without `listen` the broker listens everywhere at the port that a tls `url` names.
    """
    try:
        host, port = urlsplit(msgspec.convert(url, Url)).hostname or "", urlsplit(url).port
    except ValueError:  # msgspec's among them
        host, port = "", None
    if not host or port == 0:
        raise ConsortiumError(f"--url {url}: write tls://HOST:PORT or wss://HOST:PORT, as in tls://broker.example.org:4222.")
    port = port if port and url.startswith("tls:") else _PORT
    try:
        value = {
            "folder": folder,
            "hosts": list(dict.fromkeys((host, *hosts))),
            "listen": listen or f"0.0.0.0:{port}",
            "websocket": websocket,
            "monitor_port": monitor_port,
            "max_file": max_file,
        }
        return msgspec.convert(value, BrokerSettings)
    except ValueError as error:
        key = str(error).rpartition("$.")[2].split("[")[0].strip("`")
        what = {"hosts": "--host", "listen": "--listen", "websocket": "--websocket", "monitor_port": "--monitor-port"}.get(key)
        how = {"--host": "a name or an address", "--monitor-port": "a port, 1 to 65535"}.get(what or "", "HOST:PORT")
        raise ConsortiumError(f"{what}: write {how}." if what else f"the broker's settings cannot be used: {error}.") from error


def broker_config(roster: Roster, settings: BrokerSettings) -> str:
    """Text for `nats-server -c`: TLS 1.3, no connection without a certificate of the roster, one account per silo.

    `verify_and_map` makes the certificate's subject the user, so nothing else can be presented (docs/decisions/0011), and
    `pinned_certs` are the TLS keys of the roster: a certificate that somebody made with a stolen CA key opens nothing.
    """
    folder = Path(settings.folder)
    tls = {
        "cert_file": str(folder / "server.pem"),
        "key_file": str(folder / "server.key"),
        "ca_file": str(folder / "ca.pem"),
        "verify_and_map": True,
        "pinned_certs": tls_keys(roster),
        "min_version": "1.3",
        "timeout": 10,
    }
    storage = {
        "store_dir": str(folder / "data"),
        "max_mem": settings.max_mem,
        "max_file": settings.max_file,
        "sync_interval": "10s",
    }
    lines = [
        f"# Consortium {roster.consortium}, roster {roster.sequence}. Written by `fedward consortium`; changes are lost.",
        _line("server_name", f"fedward-{roster.consortium}"),
        _line("listen", settings.listen),
        _line("http", f"127.0.0.1:{settings.monitor_port}") + "  # it asks for no password: loopback only",
        _line("pid_file", str(folder / "broker.pid")),
        _line("max_payload", 8 * _MIB) + "  # a chunk of 4 MiB and what is around it",
        _line("max_pending", 128 * _MIB) + "  # more waits for one connection: it is cut as too slow",
        _line("write_deadline", "30s"),
        _line("ping_interval", "5s"),
        _line("ping_max", 2),
        _line("max_connections", 8 * (len(roster.active) + 4)),
        _line("lame_duck_duration", "30s"),
        _line("tls", tls | {"handshake_first": True}),
        *([_line("websocket", {"listen": settings.websocket, "tls": tls})] if settings.websocket else []),
        _line("jetstream", storage),
        "accounts: {",
        *(
            f"  {json.dumps(name)}: {_text(value)}"
            for name, value in accounts(roster, settings.max_mem, settings.max_file).items()
        ),
        "}",
        _line("system_account", SYSTEM),
    ]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    return f"{key}: {_text(value)}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # the broker's language reads JSON, but no \\u escapes
