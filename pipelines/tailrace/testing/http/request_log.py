"""The log of requests that a simulator keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace.testing.http.faults import Fault
from tailrace.testing.http.messages import Request


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request and its outcome.

    `status` is None if the connection was cut before an answer; `fault` is the rule that fired.
    """

    request: Request
    status: int | None
    received_at: datetime
    answer_bytes: int = 0
    fault: Fault | None = None

    def as_json(self) -> dict[str, Any]:
        """The entry as `GET /_control/requests` shows it."""
        return {
            "method": self.request.method,
            "target": self.request.target,
            "path": self.request.path,
            "headers": dict(self.request.headers),
            "body_bytes": len(self.request.body),
            "status": self.status,
            "received_at": self.received_at.isoformat(),
            "answer_bytes": self.answer_bytes,
            "fault": self.fault.as_json() if self.fault else None,
        }
