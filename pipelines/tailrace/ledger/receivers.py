"""Which receiver each destination of a ledger was delivered to.

A ledger says what one receiver holds. Delivered to another receiver, its differences would be
wrong: a development run would make production "up to date". So the ledger remembers a keyed
fingerprint of each destination's host and credential, and refuses another one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from tailrace.dataclass import dataclass
from tailrace.errors import ReceiverChanged
from tailrace.ledger.ledger import Ledger

if TYPE_CHECKING:
    from tailrace.destinations.protocol import DestinationSettings

SEPARATOR = "\x1f"


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Where a destination sends: its host, and the credential that names the source there."""

    host: str
    credential: str

    def fingerprint(self, namespace: str) -> str:
        """A value that only this ledger can compute; it reveals neither host nor credential."""
        text = SEPARATOR.join((self.host, self.credential))
        return hmac.new(namespace.encode(), text.encode(), hashlib.sha256).hexdigest()


def receivers_of(destinations: Mapping[str, DestinationSettings]) -> dict[str, Receiver]:
    """The receiver of each destination that has a credential."""
    receivers = {}
    for name, settings in destinations.items():
        host, credential = settings.receiver()
        if credential:
            receivers[name] = Receiver(host=host, credential=credential)
    return receivers


def check_receivers(ledger: Ledger, receivers: Mapping[str, Receiver]) -> None:
    """Refuse a receiver that is not the one that the ledger was delivered to.

    Args:
        ledger: The open ledger; one without tables has no receiver yet.
        receivers: The receiver of each destination of the run.

    Raises:
        ReceiverChanged: The ledger was delivered to another receiver.
    """
    known = bound_receivers(ledger)
    for destination, receiver in receivers.items():
        fingerprint = receiver.fingerprint(ledger.namespace)
        if known.get(destination, fingerprint) != fingerprint and _delivered(ledger, destination):
            raise ReceiverChanged(
                f"This ledger was delivered to another receiver of [destination.{destination}]: "
                "its host or credential has changed",
                hint=f"Was the key of the same source rotated? tailrace destinations rebind "
                f"{destination}\nIs it another source? Give it a section [destination.NAME] and "
                "run: tailrace replay AUDIENCE --to NAME\nOr use a ledger of its own: "
                "put the settings into .dlt/NAME.secrets.toml and run with: --target NAME",
            )


def remember_receivers(ledger: Ledger, receivers: Mapping[str, Receiver]) -> None:
    """Record the receivers of a run. Called under the lock, after `check_receivers`."""
    known = bound_receivers(ledger)
    for destination, receiver in receivers.items():
        fingerprint = receiver.fingerprint(ledger.namespace)
        if known.get(destination) != fingerprint:
            bind_receiver(ledger, destination, receiver)


def bind_receiver(ledger: Ledger, destination: str, receiver: Receiver) -> None:
    """Make a receiver the one of this ledger's destination. Called under the lock."""
    warehouse = ledger.warehouse
    with warehouse.transaction():
        warehouse.run("ledger/delete_receiver", tables=ledger.tables, destination=destination)
        warehouse.run(
            "ledger/bind_receiver",
            tables=ledger.tables,
            destination=destination,
            fingerprint=receiver.fingerprint(ledger.namespace),
            now=ledger.clock.now(),
        )


def stopped_destinations(ledger: Ledger) -> dict[str, tuple[str, datetime]]:
    """The destinations that receive nothing until they are resumed: why, and since when."""
    if not ledger.has_table("stopped_destinations"):
        return {}
    rows = ledger.warehouse.run("ledger/stopped_destinations", tables=ledger.tables)
    return {str(destination): (str(reason), at) for destination, reason, at in rows}


def stop_destination(ledger: Ledger, destination: str, reason: str) -> None:
    """Send nothing to a destination until it is resumed. Called under the lock."""
    ledger.warehouse.run(
        "ledger/stop_destination",
        tables=ledger.tables,
        destination=destination,
        reason=reason,
        now=ledger.clock.now(),
    )


def resume_destination(ledger: Ledger, destination: str) -> None:
    """Send to a destination again. Called under the lock."""
    ledger.warehouse.run("ledger/resume_destination", tables=ledger.tables, destination=destination)


def bound_receivers(ledger: Ledger) -> dict[str, str]:
    """The fingerprint of the receiver that each destination is bound to."""
    if not ledger.has_table("receivers"):
        return {}
    rows = ledger.warehouse.run("ledger/receivers", tables=ledger.tables)
    return {str(destination): str(fingerprint) for destination, fingerprint in rows}


def _delivered(ledger: Ledger, destination: str) -> bool:
    """Whether any message may have been sent; before that, another key is harmless."""
    rows = ledger.warehouse.run(
        "ledger/was_delivered", tables=ledger.tables, destination=destination
    )
    return bool(rows)
