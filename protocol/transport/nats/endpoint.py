"""Where the broker is and how to get in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import TransportError
from protocol.transport.nats.subjects import API


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One broker as one user sees it.

    `url`: `tls://host:port`, `wss://host:port` where only the web passes, or `nats://127.0.0.1:port` for a test without TLS.
    `ca`, `certificate`, `key`: PEM files; all three or none, and none is refused for anything but loopback. `proxy`:
    `http://host:port` of an HTTP proxy that opens tunnels (CONNECT). `api`: what this user's account calls the JetStream API;
    `fljs` for a silo with an account of its own. `inbox_prefix`: where answers to this user arrive.
    """

    url: str
    user: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    proxy: str | None = None
    api: str = API
    inbox_prefix: str | None = None
    tls_handshake_first: bool = True

    @property
    def inbox(self) -> str:
        """The prefix of this user's inbox subjects."""
        return self.inbox_prefix or f"_INBOX_{self.user}"

    def tls(self) -> ssl.SSLContext | None:
        """TLS 1.3 with this user's certificate, trusting nobody but the consortium's own CA. Raises TransportError."""
        files = (self.ca, self.certificate, self.key)
        if self.ca is None or self.certificate is None or self.key is None:
            if any(files):
                raise TransportError("TLS needs the CA, the certificate and the key together; one of them is missing.")
            if not self.url.startswith(("nats://127.0.0.1:", "nats://localhost:", "nats://[::1]:")):
                raise TransportError("without TLS only a broker on this machine may be used; name the CA, certificate and key.")
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(str(self.certificate), str(self.key))
        except (OSError, ValueError) as error:
            reason = error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
            raise TransportError(f"the CA, certificate or key cannot be used: {reason}. Unpack the kit again.") from error
        return context
