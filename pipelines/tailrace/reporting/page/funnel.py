"""The funnel of an audience run: from the model's rows to the changes that were accepted.

The steps are model rows, unique keys, identity, consent, moved, sent and accepted. A count plus its
drops is the count of the step before, exactly: what the ledger counted is subtracted, and what is
left at a step is a count of its own only where the ledger has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.reporting.page.facts import Drop, FunnelStep

NO_ID = "no_user_anon_id"


def funnel_of(
    run: Mapping[str, Any], *, rejections: Mapping[str, int], acknowledged: int
) -> tuple[FunnelStep, ...]:
    """The steps of one audience run; empty for a run that read no model.

    Args:
        run: An entry of `audience_runs` of the ledger's facts.
        rejections: Its rejected changes by reason, as far as they are not purged.
        acknowledged: The changes that are acknowledged so far, if it is still delivering.
    """
    counts = run["funnel"] or _older_counts(run)
    exited = int(run["exited"])
    moved = int(run["entered"]) + int(run["changed"]) - counts["without_id"]
    if not counts["rows"] and not moved + exited:
        return ()
    to_send = moved + exited
    unsent = _unsent(run, counts, to_send=to_send, acknowledged=acknowledged)
    sent = to_send - _total(unsent)
    refused = _refused(run, rejections, without_id=counts["without_id"], sent=sent)
    members, steps = _member_steps(run, counts)
    plan = f"tailrace plan --select {run['audience']}"
    shared = counts["shared_message_ids"]
    changed = _drops(
        ("unchanged since the last delivery", members - shared - moved, ""),
        ("messageId of another row", shared, plan),
        ("exits: members that the model no longer returns", -exited, ""),
    )
    return (
        *steps,
        FunnelStep(
            name="Moved", meaning="changes since the last delivery", count=to_send, drops=changed
        ),
        FunnelStep(name="Sent", meaning="changes sent as messages", count=sent, drops=unsent),
        FunnelStep(
            name="Accepted",
            meaning="changes that the destination accepted",
            count=sent - _total(refused),
            drops=refused,
        ),
    )


def _member_steps(
    run: Mapping[str, Any], counts: Mapping[str, int]
) -> tuple[int, tuple[FunnelStep, ...]]:
    """The number of members, and the steps from the model's rows to them."""
    unique = counts["rows"] - counts["null_keys"] - counts["duplicate_keys"]
    identified = unique - counts["without_id"]
    members = identified - counts["suppressed"]
    plan = f"tailrace plan --select {run['audience']}"
    bad_keys = _drops(
        ("the key is NULL", counts["null_keys"], plan),
        ("the key is in several rows", counts["duplicate_keys"], plan),
    )
    listed = f"tailrace rejected --select {run['audience']}"
    no_id = _drops(("no user id and no anonymous id", counts["without_id"], listed))
    return members, (
        FunnelStep(
            name="Model rows", meaning="rows that the SELECT returned", count=counts["rows"]
        ),
        FunnelStep(
            name="Unique keys", meaning="rows with a key of their own", count=unique, drops=bad_keys
        ),
        FunnelStep(
            name="Identity",
            meaning="rows with a user id or an anonymous id",
            count=identified,
            drops=no_id,
        ),
        FunnelStep(
            name="Consent",
            meaning="members: nothing suppresses them",
            count=members,
            drops=_drops(("suppressed by consent", counts["suppressed"], "")),
        ),
    )


def _older_counts(run: Mapping[str, Any]) -> dict[str, int]:
    """The counts of a run before the ledger kept them: only those that it had."""
    names = ("null_keys", "suppressed", "without_id", "shared_message_ids", "silent")
    return {
        **dict.fromkeys(names, 0),
        "rows": int(run["rows_seen"]),
        "duplicate_keys": int(run["quarantined"]),
    }


def _unsent(
    run: Mapping[str, Any], counts: Mapping[str, int], *, to_send: int, acknowledged: int
) -> tuple[Drop, ...]:
    audience = str(run["audience"])
    if run["phase"] == "held":
        guards = [str(guard["name"]) for guard in run["guards"] if guard["held"]]
        reason = f"held by {', '.join(guards)}" if guards else "held"
        allow = "".join(f" --allow {audience}:{guard}" for guard in guards)
        return _drops((reason, to_send, f"tailrace run{allow}"))
    silent = min(counts["silent"], to_send)
    pending = 0
    if run["phase"] == "delivering":
        planned = to_send + counts["without_id"]
        pending = min(max(planned - acknowledged, 0), to_send - silent)
    return _drops(
        ("recorded without sending", silent, ""),
        ("not acknowledged yet", pending, "tailrace run"),
    )


def _refused(
    run: Mapping[str, Any], rejections: Mapping[str, int], *, without_id: int, sent: int
) -> tuple[Drop, ...]:
    """The rejected changes by reason, without those that lack an id and dropped before."""
    listed = f"tailrace rejected --select {run['audience']}"
    by_reason = dict(rejections)
    by_reason[NO_ID] = by_reason.get(NO_ID, 0) - without_id
    total = int(run["rejected"]) - without_id
    if run["phase"] == "delivering":
        total = sum(max(count, 0) for count in by_reason.values())
    total = min(max(total, 0), sent)
    drops: list[tuple[str, int, str]] = []
    for reason, count in sorted(by_reason.items(), key=lambda item: (-item[1], item[0])):
        counted = min(max(count, 0), total - sum(drop[1] for drop in drops))
        drops.append((reason, counted, listed))
    # Rejections that were resolved are purged after a while; their number stays.
    drops.append(("rejected", total - sum(drop[1] for drop in drops), listed))
    return _drops(*drops)


def _total(drops: Iterable[Drop]) -> int:
    return sum(drop.count for drop in drops)


def _drops(*drops: tuple[str, int, str]) -> tuple[Drop, ...]:
    return tuple(
        Drop(reason=reason, count=count, command=command)
        for reason, count, command in drops
        if count
    )
