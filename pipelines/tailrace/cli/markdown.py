"""A plan as the comment on a pull request: found again by its first line, and never too long."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from tailrace.cli.text import Result, called, changes_of, left_over, reasons_of, size_of, summary

MARKDOWN_BYTES_MAX = 64_000
DETAILS_MAX = 50


def markdown(result: Result, target: str | None) -> str:
    """A plan as a comment for a pull request, found again by its hidden first line.

    What must not be missed comes first, so that cutting at the limit loses the least.
    """
    head = [
        f"<!-- tailrace-plan:{target or 'default'} -->",
        "### Tailrace plan" + (f" for `{target}`" if target else ""),
        "",
        *(f"- **{_safe(each['error'])}**: {_safe(each['message'])}" for each in result["errors"]),
    ]
    order = ("failed", "held", "ok", "unchanged")
    audiences = sorted(
        result["audiences"],
        key=lambda each: (order.index(each["status"]), -_moved(each), each["audience"]),
    )
    table = [
        "| Audience | Size | Entered | Changed | Exited | Guard |",
        "|---|--:|--:|--:|--:|---|",
    ]
    rows = [_markdown_row(each) for each in audiences]
    details = [line for each in audiences[:DETAILS_MAX] for line in _markdown_details(each)]
    tail = ["", *(f"- {_safe(line)}" for line in left_over(result)), "", summary(result)]
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


def _moved(audience: Result) -> int:
    return sum(audience.get(name) or 0 for name in ("entered", "changed", "exited"))


def _markdown_row(audience: Result) -> str:
    guards = audience.get("guards", ())
    held = [each for each in guards if each["held"]]
    said = ", ".join(f"**{each['name']}: {each['seen']:,} of {each['limit']:,}**" for each in held)
    if not held:
        said = "held" if audience["status"] == "held" else "ok"
        said += "".join(
            f", {each['seen']:,} of {each['limit']:,} may leave"
            for each in guards
            if each["name"] == "max_exited" and each["seen"]
        )
    cells = (
        f"`{called(audience)}`",
        size_of(audience),
        f"+{audience.get('entered') or 0:,}",
        f"~{audience.get('changed') or 0:,}",
        f"-{audience.get('exited') or 0:,}",
        "**failed**" if audience["status"] == "failed" else said,
    )
    return f"| {' | '.join(cells)} |"


def _markdown_details(audience: Result) -> Iterable[str]:
    samples = audience.get("samples", ())
    reasons, changes = reasons_of(audience), list(changes_of(audience))
    if not samples and not reasons and not changes:
        return
    yield from ("", f"<details><summary><code>{called(audience)}</code></summary>", "")
    if reasons:
        yield f"By reason: {reasons}"
    yield from (f"- {_safe(change)}" for change in changes)
    if samples:
        yield from ("", "```json", *(json.dumps(each, default=str) for each in samples[:3]), "```")
    yield from ("", "</details>")


def _safe(text: str) -> str:
    """Text that Markdown shows as it is, and that calls nobody by an @."""
    for character in "\\`*[]<>|":
        text = text.replace(character, f"&#{ord(character)};")
    return text.replace("@", "@\u200b").replace("\n", " ")
