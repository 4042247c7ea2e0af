"""`python -m tailrace.testing salesforce|segment`: a simulator as a process of its own.

Prints one line of JSON that says where it is, and serves until SIGTERM, or until its standard
input closes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tailrace.clock import SystemClock
from tailrace.testing.http.server import Simulator


def main(arguments: list[str] | None = None) -> int:
    """Start the simulator that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tailrace.testing", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, help_text, add in (
        ("salesforce", "a Salesforce org", _salesforce_arguments),
        ("segment", "a Segment source", _segment_arguments),
    ):
        kind = kinds.add_parser(name, help=help_text)
        kind.add_argument("--port", type=int, default=0, help="default: any free one")
        add(kind)
    given = parser.parse_args(arguments)
    simulator, told = _segment(given) if given.kind == "segment" else _salesforce(given)
    serve(simulator, {"url": simulator.url, **told})
    return 0


def serve(simulator: Simulator, told: dict[str, Any]) -> None:
    """Announce the simulator, and serve until somebody ends it."""
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    signal.signal(signal.SIGINT, lambda *_: end.set())
    threading.Thread(target=_wait_for_stdin, args=(end,), daemon=True).start()
    with simulator:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        end.wait()


def _wait_for_stdin(end: threading.Event) -> None:
    """The parent is gone when its end of the pipe is closed; a terminal or /dev/null is no pipe."""
    if sys.stdin is None or not _is_pipe():
        return
    # Not through sys.stdin: its lock, held here, would abort the interpreter's end.
    while os.read(sys.stdin.fileno(), 4_096):
        continue
    end.set()


def _is_pipe() -> bool:
    try:
        return Path(f"/dev/fd/{sys.stdin.fileno()}").is_fifo()
    except (OSError, ValueError):
        return False


def _segment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-key", default="sandbox-write-key")
    parser.add_argument("--record", type=Path, help="append every message taken, one JSON a line")
    parser.add_argument("--loose", action="store_true", help="count, and read nothing")
    parser.add_argument("--forget", action="store_true", help="keep ids and counts only")
    parser.add_argument("--oauth", action="store_true", help="ask for a bearer token")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")


def _segment(given: argparse.Namespace) -> tuple[Simulator, dict[str, Any]]:
    from tailrace.testing.segment.simulator import SegmentSimulator

    simulator = SegmentSimulator(
        port=given.port,
        write_key=given.write_key,
        record=given.record,
        strict=not given.loose,
        keep=not given.forget,
        oauth=given.oauth,
        latency_seconds=given.latency,
    )
    told: dict[str, Any] = {"write_key": simulator.write_key}
    if simulator.authorization:
        told["oauth_client_id"] = simulator.authorization.client_id
        told["oauth_key_id"] = simulator.authorization.key_id
        told["oauth_client_key"] = simulator.authorization.client_key
    return simulator, told


def _salesforce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--start",
        type=_moment,
        default=None,
        metavar="TIME",
        help="the org's time, ISO 8601 in UTC; default: now",
    )
    parser.add_argument(
        "--contacts", type=int, default=0, metavar="ROWS", help="generated ones, beside its own"
    )
    parser.add_argument("--page-rows", type=int, default=50_000, help="rows in a Bulk page")
    parser.add_argument("--polls", type=int, default=1, help="polls that find a job unfinished")
    parser.add_argument("--job-seconds", type=float, default=0.0, help="how long a job runs")
    parser.add_argument("--api-calls-max", type=int, default=100_000, help="the daily quota")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="before each page of results"
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _salesforce(given: argparse.Namespace) -> tuple[Simulator, dict[str, Any]]:
    from tailrace.testing.http.faults import Fault
    from tailrace.testing.org.org import Org
    from tailrace.testing.salesforce.bulk import BulkSettings
    from tailrace.testing.salesforce.simulator import SalesforceSimulator

    org = Org(seed=given.seed, start=given.start or SystemClock().now())
    if given.contacts:
        org.add_mass("Contact", given.contacts)
    bulk = BulkSettings(page_rows=given.page_rows, polls=given.polls, job_seconds=given.job_seconds)
    simulator = SalesforceSimulator(
        org=org, port=given.port, bulk=bulk, api_calls_max=given.api_calls_max
    )
    if given.latency:
        for path in ("*/results", "*/query", "*/queryAll", "*/query/0r8*"):
            simulator.faults.append(Fault(path=path, method="GET", delay_seconds=given.latency))
    names = (
        "client_id",
        "client_secret",
        "username",
        "password",
        "security_token",
        "private_key_pem",
    )
    return simulator, {name: getattr(simulator, name) for name in names}


if __name__ == "__main__":
    sys.exit(main())
