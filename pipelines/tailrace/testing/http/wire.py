"""A response as bytes on the wire: compression, headers, and the faults that affect them."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

from isal import igzip

from tailrace.testing.http.faults import Fault
from tailrace.testing.http.messages import Request, Response

GZIP_BYTES_MIN = 512
_BODILESS = (204, 304)
_EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
_NO_FAULT = Fault()


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """The bytes of a response, and how to send its body."""

    head: bytes
    body: bytes
    drip_seconds: float = 0.0
    endless: bool = False


def outgoing(
    request: Request, response: Response, fault: Fault | None, *, now: datetime, closing: bool
) -> Outgoing:
    """The response to a request, after a fault's changes; `closing` adds `Connection: close`."""
    fault = fault or _NO_FAULT
    body, headers = _encoded(request, response, fault)
    lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    date = now + timedelta(seconds=fault.date_offset_seconds)
    lines.append(f"Date: {format_datetime(date, usegmt=True)}")
    if response.status in _BODILESS:
        body = b""
    elif fault.endless:
        lines.append("Transfer-Encoding: chunked")
    else:
        lines.append(f"Content-Length: {len(body)}")
    if closing:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return Outgoing(
        head=(_EARLY_HINTS if fault.early_hints else b"") + head,
        body=b"" if request.method == "HEAD" else body,
        drip_seconds=fault.drip_seconds,
        endless=fault.endless and response.status not in _BODILESS,
    )


def _encoded(request: Request, response: Response, fault: Fault) -> tuple[bytes, dict[str, str]]:
    """The body, compressed if the client accepts gzip and the body is long enough."""
    headers = dict(response.headers)
    accepted = "gzip" in request.headers.get("accept-encoding", "").lower()
    if accepted and (fault.gzip_members > 1 or fault.inflated_bytes):
        plain = response.body or gzip.decompress(response.gzipped or b"")
        packed = (
            _inflating(plain, fault.inflated_bytes)
            if fault.inflated_bytes
            else _in_members(plain, fault.gzip_members)
        )
        return packed, {**headers, "Content-Encoding": "gzip"}
    if fault.endless:
        return response.body or gzip.decompress(response.gzipped or b""), headers
    if accepted and response.gzipped is not None:
        return response.gzipped, {**headers, "Content-Encoding": "gzip"}
    if not accepted or len(response.body) < GZIP_BYTES_MIN:
        return response.body, headers
    headers["Content-Encoding"] = "gzip"
    return igzip.compress(response.body, 1), headers


def _in_members(body: bytes, members: int) -> bytes:
    """Several gzip members in a row, which RFC 1952 allows."""
    size = max(1, -(-len(body) // members))
    pieces = [body[start : start + size] for start in range(0, max(len(body), 1), size)]
    return b"".join(igzip.compress(piece, 1) for piece in pieces)


def _inflating(body: bytes, spaces: int) -> bytes:
    """A small gzip stream that decompresses to `spaces` bytes and then the body."""
    packer = zlib.compressobj(1, wbits=31)
    block = b" " * 1_000_000
    parts = [packer.compress(block) for _ in range(spaces // len(block))]
    parts += [packer.compress(b" " * (spaces % len(block)) + body), packer.flush()]
    return b"".join(parts)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
