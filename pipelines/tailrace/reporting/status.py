"""The latest runs, the audiences, and how far the running run has sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tailrace.clock import Clock, format_utc
from tailrace.config.project import ProjectConfig
from tailrace.ledger import lock
from tailrace.ledger.ledger import Ledger
from tailrace.warehouse.connection import Warehouse, open_to_read

RUNS_MAX = 10
# The rate is that of the acknowledgements of this time.
RATE_SECONDS = 60


def status(source: ProjectConfig | Warehouse, *, clock: Clock) -> dict[str, Any]:
    """The latest runs and where each audience stands.

    Args:
        source: The project, or its open warehouse.
        clock: The time source.

    Returns:
        `runs`, the latest first; `audiences`; and `sending`, which has an entry for each audience
        that the running run sends, or is about to. `sent` and `planned` are members, and
        `remaining_seconds` is null until the first acknowledgements are recorded.
    """
    with open_to_read(source, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        runs = ledger.recent_runs(RUNS_MAX)
        audiences = ledger.audience_status()
        running = running_run(ledger, runs, now=clock.now())
        sending = _sending(ledger, now=clock.now()) if running else []
        in_progress = {(entry["audience"], entry["destination"]) for entry in sending}
        for audience in audiences:
            if (audience["audience"], audience["destination"]) in in_progress:
                audience["status"] = "sending"
        return {"runs": runs, "audiences": audiences, "running": running, "sending": sending}


def running_run(ledger: Ledger, runs: Sequence[dict[str, Any]], *, now: datetime) -> str | None:
    """The id of the run that is active now, if there is one."""
    warehouse = ledger.warehouse
    if not ledger.installed or (warehouse.engine.embedded and not warehouse.reads_beside_a_run):
        # This process could open the file, so no other one has it.
        return None
    lease = lock.read_lock(ledger)
    if lease.is_dead(now=now, single_writer=False):
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
