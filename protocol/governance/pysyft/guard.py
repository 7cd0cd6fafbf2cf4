"""What PySyft believes without looking, looked at: whose key it is, who sent a message, whether it can be read at all.

PySyft takes the first key it sees under a name, believes the sender that a message names, and stops at the first message that
it cannot read. Here a key must have the fingerprint that was compared by telephone, a message must name the sender in whose
folder it lay, and one that cannot be used is put aside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import syft_crypto_python
from pydantic import PrivateAttr
from syft.sync.connections.connection_router import ConnectionRouter

from protocol.errors import TrustError
from protocol.governance.pysyft.room import Look, held
from protocol.governance.pysyft.withheld import Withheld

_log = logging.getLogger(__name__)


class GuardedRouter(ConnectionRouter):  # type: ignore[misc]
    """PySyft's router of a hospital, with eyes."""

    pins: Mapping[str, str] = {}
    """The fingerprint of each party's key, from elsewhere than the share."""
    jobs: Path
    """Where PySyft keeps what was handed over, a folder for each sender."""
    withheld: Path
    """Where answers wait that could not be sent: in the hospital's own home, and not in the part that PySyft shares."""
    _aside: list[str] = PrivateAttr(default_factory=list)
    _waiting: set[str] = PrivateAttr(default_factory=set)
    _looks: dict[str, Look] = PrivateAttr(default_factory=dict)

    @property
    def put_aside(self) -> tuple[str, ...]:
        """Whose messages were put aside, and to whom none was sent, one for each."""
        return tuple(self._aside)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Who has messages that were left where they are, as more of them were taken, or are kept, than one may have."""
        return tuple(sorted(self._waiting))

    def owner_get_next_proposed_filechange_message(self, sender_email: str) -> Any:
        """The next message that can be used, of this sender; None if there is none, or others must have their turn first."""
        connection = self.connection_for_receive_message()
        look = self._looks.setdefault(sender_email, Look(held(self.jobs, sender_email)))
        while (found := connection.owner_download_next_raw_proposed_message_from_inbox(sender_email)) is not None:
            if not look.has_room(len(found[0])):
                self._waiting.add(sender_email)
                return None
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

    def owner_write_event_messages_to_outbox(self, recipient_email: str, events_message: Any) -> None:
        """As PySyft's, but only for the pinned key: on the share lies whom PySyft encrypts for, and others can write there.

        What cannot be sent is kept, and goes before anything newer once the key is the pinned one again.
        """
        name = self._withheld().keep(recipient_email, events_message.message_filepath.as_string(), events_message)
        if not self._send(recipient_email):
            self._aside.append(recipient_email)
            _log.warning("%s to %s waits until their key is the pinned one", name, recipient_email)

    def send_withheld(self) -> None:
        """What waits for those whose key is the pinned one again."""
        for recipient in self._withheld().recipients():
            self._send(recipient)

    def _withheld(self) -> Withheld:
        return Withheld(self.withheld)

    def _send(self, recipient: str) -> bool:
        """Everything for this one, the oldest first; False if something still waits."""
        try:
            check_pin(self, recipient, self.pins)
            for name, data in self._withheld().of(recipient):
                sealed = self.peer_store.encrypt(recipient, data)  # never as PySyft's "if needed"
                self.connection_for_outbox().owner_write_raw_bytes_to_outbox(recipient, name, sealed)
                self._withheld().forget(recipient, name)
        except Exception as error:  # whatever a junk key makes PySyft raise; the others get theirs
            _log.warning("nothing was sent to %s: %s", recipient, type(error).__name__)
            return False
        return True


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
        document = _document(email, offered)
    if _fingerprint(email, document) != pinned:
        raise TrustError(f"the key on the share under {email} is not the pinned one; someone may be in between. Telephone.")


def _document(email: str, offered: str) -> Any:
    try:
        return json.loads(offered)["public_encryption_bundle"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrustError(f"what the share offers as the key of {email} is no key; telephone them.") from error


def _fingerprint(email: str, document: Any) -> str:
    try:
        return str(syft_crypto_python.SyftPublicKeyBundle.from_did_document(document).identity_fingerprint())
    except Exception as error:  # whatever a junk key makes PySyft raise
        raise TrustError(f"what the share holds as the key of {email} is no key; telephone them.") from error
