"""Start a simulator as a process: python -m tailrace.testing salesforce | segment | webhook."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tailrace.clock import SystemClock
from tailrace.testing.http.server import Simulator

_EPILOG = """\
The simulator prints one line of JSON with its URL and credentials, and runs until SIGTERM or, if
its standard input is a pipe, until that closes.

Control calls (JSON over HTTP, not logged, no authentication):
  GET    /_control/requests     the requests so far, with status and fault
  DELETE /_control/requests     clear that list
  GET    /_control/faults       the fault rules
  POST   /_control/faults       add a rule or a list: {"path": "*/batch", "status": 503, "times": 2}
  DELETE /_control/faults       remove all rules
  POST   /_control/named_fault  add a named fault: {"name": "rate_limited", "times": 1}
"""
_SALESFORCE_EPILOG = """
Salesforce only:
  GET  /_control/org            time, rows per object, API calls, jobs
  POST /_control/advance        {"days": 1} plays days; {"hours": 2} moves the clock
  POST /_control/insert         {"object": "Contact", "values": {...}}; also update, delete,
                                undelete, purge, merge, mass, touch, records
  POST /_control/field          add or change a field; also remove_field, change_type
  POST /_control/hide           hide a field from the user; hide_object hides an object, lock_field
                                makes a field read-only
  POST /_control/row_fault      let written rows fail: {"code": "UNABLE_TO_LOCK_ROW", "times": 3}
  POST /_control/apex           add an Apex REST class: {"path": "/vip/v1"}
  POST /_control/settings       set an option of --set, api_calls_max, api_calls_used or org_id
  POST /_control/job_fault      {"contains": "FROM Contact", "message": "QUERY_TIMEOUT: ..."}
  POST /_control/expire_tokens  end every session; also hold_back, purge_delete_log, warm
"""
_SEGMENT_EPILOG = """
Segment only:
  GET    /_control/events       accepted messages, each id once
  GET    /_control/received     all messages of accepted requests
  GET    /_control/discards     messages answered with 200 and dropped, with the reason
  GET    /_control/stats        counts
  DELETE /_control/events       forget everything
"""
_WEBHOOK_EPILOG = """
Webhook only:
  GET    /_control/deliveries   accepted requests with their elements and errors
  DELETE /_control/deliveries   forget them
