"""The messages of a source: received, delivered and discarded."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from tailrace.testing.segment.ingest_rules import broken_rule


@dataclass(frozen=True, kw_only=True)
class Discard:
    """A message that was answered with 200 and dropped."""

    reason: str
    message: Mapping[str, Any]


class Inbox:
    """The messages of one source.

    `received`: all messages of accepted requests, in order. `delivered`: messages after ingest
    rules and deduplication, one per messageId. `discards`: messages dropped without an error.
    `clashes`: messageIds that were sent again with other content. `complaints`: mistakes that
    Segment does not report.
    """

    def __init__(
        self, *, dedup_seconds: float, keep: bool = True, record: Path | None = None
    ) -> None:
        self.received: list[dict[str, Any]] = []
        self.delivered: list[dict[str, Any]] = []
        self.discards: list[Discard] = []
        self.clashes: list[str] = []
        self.complaints: list[str] = []
        self.counts: Counter[str] = Counter()
        self.by_name: Counter[tuple[str, str, str]] = Counter()
        self._dedup_seconds = dedup_seconds
        self._keep = keep
        self._seen: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()
        self._record = os.open(record, os.O_CREAT | os.O_APPEND | os.O_WRONLY) if record else None

    def take(
        self, messages: Sequence[dict[str, Any]], encoded: Sequence[bytes], at: datetime
    ) -> None:
        """Accept a batch, with the JSON of its messages: apply rules, then deduplicate."""
        with self._lock:
            if self._record is not None:
                # One write, so that a reader of the file sees whole requests.
                os.write(self._record, b"\n".join(encoded) + b"\n")
            for message, body in zip(messages, encoded, strict=True):
                self._take(message, body, at)

    def drop(self, messages: Sequence[dict[str, Any]], reason: str) -> None:
        """Discard a batch that was answered with 200."""
        with self._lock:
            for message in messages:
                self._discard(message, reason)

    def count(self, **more: int) -> None:
        """Add to the counts; safe to use from several threads."""
        with self._lock:
            for name, number in more.items():
                self.counts[name] += number

    def complain(self, what: str) -> None:
        """Record a mistake that Segment does not report."""
        with self._lock:
            self.complaints.append(what)

    def ids(self) -> set[str]:
        """The messageIds of delivered messages."""
        with self._lock:
            return set(self._seen)

    def clear(self) -> None:
        """Remove all messages, ids and counts."""
        with self._lock:
            for messages in (self.received, self.delivered, self.discards, self.clashes):
                messages.clear()
            self.complaints.clear()
            self.counts.clear()
            self.by_name.clear()
            self._seen.clear()

    def close(self) -> None:
        """Close the record file."""
        if self._record is not None:
            os.close(self._record)
            self._record = None

    def _take(self, message: dict[str, Any], body: bytes, at: datetime) -> None:
        self.counts["received"] += 1
        if self._keep:
            self.received.append(message)
        rule = broken_rule(message)
        if rule is not None:
            self._discard(message, rule)
            return
        message_id = message.get("messageId")
        if message_id is None:
            self.complaints.append("a message without messageId: a retry would count twice")
        elif self._is_duplicate(message_id, message, body, at):
            return
        self.counts["delivered"] += 1
        self.by_name["received", message["type"], str(message.get("event", ""))] += 1
        if self._keep:
            self.delivered.append(message)

    def _is_duplicate(
        self, message_id: str, message: dict[str, Any], body: bytes, at: datetime
    ) -> bool:
        if "sentAt" in message:
            content = {name: value for name, value in message.items() if name != "sentAt"}
            body = orjson.dumps(content)
        digest = hashlib.blake2b(body, digest_size=16).digest()
        before = self._seen.get(message_id)
        if before is None:
            self._seen[message_id] = (digest, at)
            return False
        self.counts["repeated"] += 1
        if before[0] != digest:
            self.clashes.append(message_id)
        if (at - before[1]).total_seconds() <= self._dedup_seconds:
            return True
        self._seen[message_id] = (digest, at)
        return False

    def _discard(self, message: dict[str, Any], reason: str) -> None:
        self.counts["discarded"] += 1
        name = str(message.get("event", "")) if isinstance(message, dict) else ""
        kind = str(message.get("type", "")) if isinstance(message, dict) else ""
        self.by_name[reason, kind, name] += 1
        self.discards.append(Discard(reason=reason, message=message))
