"""What each receiver of alerts was alerted of, so that a problem is alerted once."""

from __future__ import annotations

import hashlib
import hmac

from tailrace.ledger.tables import LedgerTables


class Alerts:
    """Reads and writes the table `alerts`. A row stays for as long as its problem lasts.

    A subject is a sync key, or `command:NAME` for a run as a whole.
    """

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def receiver(self, url: str) -> str:
        """A value for a receiver's URL that only this ledger can compute; it reveals nothing."""
        key = self._tables.namespace.encode()
        return hmac.new(key, url.encode(), hashlib.sha256).hexdigest()

    def open(self) -> dict[str, dict[str, str]]:
        """The problems that were alerted: by receiver, and by subject."""
        if not self._tables.has_table("alerts"):
            return {}
        alerted: dict[str, dict[str, str]] = {}
        for receiver, subject, problem, _ in self._tables.run("alerts"):
            alerted.setdefault(str(receiver), {})[str(subject)] = str(problem)
        return alerted

    def save(self, receiver: str, subject: str, problem: str | None) -> None:
        """Record what a receiver was alerted of last; None if the problem is over."""
        with self._tables.warehouse.transaction():
            self._tables.run("delete_alert", receiver=receiver, subject=subject)
            if problem is not None:
                self._tables.run(
                    "save_alert",
                    receiver=receiver,
                    subject=subject,
                    problem=problem,
                    now=self._tables.clock.now(),
                )

    def rename(self, old_key: str, new_key: str) -> None:
        """Carry the alerts of an audience over to its new key."""
        self._tables.run("rename_alerts", old_key=old_key, new_key=new_key)
