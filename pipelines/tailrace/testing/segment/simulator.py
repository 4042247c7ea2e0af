"""A Segment source behind an HTTP server: tracking API, settings, OAuth, Delivery Overview.

It refuses what Segment refuses, and answers 200 where Segment silently discards: a message that
breaks an ingest rule, an unknown write key, or a batch of 2,501 events. `discards` lists those.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from isal import isal_zlib

from tailrace.clock import Clock
from tailrace.testing.http.faults import Fault
from tailrace.testing.http.messages import BadEncoding, Request, Response
from tailrace.testing.http.request_log import Exchange
from tailrace.testing.http.server import Simulator
from tailrace.testing.segment.inbox import Discard, Inbox
from tailrace.testing.segment.ingest_rules import (
    BATCH_EVENTS_MAX,
    BODY_BYTES_MAX,
    EVENT_BYTES_MAX,
    KINDS,
)
from tailrace.testing.segment.named_faults import named_fault
from tailrace.testing.segment.oauth import Authorization
from tailrace.testing.segment.overview import PublicApi, delivery_overview, sources

__all__ = ["Discard", "SegmentSimulator"]

TAKEN = Response.of_json({"success": True})
SENT_AT_SECONDS_MAX = 60.0
GZIP_WINDOW_BITS = 31
DEDUP_SECONDS = 24 * 3_600.0
API_HOSTS = {"us": "api.segment.io/v1", "eu": "events.eu1.segmentapis.com/v1"}


class SegmentSimulator(Simulator):
    """A source in one region; `events`, `received` and `discards` hold what arrived.

    Args:
        write_key: the write key of the source.
        strict: False counts requests, events and bytes without reading the messages, for
            benchmarks.
        keep: False keeps ids and counts only.
        record: file to which each accepted message is appended as a line of JSON.
        oauth: True requires a bearer token; `authorization` holds the client's key.
        write_key_check: True answers 401 to a wrong write key, as some proxies and collectors do;
            Segment itself answers 200 and discards the batch.
        foreign_keys: write keys of sources in the other region.
        public_token: token that Delivery Overview requires.
        source_id: id of the source in the Public API.
        dedup_seconds: how long a messageId is remembered.
        latency_seconds: time before each answer.
        port: 0 = any free port.
        faults: fault rules.
        clock: source of the time.
    """

    def __init__(
        self,
        *,
        write_key: str = "sandbox-write-key",
        strict: bool = True,
        keep: bool = True,
        record: Path | None = None,
        oauth: bool = False,
        write_key_check: bool = False,
        foreign_keys: Iterable[str] = (),
        public_token: str = "sandbox-public-token",
        source_id: str = "sandbox-source",
        dedup_seconds: float = DEDUP_SECONDS,
        latency_seconds: float = 0.0,
        port: int = 0,
        faults: Iterable[Fault] = (),
        clock: Clock | None = None,
    ) -> None:
        super().__init__(port=port, faults=faults, clock=clock)
        self.write_key = write_key
        self.strict = strict
        self.write_key_check = write_key_check
        self.foreign_keys = frozenset(foreign_keys)
        self.public_token = public_token
        self.source_id = source_id
        self.latency_seconds = latency_seconds
        self.authorization = Authorization() if oauth else None
        self.inbox = Inbox(dedup_seconds=dedup_seconds, keep=keep, record=record)
        if not strict:
            self.requests = _NoLog()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The accepted messages, one per messageId, in order of arrival."""
        return self.inbox.delivered

    @property
    def received(self) -> list[dict[str, Any]]:
        """All messages of accepted batches, including repeated ones."""
        return self.inbox.received

    @property
    def discards(self) -> list[Discard]:
        """Messages that were answered with 200 and dropped."""
        return self.inbox.discards

    def stats(self) -> dict[str, Any]:
        """Counts since the start."""
        inbox = self.inbox
        return {
            **{name: inbox.counts[name] for name in ("received", "delivered", "discarded")},
            **{name: inbox.counts[name] for name in ("repeated", "batches", "bytes", "wire_bytes")},
            "clashes": len(inbox.clashes),
            "complaints": sorted(set(inbox.complaints)),
        }

    def close(self) -> None:
        super().close()
        self.inbox.close()

    def expire_tokens(self) -> None:
        if self.authorization:
            self.authorization.expire()

    def failure(self, status: int, request: Request) -> Response:
        # The real service does not reliably answer errors as JSON.
        return Response(status=status, body=b"Bad Request   " if status == 400 else b"")

    def events_of(self, request: Request) -> Iterable[Mapping[str, Any]]:
        try:
            body_json = orjson.loads(_decoded(request))
        except (orjson.JSONDecodeError, BadEncoding):
            return ()
        events = body_json.get("batch", [body_json]) if isinstance(body_json, dict) else ()
        return [event for event in events if isinstance(event, dict)]

    def control(self, request: Request) -> Response | None:
        name = request.path.removeprefix("/_control/")
        if request.method == "DELETE" and name == "events":
            self.inbox.clear()
            return Response.of_json([])
        if request.method == "GET" and name in ("events", "received"):
            return Response.of_json(getattr(self, name))
        if request.method == "GET" and name == "discards":
            return Response.of_json(
                [
                    {"reason": discard.reason, "message": discard.message}
                    for discard in self.discards
                ]
            )
        if request.method == "POST" and name == "named_fault":
            options = orjson.loads(request.content())
            try:
                fault = named_fault(options.pop("name"), **options)
            except (KeyError, TypeError, ValueError) as error:
                return Response.of_json({"error": f"{type(error).__name__}: {error}"}, 400)
            self.faults.append(fault)
            return Response.of_json(fault.as_json())
        if request.method == "GET" and name == "stats":
            return Response.of_json(self.stats())
        return None

    def answer(self, request: Request) -> Response:
        if self.latency_seconds:
            self.closing.wait(self.latency_seconds)
        parts = request.path.strip("/").split("/")
        if request.method == "POST" and request.path == "/token" and self.authorization:
            return self.authorization.token(request, audience=self.url, now=self.now())
        if request.method == "POST" and len(parts) == 2 and parts[0] == "v1":
            return self._track(request, parts[1])
        if request.method == "GET" and parts[:2] == ["v1", "projects"] and len(parts) == 4:
            return self._settings(parts[2])
        if request.method == "GET" and parts[0] == "delivery-overview" and len(parts) == 2:
            return delivery_overview(self._public_api(), request, parts[1])
        if request.method == "GET" and request.path == "/sources":
            return sources(self._public_api(), request)
        return Response(status=404, body=b"Not Found")

    def _public_api(self) -> PublicApi:
        return PublicApi(
            inbox=self.inbox,
            token=self.public_token,
            source_id=self.source_id,
            write_key=self.write_key,
        )

    def _settings(self, key: str) -> Response:
        """The settings of a source, as `cdn.segment.com` serves them; 404 for a wrong key."""
        region = "eu" if key in self.foreign_keys else "us"
        if key != self.write_key and key not in self.foreign_keys:
            return Response(status=404, body=b"Cannot GET")
        own = {"apiKey": key, "apiHost": API_HOSTS[region]}
        return Response.of_json({"integrations": {"Segment.io": own}, "plan": {}})

    def _track(self, request: Request, kind: str) -> Response:
        if kind not in (*KINDS, "batch", "import"):
            return Response(status=404, body=b"Not Found")
        try:
            body = _decoded(request)
        except BadEncoding:
            return _bad("malformed gzip")
        events = 0 if self.strict else body.count(b'"messageId"')
        self.inbox.count(batches=1, bytes=len(body), wire_bytes=len(request.body), received=events)
        if not self.strict:
            return TAKEN
        return self._read(request, kind, body)

    def _read(self, request: Request, kind: str, body: bytes) -> Response:
        if len(body) > BODY_BYTES_MAX:
            return _bad("Exceed payload limit")
        try:
            body_json = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _bad("malformed JSON")
        if not isinstance(body_json, dict):
            return _bad("not an object")
        messages = _messages(body_json, kind)
        if messages is None:
            return _bad("batch is not a list of objects")
        encoded = [orjson.dumps(item) for item in messages]
        if any(len(item) >= EVENT_BYTES_MAX for item in encoded):
            return _bad("Exceed payload limit")
        return self._file(request, body_json, messages, encoded)

    def _file(
        self,
        request: Request,
        body_json: dict[str, Any],
        messages: list[dict[str, Any]],
        encoded: list[bytes],
    ) -> Response:
        now = self.now()
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if self.authorization and not (
            scheme == "Bearer" and self.authorization.knows(credential, now)
        ):
            return Response.of_json({"code": "unauthorized", "message": "invalid token"}, 401)
        key = _write_key(scheme, credential, body_json)
        if self.write_key_check and key != self.write_key:
            return Response.of_json({"code": "unauthorized", "message": "invalid write key"}, 401)
        silent = self._silently(key, messages)
        if silent is not None:
            self.inbox.drop(messages or [{}], silent)
            return TAKEN
        self._mind(request, body_json, now)
        self.inbox.take(messages, encoded, now)
        return TAKEN

    def _silently(self, key: str | None, messages: list[dict[str, Any]]) -> str | None:
        """Why the whole batch is discarded; None if it is not."""
        if key in self.foreign_keys:
            return "wrong_region"
        if key != self.write_key:
            return "unknown_write_key"
        if not messages:
            return "empty_batch"
        return "batch_over_2500_events" if len(messages) > BATCH_EVENTS_MAX else None

    def _mind(self, request: Request, body_json: dict[str, Any], now: datetime) -> None:
        """Record mistakes that shift or lose data without an error."""
        if request.content_type != "application/json":
            self.inbox.complain("Content-Type is not application/json")
        sent_at = body_json.get("sentAt")
        try:
            off = (now - datetime.fromisoformat(str(sent_at))).total_seconds()
        except (TypeError, ValueError):
            self.inbox.complain("sentAt is missing, or has no zone")
            return
        if abs(off) > SENT_AT_SECONDS_MAX:
            self.inbox.complain("sentAt is not the time of the request: timestamps shift")


