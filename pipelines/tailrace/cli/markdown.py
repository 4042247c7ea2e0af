"""A plan as the comment on a pull request, updated in place by its marker and at most 64 KB."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from tailrace.cli import escape
from tailrace.cli.summary import summary
from tailrace.cli.text import Output, called, changes_of, left_over, reasons_of, size_of

MARKDOWN_BYTES_MAX = 64_000
DETAILS_MAX = 50


def markdown(result: Output, target: str | None) -> str:
    """A plan as the comment on a pull request; its first line is a hidden marker.

    Errors and held audiences come first, so that a cut at the size limit drops the least important
    rows.
    """
    marked = re.sub(r"[^\w.-]", "_", target or "default")
    head = [
        f"<!-- tailrace-plan:{marked} -->",
        "### Tailrace plan" + (f" for {escape.markdown_code(target)}" if target else ""),
        "",
        *(
            f"- **{escape.markdown(error['error'])}**: {escape.markdown(error['message'])}"
            for error in result["errors"]
        ),
    ]
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
    tail = ["", *(f"- {escape.markdown(line)}" for line in left_over(result)), "", summary(result)]
    return _fitted([*head, *table], rows, details, tail)


def _fitted(
    head: Sequence[str], rows: Sequence[str], details: Sequence[str], tail: Sequence[str]
) -> str:
    left = MARKDOWN_BYTES_MAX - _bytes_of([*head, *tail])
    kept: list[str] = []
    for position, row in enumerate(rows):
        left -= _bytes_of([row])
        if left < 0:
            kept += ["", f"… and {len(rows) - position:,} more audiences"]
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
    state = ", ".join(f"**{g['name']}: {g['seen']:,} of {g['limit']:,}**" for g in held)
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


def _markdown_details(audience: Output) -> Iterable[str]:
    samples = audience.get("samples", ())
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
            "```json",
            *(json.dumps(sample, default=str) for sample in samples[:3]),
            "```",
        )
    yield from ("", "</details>")
