"""What a plan or a run sends, in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tailrace.cli.output.table import Headline

Output = Mapping[str, Any]

# Fewer rows are read in a moment.
SCAN_ROWS_SHOWN_MIN = 1_000_000
_DEFAULT = "segment"
# What a destination type is called; others are called by the name of their section.
_LABELS = {_DEFAULT: "Segment"}


def summary(result: Output) -> str:
    """What was sent, or would be, in a sentence."""
    audiences, work = result["audiences"], dict(_work(result))
    if result["command"] == "plan":
        if not work and any(entry["status"] == "held" for entry in audiences):
            return "Nothing would be sent: see what is held."
        if not work:
            return "Nothing else to send." if result.get("unfinished") else "Nothing to send."
        used = result.get("salesforce", {}).get("calls", 0)
        cost = f" The last extract used {counted(used, 'Salesforce API call')}." if used else ""
        new = result.get(_DEFAULT, {}).get("new_users", 0)
        users = counted(new, "user")
        to = f", for up to {users} new to this source (may count towards MTU)" if new else ""
        sent = " and ".join(
            f"{name} {messages}, {_cost(total)}" for name, (messages, total) in work.items()
        )
        return f"Would send {sent}{to}.{cost} Nothing was sent.{_scans(audiences)}"
    if any(entry["status"] == "failed" for entry in audiences):
        return "Not finished: see the errors. The next run sends the rest."
    if not work and (result["errors"] or any(entry["status"] == "held" for entry in audiences)):
        return "Nothing was sent."
    rejected = sum(entry["rejected"] for entry in audiences)
    rows = f" Rejected: {counted(rejected, 'row')}; see: tailrace rejected" if rejected else ""
    if not work:
        *others, last = dict.fromkeys(_labels(result)) or (_LABELS[_DEFAULT],)
        names = f"{', '.join(others)} and {last}" if others else last
        verb = "are" if others else "is"
        return rows.strip() or f"Nothing to send: {names} {verb} up to date."
    return " ".join(f"{name} acknowledged {done}." for name, (done, _) in work.items()) + rows


def _scans(audiences: Sequence[Output]) -> str:
    """How many rows of tables a run reads, if there are many."""
    rows = sum(entry.get("scan_rows") or 0 for entry in audiences)
    return f" A run reads about {rows:,} rows of tables." if rows >= SCAN_ROWS_SHOWN_MIN else ""


def _cost(total: Output) -> str:
    """The time that rates allow, or the calls that a daily budget has to cover."""
    if "api_calls" in total:
        return f"about {counted(total['api_calls'], 'API call')}"
    return f"about {total.get('seconds', 0):,.1f} s"


def plan_headline(result: Output) -> Headline:
    """What a plan comes to: the audiences that fail or are held, else the changes."""
    audiences = result["audiences"]
    failed = [str(entry["audience"]) for entry in audiences if entry["status"] == "failed"]
    if failed:
        return Headline("Failed", "failed", f"{', '.join(failed)} cannot be planned.")
    held = [_held(entry) for entry in audiences if entry["status"] == "held"]
    counts = {
        op: sum(int(entry[op]) for entry in audiences) for op in ("entered", "changed", "exited")
    }
    if not any(counts.values()) and not held:
        return Headline("No change", "ok", f"{counted(len(audiences), 'audience')} up to date.")
    changes = ", ".join(f"{count:,} {op}" for op, count in counts.items())
    if held:
        return Headline("Held by a guard", "held", f"{', '.join(held)}. In all: {changes}.")
    return Headline("Ready", "ok", f"{changes} in {counted(len(audiences), 'audience')}.")


def _held(audience: Output) -> str:
    guards = ", ".join(str(guard["name"]) for guard in audience["guards"] if guard["held"])
    return f"{audience['audience']} by {guards}"


def _labels(result: Output) -> Iterable[str]:
    """What the destinations of a result are called: the type's label, or the section's name."""
    for name, total in result.get("destinations", {}).items():
        yield _LABELS.get(total["type"], name)


def _work(result: Output) -> Iterable[tuple[str, tuple[str, Output]]]:
    """Messages and batches of each destination that has any; the default type's are added up."""
    totals = [(_LABELS[_DEFAULT], "call", result.get(_DEFAULT, {}))]
    totals += [
        (name, "message", total)
        for name, total in result.get("destinations", {}).items()
        if total["type"] != _DEFAULT
    ]
    for name, noun, total in totals:
        messages, batches = total.get("calls", 0), total.get("batches", 0)
        if messages:
            # Batches are unknown for what an earlier run planned.
            in_batches = f" in {counted(batches, 'batch')}" if batches else ""
            yield name, (f"{counted(messages, noun)}{in_batches}", total)


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "batch"), counted(2_000, "batch")
    ('1 batch', '2,000 batches')
    """
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"
