"""The latest runs, the audiences, and how far the running run has sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tailrace.clock import Clock, format_utc, parse_utc
from tailrace.config.project import ProjectConfig
from tailrace.ledger import lock
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.maintenance import rejected_by_reason
from tailrace.ledger.receivers import stopped_destinations
from tailrace.reporting.verdict import placed, verdict
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_to_read

RUNS_MAX = 10
# The rate is that of the acknowledgements of this time.
RATE_SECONDS = 60


def status(source: ProjectConfig | Warehouse, *, clock: Clock) -> dict[str, Any]:
    """The latest runs and where each audience stands.

    Args:
        source: The project, or its open warehouse.
        clock: The time source.

    Returns:
        `verdict`, in one line; `runs`, the latest first; `audiences`, with `last_success_at`; and
        `sending`, which has an entry for each audience that the running run sends, or is about to.
        `sent` and `planned` are members, and `remaining_seconds` is null until the first
        acknowledgements are recorded. `stopped` has the destinations that receive nothing until
        they are resumed. `watch` is the latest process of `run --watch`, or null.
    """
    with open_to_read(source, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        data = status_of(ledger, rejections=rejected_by_reason(ledger), now=clock.now())
        return {
            **data,
            "stopped": _stopped(ledger),
            "watch": _watch(ledger, now=clock.now()),
        }


def status_of(
    ledger: Ledger, *, rejections: Iterable[Mapping[str, Any]], now: datetime
) -> dict[str, Any]:
    """`verdict`, `runs`, `audiences`, `running` and `sending` of `status`.

    Args:
        ledger: The ledger.
        rejections: The open rejections, with `rows` in each entry.
        now: The time.
    """
    runs = ledger.runs.recent(RUNS_MAX)
    audiences = ledger.audiences.statuses()
    successes = _last_successes(ledger)
    running = running_run(ledger, runs, now=now)
    sending = _sending(ledger, now=now) if running else []
    in_progress = {(entry["audience"], entry["destination"]) for entry in sending}
    for audience in audiences:
        success = successes.get(str(audience["sync"]))
        audience["last_success_at"] = format_utc(success) if success else None
        if (audience["audience"], audience["destination"]) in in_progress:
            audience["status"] = "sending"
    rejected = sum(int(entry["rows"]) for entry in rejections)
    last = verdict(
        runs=runs, audiences=audiences, running=running, sending=sending, rejected=rejected
    )
    return {
        "verdict": last.as_dict(),
        "runs": runs,
        "audiences": audiences,
        "running": running,
        "sending": sending,
    }


def problems(data: Mapping[str, Any], *, late_hours: float, now: datetime) -> list[dict[str, Any]]:
    """The audiences that are broken, failed, held or late, each with one problem and a sentence.

    Args:
        data: The result of `status`. Without a run, it is one problem of no audience.
        late_hours: An audience without a success in this time is late; 0 means never.
        now: The time to compare with.
    """
    found = list(_broken(data.get("broken", ())))
    if not data["runs"]:
        message = "There is no run yet"
        entry = {"audience": None, "destination": None, "problem": "late", "message": message}
        return [*found, entry]
    for audience in data["audiences"]:
        if audience.get("broken"):
            continue
        name, condition = audience["audience"], audience["status"]
        success = audience.get("last_success_at")
        late = late_hours > 0 and (
            success is None or parse_utc(success) < now - timedelta(hours=late_hours)
        )
        last = f"its last successful run ended {success}" if success else "no run of it succeeded"
        if condition in ("failed", "held"):
            message = f"{name} is {condition}: {last}"
        elif late and condition != "sending":
            condition, message = "late", f"{name} is late: {last} (late_hours = {late_hours:g})"
        else:
            continue
        entry = {"audience": name, "destination": audience["destination"]}
        found.append({**entry, "problem": condition, "message": message})
    return found


def _broken(errors: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A problem for each audience that a broken file stops, by the first of its errors."""
    named: set[str | None] = set()
    for error in errors:
        for name in error["audiences"] or [None]:
            if name is None or name not in named:
                subject = f"{name} is broken: " if name else ""
                yield {
                    "audience": name,
                    "destination": None,
                    "problem": "broken",
                    "message": subject + placed(error).removesuffix("."),
                }
            named.add(name)


