"""HTTP requests and responses as the simulators see them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class BadEncoding(ValueError):
    """The body does not decode with the Content-Encoding of its request."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as received; header names are in lower case."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    head_bytes: int

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def content(self) -> bytes:
        """The decoded body.

        Raises:
            BadEncoding: Content-Encoding is unknown, or the body does not decode.
        """
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("", "identity"):
            return self.body
        if encoding != "gzip":
            raise BadEncoding(f"Content-Encoding {encoding!r} is not supported")
        try:
            return gzip.decompress(self.body)
        except (OSError, EOFError, zlib.error) as error:
            raise BadEncoding(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer. `gzipped` is the same body compressed in advance, for speed."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    gzipped: bytes | None = None

    @classmethod
    def of_json(cls, value: Any, status: int = 200, **headers: str) -> Response:
        """A JSON answer. Header names use underscores in place of hyphens."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(
            status=status,
            body=json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
            headers={"Content-Type": "application/json;charset=UTF-8", **named},
        )