class _NoLog(list[Exchange]):
    """A log that stays empty, because a benchmark sends too many requests to keep."""

    def append(self, entry: Exchange) -> None:
        """Drop the entry."""


def _bad(why: str) -> Response:
    return Response(status=400, body=why.encode(), headers={"Content-Type": "text/plain"})


def _decoded(request: Request) -> bytes:
    """The decoded body; by isal, so that a benchmark does not measure the simulator."""
    if request.headers.get("content-encoding", "").lower() != "gzip":
        return request.content()
    try:
        return isal_zlib.decompress(request.body, wbits=GZIP_WINDOW_BITS)
    except Exception as error:  # isal's own error class is not typed as one
        raise BadEncoding(str(error)) from None


def _messages(body_json: dict[str, Any], kind: str) -> list[dict[str, Any]] | None:
    """The messages of a request, with the shared context and integrations."""
    if kind not in ("batch", "import"):
        return [{"type": kind, **{k: v for k, v in body_json.items() if k != "writeKey"}}]
    batch = body_json.get("batch")
    if not isinstance(batch, list) or not all(isinstance(message, dict) for message in batch):
        return None
    for name in ("context", "integrations"):
        shared = body_json.get(name)
        if isinstance(shared, dict):
            batch = [
                {**message, name: {**shared, **(message.get(name) or {})}} for message in batch
            ]
    return batch


def _write_key(scheme: str, credential: str, body_json: dict[str, Any]) -> str | None:
    """The write key from Basic credentials, else from the body."""
    if scheme == "Basic":
        try:
            return base64.b64decode(credential, validate=True).decode().partition(":")[0]
        except (binascii.Error, ValueError):
            return None
    key = body_json.get("writeKey")
    return key if isinstance(key, str) else None