"""


def main(arguments: list[str] | None = None) -> int:
    """Start the simulator that the arguments name; return when it ends."""
    parser = _parser("python -m tailrace.testing", __doc__ or "", _EPILOG)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, (summary, add, _, epilog) in _KINDS.items():
        kind = kinds.add_parser(
            name,
            help=summary,
            description=f"Simulate {summary}.",
            epilog=_EPILOG + epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        kind.add_argument("--port", type=int, default=0, help="default: any free port")
        kind.add_argument(
            "--fault",
            action="append",
            default=[],
            metavar="NAME",
            help="a named fault for all requests; repeatable; names: --list-faults",
        )
        kind.add_argument("--list-faults", action="store_true", help="list named faults and exit")
        add(kind)
    options = parser.parse_args(arguments)
    faults = _named_faults(options.kind)
    if options.list_faults:
        sys.stdout.write("\n".join(faults) + "\n")
        return 0
    unknown = [name for name in options.fault if name not in faults]
    if unknown:
        parser.error(f"unknown fault {unknown[0]}; list them with --list-faults")
    try:
        simulator, credentials = _KINDS[options.kind][2](options)
    except ValueError as error:
        parser.error(str(error))
    simulator.faults.extend(faults[name] for name in options.fault)
    serve(simulator, {"url": simulator.url, **credentials})
    return 0


def serve(simulator: Simulator, announcement: Mapping[str, Any]) -> None:
    """Print the announcement as JSON, and serve until SIGTERM, SIGINT or the end of stdin."""
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    signal.signal(signal.SIGINT, lambda *_: end.set())
    threading.Thread(target=_wait_for_stdin, args=(end,), daemon=True).start()
    with simulator:
        sys.stdout.write(json.dumps(announcement) + "\n")
        sys.stdout.flush()
        end.wait()


def _parser(program: str, description: str, epilog: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _wait_for_stdin(end: threading.Event) -> None:
    """Set the event when the parent process closes its end of a pipe; ignore other inputs."""
    if sys.stdin is None or not _is_pipe():
        return
    # Not through sys.stdin: a lock held by this thread would abort the interpreter's exit.
    while os.read(sys.stdin.fileno(), 4_096):
        continue
    end.set()


def _is_pipe() -> bool:
    try:
        return Path(f"/dev/fd/{sys.stdin.fileno()}").is_fifo()
    except (OSError, ValueError):
        return False


def _named_faults(kind: str) -> dict[str, Any]:
    """The named faults of a simulator; imported on use, to start quickly."""
    if kind == "salesforce":
        from tailrace.testing.salesforce.named_faults import SALESFORCE_FAULTS

        return SALESFORCE_FAULTS
    if kind == "segment":
        from tailrace.testing.segment.named_faults import SEGMENT_FAULTS

        return SEGMENT_FAULTS
    from tailrace.testing.webhook.receiver import WEBHOOK_FAULTS

    return WEBHOOK_FAULTS


def _segment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-key", default="sandbox-write-key")
    parser.add_argument(
        "--write-key-check", action="store_true", help="answer 401 to a wrong write key"
    )
    parser.add_argument("--record", type=Path, help="append accepted messages, one JSON per line")
    parser.add_argument("--loose", action="store_true", help="count requests without reading them")
    parser.add_argument("--forget", action="store_true", help="keep ids and counts, no messages")
    parser.add_argument("--oauth", action="store_true", help="require a bearer token")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="before each answer"
    )


def _segment(options: argparse.Namespace) -> tuple[Simulator, dict[str, Any]]:
    from tailrace.testing.segment.simulator import SegmentSimulator

    simulator = SegmentSimulator(
        port=options.port,
        write_key=options.write_key,
        write_key_check=options.write_key_check,
        record=options.record,
        strict=not options.loose,
        keep=not options.forget,
        oauth=options.oauth,
        latency_seconds=options.latency,
    )
    credentials: dict[str, Any] = {"write_key": simulator.write_key}
    if simulator.authorization:
        credentials["oauth_client_id"] = simulator.authorization.client_id
        credentials["oauth_key_id"] = simulator.authorization.key_id
        credentials["oauth_client_key"] = simulator.authorization.client_key
    return simulator, credentials


def _salesforce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=7, help="seed of the invented records")
    parser.add_argument(
        "--start",
        type=_time,
        default=None,
        metavar="TIME",
        help="the org's time, ISO 8601 in UTC; default: now",
    )
    parser.add_argument(
        "--contacts", type=int, default=0, metavar="ROWS", help="additional generated contacts"
    )
    parser.add_argument(
        "--write-back", action="store_true", help="add external ids and fields to write to"
    )
    parser.add_argument("--page-rows", type=int, default=50_000, help="rows in a Bulk page")
    parser.add_argument("--polls", type=int, default=1, help="polls that find a job unfinished")
    parser.add_argument("--job-seconds", type=float, default=0.0, help="how long a job runs")
    parser.add_argument("--api-calls-max", type=int, default=100_000, help="the daily quota")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="before each page of results"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="OPTION=JSON",
        help="an option of the org's behavior, such as paging='\"repeats\"'; repeatable",
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"expected OPTION=JSON, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _salesforce(options: argparse.Namespace) -> tuple[Simulator, dict[str, Any]]:
    from tailrace.testing.http.faults import Fault
    from tailrace.testing.org.editions import enable_write_back
    from tailrace.testing.org.org import Org
    from tailrace.testing.salesforce.bulk import BulkSettings
    from tailrace.testing.salesforce.simulator import SalesforceSimulator

    org = Org(seed=options.seed, start=options.start or SystemClock().now())
    if options.write_back:
        enable_write_back(org)
    if options.contacts:
        org.add_mass("Contact", options.contacts)
    bulk = BulkSettings(
        page_rows=options.page_rows, polls=options.polls, job_seconds=options.job_seconds
    )
    simulator = SalesforceSimulator(
        org=org,
        port=options.port,
        bulk=bulk,
        behavior=_behavior(options.set),
        api_calls_max=options.api_calls_max,
    )
    if options.latency:
        for path in ("*/results", "*/query", "*/queryAll", "*/query/0r8*"):
            fault = Fault(path=path, method="GET", delay_seconds=options.latency)
            simulator.faults.append(fault)
    names = (
        "client_id",
        "client_secret",
        "username",
        "password",
        "security_token",
        "private_key_pem",
    )
    return simulator, {name: getattr(simulator, name) for name in names}


def _behavior(settings: Iterable[tuple[str, Any]]) -> Any:
    from tailrace.testing.salesforce.behavior import OrgBehavior, options

    behavior = OrgBehavior()
    for name, value in settings:
        if name not in options():
            raise ValueError(f"unknown option {name}; options: {', '.join(options())}")
        behavior.change(name, value)
    return behavior


def _webhook_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret", action="append", default=[], help="whsec_… secret that must sign; repeatable"
    )
    parser.add_argument("--path", help="the only path that exists; default: every path")
    parser.add_argument(
        "--verdicts",
        choices=("batch", "element"),
        default="batch",
        help="answer per batch or with one result per element",
    )


def _webhook(options: argparse.Namespace) -> tuple[Simulator, dict[str, Any]]:
    from tailrace.testing.webhook.receiver import WebhookReceiver

    simulator = WebhookReceiver(
        port=options.port, secrets=options.secret, path=options.path, verdicts=options.verdicts
    )
    return simulator, {}


_Kind = tuple[
    str,
    Callable[[argparse.ArgumentParser], None],
    Callable[[argparse.Namespace], tuple[Simulator, dict[str, Any]]],
    str,
]
_KINDS: dict[str, _Kind] = {
    "salesforce": ("a Salesforce org", _salesforce_arguments, _salesforce, _SALESFORCE_EPILOG),
    "segment": ("a Segment source", _segment_arguments, _segment, _SEGMENT_EPILOG),
    "webhook": ("a webhook endpoint", _webhook_arguments, _webhook, _WEBHOOK_EPILOG),
}

if __name__ == "__main__":
    sys.exit(main())
