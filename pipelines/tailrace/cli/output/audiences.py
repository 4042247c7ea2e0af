"""The audiences of a result as text: a table, and the sentences that it has no room for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.cli.output.summary import counted
from tailrace.cli.output.table import Table

Output = Mapping[str, Any]

# Guards whose limit is a number of members; the messages of the others say it all.
COUNTING_GUARDS = frozenset({"max_exited", "max_entered", "max_changed", "min_rows", "first_run"})
_ORIGINS = {"flag": "set by a flag", "header": "set in its header", "default": "the default"}


def audiences_table(result: Output) -> Table:
    """A row for each audience, with its counts."""
    entries = result.get("audiences", ())
    numbers = (
        ("entered", "changed", "exited", "held", "quarantined")
        if result["command"] == "plan"
        else ("entered", "changed", "exited", "sent", "rejected", "held")
    )
    rows = tuple(
        (
            called(entry),
            "broken" if entry.get("broken") else entry.get("status", ""),
            size_of(entry),
            *(number(entry.get(name)) for name in numbers),
        )
        for entry in entries
    )
    zero = {name for name in numbers if not any(entry.get(name) for entry in entries)}
    return Table(
        ("audience", "status", "size", *numbers),
        rows,
        first_number=2,
        optional=tuple(name for name in reversed(numbers) if name in zero),
    )


def size_of(audience: Output) -> str:
    """`1,200 → 1,201`, or one number if the size stays."""
    before, after = audience.get("size_before"), audience.get("size_after")
    if before is None or before == after:
        return number(after)
    return f"{number(before)} → {number(after)}"


def called(audience: Output) -> str:
    """An audience's name, with its destination if that is not `segment`."""
    destination = audience.get("destination", "segment")
    name = str(audience["audience"])
    return name if destination == "segment" else f"{name} → {destination}"


def notes_of(audience: Output) -> Iterable[str]:
    """What the table has no room for: why members moved, and why an audience is held."""
    name = called(audience)
    reasons = reasons_of(audience)
    if reasons and set(audience["by_reason"]) - {"data", "initial"}:
        yield f"{name}: {reasons}"
    yield from (f"{name}: {change}" for change in changes_of(audience))
    yield from held_notes(audience)
    for guard in audience.get("guards", ()):
        seen, limit = number(guard["seen"]), number(guard["limit"])
        if guard["held"]:
            continue
        if guard.get("allowed"):
            sign = "<" if guard["name"] == "min_rows" else ">"
            yield f"{name}: {guard['name']} ({seen} {sign} {limit}) overridden by --allow"
        elif guard["name"].startswith("max_") and guard["seen"] * 2 > guard["limit"]:
            yield f"{name}: {guard['name']} is at {seen} of {limit}"
    for note in audience.get("notes", ()):
        yield f"{name}: {note}"


def held_notes(audience: Output) -> Iterable[str]:
    """Why an audience is held, and below each reason what to do about it."""
    name = called(audience)
    for guard in audience.get("guards", ()):
        if not guard["held"]:
            continue
        message = guard.get("message") or f"{number(guard['seen'])} seen"
        bound = f"; the limit is {number(guard['limit'])}"
        end = bound if guard["name"] in COUNTING_GUARDS else ""
        yield f"{name} is held by {guard['name']}: {message}{end}."
        allow = f"--allow {audience['audience']}:{guard['name']}"
        hint = guard.get("hint") or ""
        if hint:
            yield f"  {hint}"
        if allow not in hint:
            yield f"  If this is expected, override it once with {allow}"


def preview_lines(audience: Output, row: Output) -> Iterable[str]:
    """A member that `plan --show` asks for: changed columns, and the JSON of each message."""
    yield f"{called(audience)}: {' '.join(row['key'])} {row['op']} ({row['reason']})"
    for change in row["changes"]:
        yield f"  {change['column']}: {json.dumps(change['old'])} → {json.dumps(change['new'])}"
    if row["problem"]:
        yield f"  would be rejected: {row['problem']}"
    elif not row["messages"]:
        yield "  recorded without sending"
    yield from (f"  {json.dumps(message)}" for message in row["messages"])


def left_over(result: Output) -> list[str]:
    """Unfinished deliveries, and audiences with members in the ledger and no file."""
    lines = []
    pending = sum(entry["members"] for entry in result.get("unfinished", ()))
    if pending:
        verb = "is" if pending == 1 else "are"
        changes = counted(pending, "change")
        lines.append(f"{changes} from an earlier run {verb} pending and will be sent first.")
    lines += [
        f"{name} has members in the ledger and no file. Send their exits with: tailrace retire "
        f"{name}, or, if it was renamed: tailrace rename {name} NEW_NAME"
        for name in result.get("orphans", ())
    ]
    if result["command"] == "plan":
        lines += [
            f"{warning['file']}:{warning['line']}: {warning['message']}. {warning['hint']}"
            for warning in result.get("warnings", ())
        ]
    return lines


def changes_of(audience: Output) -> Iterable[str]:
    """The changes that no data caused, and what is done about each."""
    rejected = audience.get("rejected_before", 0)
    if rejected:
        yield f"retrying {counted(rejected, 'rejected row')}"
    for reason, rows in audience.get("refused_by_reason", {}).items():
        tense = "will be" if "sent" not in audience else "was" if rows == 1 else "were"
        yield f"{counted(rows, 'row')} {tense} refused: {reason}"
    current = audience.get("current", 0)
    if current:
        yield f"{counted(current, 'row')} not sent: the record has these values already"
    for what, columns in (("unmapped columns", "dropped"), ("type changed", "retyped")):
        if audience.get(f"{columns}_columns"):
            yield f"{what}: {', '.join(audience[f'{columns}_columns'])}"
    columns = ", ".join(audience.get("new_columns", ()))
    unconverted = audience.get("unconverted", 0)
    members = f"{counted(unconverted, 'member')} with a value that has no equal in the new type"
    for what, name, happened in (
        ("the SQL changed", "on_definition_change", audience.get("definition_changed")),
        ("the mapping changed", "on_mapping_change", audience.get("mapping_changed")),
        (f"newly mapped columns: {columns}", "on_new_column", columns),
        (members, "on_new_column", unconverted),
    ):
        if happened and name in audience.get("choices", {}):
            policy = audience["choices"][name]
            yield f"{what}; {name} is {policy['choice']} ({_ORIGINS[policy['decided_by']]})"


def reasons_of(audience: Output) -> str:
    """Why members moved, each reason with its counts."""
    return ", ".join(
        f"{reason} +{ops['entered']:,} ~{ops['changed']:,} -{ops['exited']:,}"
        for reason, ops in audience.get("by_reason", {}).items()
        if any(ops.values())
    )


def number(value: Any) -> str:
    """1204 as `1,204`; an empty text for None; a share or a word as it is.

    >>> number(1204), number(None), number("20%")
    ('1,204', '', '20%')
    """
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
