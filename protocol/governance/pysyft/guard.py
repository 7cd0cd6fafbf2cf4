"""What PySyft believes without looking, looked at: whose key it is, who sent a message, whether it can be read at all.

PySyft takes the first key it sees under a name, believes the sender that a message names, and stops at the first message that
it cannot read. Here a key must have the fingerprint that was compared by telephone, a message must name the sender in whose
folder it lay, and one that cannot be used is put aside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import syft_crypto_python
from pydantic import PrivateAttr
from syft.sync.connections.connection_router import ConnectionRouter

from protocol.errors import TrustError

_log = logging.getLogger(__name__)


class GuardedRouter(ConnectionRouter):  # type: ignore[misc]
    """PySyft's router of a hospital, with eyes."""

    pins: Mapping[str, str] = {}
    """The fingerprint of each party's key, from elsewhere than the share."""
    _aside: list[str] = PrivateAttr(default_factory=list)

    @property
    def put_aside(self) -> tuple[str, ...]:
        """Whose messages were put aside, and to whom none was sent, one for each."""
        return tuple(self._aside)

    def owner_get_next_proposed_filechange_message(self, sender_email: str) -> Any:
        """The next message that can be used, of this sender; None if there is none."""
        connection = self.connection_for_receive_message()
        while (found := connection.owner_download_next_raw_proposed_message_from_inbox(sender_email)) is not None:
            try:
                check_pin(self, sender_email, self.pins)
                message = _of(sender_email, super().owner_get_next_proposed_filechange_message(sender_email))
            except Exception as error:  # whatever a junk file makes PySyft raise
                connection.quarantine(found[1])
                self._aside.append(sender_email)
                _log.warning("a message of %s was put aside: %s", sender_email, type(error).__name__)
            else:
                return message
        return None

    def owner_write_event_messages_to_outbox(self, recipient_email: str, *args: Any, **kwargs: Any) -> None:
        """As PySyft's, but only for the pinned key: on the share lies whom PySyft encrypts for, and others can write there."""
        try:
            check_pin(self, recipient_email, self.pins)
        except Exception as error:  # whatever a junk key makes PySyft raise; the others get theirs
            self._aside.append(recipient_email)
            _log.warning("a message to %s was not sent: %s", recipient_email, type(error).__name__)
        else:
            super().owner_write_event_messages_to_outbox(recipient_email, *args, **kwargs)


def _of(sender: str, message: Any) -> Any:
    if message.sender_email != sender:
        raise TrustError("a message names another sender than the one in whose folder it lay")
    return message


def check_pin(router: ConnectionRouter, email: str, pins: Mapping[str, str]) -> None:
    """Raises TrustError unless the key that PySyft has for `email`, or would take from the share, is the pinned one."""
    pinned = pins.get(email)
    if pinned is None:
        raise TrustError(f"the key of {email} is not pinned; compare fingerprints by telephone and pin it first.")
    try:
        document = router.peer_store._ensure_peer_bundle(email)
    except ValueError:  # not let in yet
        offered = router.connection_for_receive_message().read_peer_encryption_bundle(email)
        if offered is None:
            raise TrustError(
                f"{email} has not let us in yet. A hospital does so when its data officers look (`fedward silo requests`)."
            ) from None
        document = json.loads(offered)["public_encryption_bundle"]
    if syft_crypto_python.SyftPublicKeyBundle.from_did_document(document).identity_fingerprint() != pinned:
        raise TrustError(f"the key on the share under {email} is not the pinned one; someone may be in between. Telephone.")
