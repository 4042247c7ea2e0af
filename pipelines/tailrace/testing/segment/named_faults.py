"""Faults of Segment by name: unexpected answers, refusals and slow answers of the tracking API.

Each is a `Fault` whose options can be changed: `named_fault("html", times=1)`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tailrace.testing.http.bodies import UNEXPECTED_BODIES
from tailrace.testing.http.faults import Fault

TRACKING_PATH = "/v1/*"
DAY_SECONDS = 86_400

SEGMENT_FAULTS: dict[str, Fault] = {
    # A 200 that is not `{"success": true}`: the batch was not taken.
    **{
        name: Fault(path=TRACKING_PATH, method="POST", unexpected_body=name)
        for name in UNEXPECTED_BODIES
    },
    "gzip_refused": Fault(
        path=TRACKING_PATH,
        method="POST",
        when=lambda request: "gzip" in request.headers.get("content-encoding", ""),
        status=400,
        body="unsupported content encoding",
    ),
    "rate_limited": Fault(
        path=TRACKING_PATH, method="POST", status=429, headers={"Retry-After": "1"}
    ),
    "unavailable": Fault(path=TRACKING_PATH, method="POST", status=503),
    "too_large": Fault(path=TRACKING_PATH, method="POST", status=413),
    "early_hints": Fault(path=TRACKING_PATH, early_hints=True),
    "endless_body": Fault(path=TRACKING_PATH, endless=True),
    "byte_per_second": Fault(path=TRACKING_PATH, drip_seconds=1.0),
    "inflating_body": Fault(path=TRACKING_PATH, inflated_bytes=2_000_000_000),
    "date_ahead": Fault(date_offset_seconds=3.0 * DAY_SECONDS),
    "date_behind": Fault(date_offset_seconds=-3.0 * DAY_SECONDS),
    "lost_answer": Fault(path=TRACKING_PATH, method="POST", cut="after"),
}


def named_fault(name: str, **changes: Any) -> Fault:
    """A named fault, with some of its options changed.

    Raises:
        KeyError: There is no fault of this name.
    """
    return replace(SEGMENT_FAULTS[name], **changes)