def _stopped(ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {"destination": name, "reason": reason, "stopped_at": format_utc(at)}
        for name, (reason, at) in sorted(stopped_destinations(ledger).items())
    ]


def _last_successes(ledger: Ledger) -> dict[str, datetime]:
    if not ledger.installed:
        return {}
    rows = ledger.warehouse.run("reporting/last_successes", tables=ledger.tables)
    return {str(sync_key): finished_at for sync_key, finished_at in rows if finished_at}


def _watch(ledger: Ledger, *, now: datetime) -> dict[str, Any] | None:
    """The latest process of `run --watch`, and whether it is active."""
    watch = ledger.watches.latest()
    if watch is None:
        return None
    lease = _live_lease(ledger, now=now) if watch.ended_at is None else None
    return {**watch.as_json(), "active": lease is not None and lease.run_id == watch.watch_id}


def _live_lease(ledger: Ledger, *, now: datetime) -> lock.Lease | None:
    """The lease of the run that is active now, if there is one."""
    warehouse = ledger.warehouse
    if not ledger.installed or (
        warehouse.engine.single_writer and not warehouse.reads_beside_a_run
    ):
        # This process could open the file, so no other one has it.
        return None
    lease = lock.read_lock(ledger)
    return None if lease.is_dead(now=now, one_writer=False) else lease


def running_run(ledger: Ledger, runs: Sequence[dict[str, Any]], *, now: datetime) -> str | None:
    """The id of the run that is active now, if there is one."""
    lease = _live_lease(ledger, now=now)
    if lease is None:
        return None
    suffix = lease.run_id.rpartition("-")[2]
    for run in runs:
        if run["finished_at"] is None and str(run["run_id"]).endswith(f"-{suffix}"):
            return str(run["run_id"])
    return None


def _sending(ledger: Ledger, *, now: datetime) -> list[dict[str, Any]]:
    """What the running run sends, or is about to: one entry for each audience and destination."""
    since = now - timedelta(seconds=RATE_SECONDS)
    recent: dict[tuple[int, str], list[tuple[int, int, datetime]]] = {}
    for run_seq, sync_key, members, messages, at in ledger.warehouse.run(
        "reporting/recent_acks", tables=ledger.tables, since=since
    ):
        recent.setdefault((run_seq, sync_key), []).append((members, messages, at))
    entries = []
    for run_seq, sync_key, name, destination, planned, acknowledged, begun in ledger.warehouse.run(
        "reporting/deliveries_in_progress", tables=ledger.tables
    ):
        sent = min(int(planned), int(acknowledged))
        acks = recent.get((run_seq, sync_key), [])
        members_rate, messages_rate = _rates(acks, begun=max(begun, since))
        entries.append(
            {
                "audience": name,
                "destination": destination,
                "sent": sent,
                "planned": int(planned),
                "messages_per_second": round(messages_rate, 1),
                "remaining_seconds": round((planned - sent) / members_rate)
                if members_rate
                else None,
                "started_at": format_utc(begun),
            }
        )
    return entries


def _rates(acks: Sequence[tuple[int, int, datetime]], *, begun: datetime) -> tuple[float, float]:
    """Members and messages a second.

    The first acknowledgement only marks the time, since other audiences may have been sent before
    it; a single one is counted from `begun`.
    """
    if not acks:
        return 0.0, 0.0
    counted = acks[1:] or acks
    start = acks[0][2] if len(acks) > 1 else begun
    seconds = (acks[-1][2] - start).total_seconds()
    if seconds <= 0:
        return 0.0, 0.0
    members = sum(ack[0] for ack in counted)
    messages = sum(ack[1] for ack in counted)
    return members / seconds, messages / seconds
