"""A plan as the comment on a pull request, updated in place by its marker and at most 64 KB."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from tailrace.cli.output import escape
from tailrace.cli.output.audiences import (
    COUNTING_GUARDS,
    Output,
    called,
    changes_of,
    held_notes,
    left_over,
    preview_lines,
    reasons_of,
    size_of,
)
from tailrace.cli.output.summary import summary
from tailrace.reporting.verdict import placed

MARKDOWN_BYTES_MAX = 64_000
DETAILS_MAX = 50
HELD_MAX = 20
SAMPLES_MAX = 3


def markdown(result: Output, target: str | None) -> str:
    """A plan as the comment on a pull request; its first line is a hidden marker.

    Errors and held audiences come first, so that a cut at the size limit drops the least important
    rows.
    """
    head = _head(result, target)
    order = ("failed", "held", "ok", "unchanged")
    audiences = sorted(
        result["audiences"],
        key=lambda audience: (
            order.index(audience["status"]),
            -_moved(audience),
            audience["audience"],
        ),
    )
    table = [
        "| Audience | Size | Entered | Changed | Exited | Guard |",
        "|---|--:|--:|--:|--:|---|",
    ]
    rows = [_markdown_row(audience) for audience in audiences]
    details = [line for audience in audiences[:DETAILS_MAX] for line in _markdown_details(audience)]
    notes = [*_held(audiences), *left_over(result)]
    tail = ["", *(f"- {escape.markdown(note)}" for note in notes), "", summary(result)]
    return _fitted([*head, *table], rows, details, tail)


def markdown_of_failure(result: Output, target: str | None) -> str:
    """The comment of a command that failed before it had a plan; it replaces an older plan."""
    errors = _head(result, target)
    return _fitted(
        errors[:3], errors[3:], (), ["", "There is no plan. Nothing was sent."], things="errors"
    )


def _head(result: Output, target: str | None) -> list[str]:
    """The marker, the heading, an empty line, and a line for each error."""
    marked = re.sub(r"[^\w.-]", "_", target or "default")
    return [
        f"<!-- tailrace-plan:{marked} -->",
        "### Tailrace plan" + (f" for {escape.markdown_code(target)}" if target else ""),
        "",
        *(_error(error) for error in result["errors"]),
    ]


def _error(error: Output) -> str:
    """An error with its place and its hint."""
    hint = f" {escape.markdown(error['hint'])}" if error.get("hint") else ""
    place = {"file": error.get("file"), "line": error.get("line"), "message": error["message"]}
    return f"- **{escape.markdown(error['error'])}**: {escape.markdown(placed(place))}{hint}"


def _held(audiences: Sequence[Output]) -> Iterable[str]:
    """Why audiences are held, and what to do about it."""
    held = [audience for audience in audiences if audience["status"] == "held"]
    for audience in held[:HELD_MAX]:
        yield " ".join(note.strip() for note in held_notes(audience))
    if len(held) > HELD_MAX:
        yield f"{len(held) - HELD_MAX:,} more audiences are held."


def _fitted(
    head: Sequence[str],
    rows: Sequence[str],
    details: Sequence[str],
    tail: Sequence[str],
    *,
    things: str = "audiences",
) -> str:
    left = MARKDOWN_BYTES_MAX - _bytes_of([*head, *tail])
    kept: list[str] = []
    for position, row in enumerate(rows):
        left -= _bytes_of([row])
        if left < 0:
            kept += ["", f"… and {len(rows) - position:,} more {things}"]
            break
        kept.append(row)
    if _bytes_of(details) <= left:
        kept += details
    return "\n".join([*head, *kept, *tail]) + "\n"


def _bytes_of(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _moved(audience: Output) -> int:
    return sum(audience.get(name) or 0 for name in ("entered", "changed", "exited"))


def _markdown_row(audience: Output) -> str:
    guards = audience.get("guards", ())
    held = [guard for guard in guards if guard["held"]]
    state = ", ".join(f"**{_counted(guard)}**" for guard in held)
    if not held:
        state = "held" if audience["status"] == "held" else "ok"
        state += "".join(
            f", {guard['seen']:,} of {guard['limit']:,} exits allowed"
            for guard in guards
            if guard["name"] == "max_exited" and guard["seen"]
        )
    cells = (
        escape.markdown_code(called(audience)),
        size_of(audience),
        f"+{audience.get('entered') or 0:,}",
        f"~{audience.get('changed') or 0:,}",
        f"-{audience.get('exited') or 0:,}",
        "**failed**" if audience["status"] == "failed" else state,
    )
    return f"| {' | '.join(cells)} |"


def _counted(guard: Output) -> str:
    """A guard with what it counts, if it counts members."""
    if guard["name"] not in COUNTING_GUARDS:
        return str(guard["name"])
    return f"{guard['name']}: {guard['seen']:,} of {guard['limit']:,}"


def _samples(audience: Output) -> Iterable[str]:
    """The members of `--show` with their changed columns and messages, or else a few keys.

    Backticks are escaped as JSON does it, so that no value ends the block of code.
    """
    rows = audience.get("rows") or ()
    for row in rows:
        yield from (escape.code_line(line) for line in preview_lines(audience, row))
    if not rows:
        samples = audience.get("samples", ())[:SAMPLES_MAX]
        yield from (escape.code_line(json.dumps(sample, default=str)) for sample in samples)


def _markdown_details(audience: Output) -> Iterable[str]:
    samples = list(_samples(audience))
    reasons, changes = reasons_of(audience), list(changes_of(audience))
    if not samples and not reasons and not changes:
        return
    yield from ("", f"<details><summary><code>{escape.html(called(audience))}</code></summary>", "")
    if reasons:
        yield f"By reason: {reasons}"
    yield from (f"- {escape.markdown(change)}" for change in changes)
    if samples:
        yield from (
            "",
            "```text" if audience.get("rows") else "```json",
            *samples,
            "```",
        )
    yield from ("", "</details>")
