"""What travels between a client and a simulator, and what the simulator remembers of it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tailrace.testing.http.faults import Fault


class BadEncoding(ValueError):
    """The request's body is not what its Content-Encoding says."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came over the wire; header names are lower-cased."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    head_bytes: int

    @property
    def content_type(self) -> str:
        """The media type alone, lower-cased, without its parameters."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def content(self) -> bytes:
        """The body with its Content-Encoding taken off; raises BadEncoding."""
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("", "identity"):
            return self.body
        if encoding != "gzip":
            raise BadEncoding(f"Content-Encoding {encoding!r} is not known")
        try:
            return gzip.decompress(self.body)
        except (OSError, EOFError, zlib.error) as error:
            raise BadEncoding(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer; `gzipped` is the same body compressed beforehand, for speed."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    gzipped: bytes | None = None

    @classmethod
    def of_json(cls, value: Any, status: int = 200, **headers: str) -> Response:
        """A JSON answer; header names are written with underscores for hyphens."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(
            status=status,
            body=json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
            headers={"Content-Type": "application/json;charset=UTF-8", **named},
        )


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One entry of the log: the request, and what became of it.

    `status` is None when the socket was cut before an answer; `fault` is the rule that struck.
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
