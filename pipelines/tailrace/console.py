"""How a result looks: a table on a terminal, plain lines in CI, one JSON object, Markdown.

Everything is rendered from the object that `--json` prints, so that no way of looking at a run
can say something else than another. rich is imported only when it draws on a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

Result = Mapping[str, Any]

MARKDOWN_BYTES_MAX = 64_000
DETAILS_MAX = 50
STATUS_STYLES = {"ok": "green", "unchanged": "dim", "held": "yellow", "failed": "bold red"}
COLUMN_STYLES = {"entered": "green", "changed": "cyan", "exited": "magenta", "rejected": "red"}


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the columns from `first_number` on are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first_number: int = 1_000


class ProgressLine:
    """One line on a terminal that is written over while the work goes on."""

    def __init__(self, stream: IO[str], *, plain: bool) -> None:
        self._stream = stream
        self._shown = stream.isatty() and not plain

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show how far the work is; without a total, only how much is done."""
        if self._shown:
            far = f"{done:,} of {total:,}" if total else f"{done:,}"
            self._stream.write(f"\r\x1b[K{name}: {far}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that the result starts on an empty one."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def show(result: Result, out: IO[str], *, plain: bool) -> None:
    """Print a result for a person."""
    for block in blocks(result):
        if isinstance(block, Table):
            draw(block, out, plain=plain or not out.isatty())
        else:
            out.write(f"{block}\n")


def draw(table: Table, out: IO[str], *, plain: bool) -> None:
    """Print a table: aligned text, or with rich's colours on a terminal."""
    if not table.rows:
        return
    if plain:
        out.writelines(f"{line}\n" for line in aligned(table))
        return
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, header_style="bold", padding=(0, 3, 0, 0))
    for position, name in enumerate(table.columns):
        justify: Any = "right" if position >= table.first_number else "left"
        drawn.add_column(name, justify=justify, style=COLUMN_STYLES.get(name), overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell, style=STATUS_STYLES.get(cell, "")) for cell in row))
    Console(file=out).print(drawn)


def aligned(table: Table) -> Iterable[str]:
    """A table as lines of text.

    >>> list(aligned(Table(("name", "size"), (("vip", "1,204"), ("lost", "3")), first_number=1)))
    ['name   size', 'vip   1,204', 'lost      3']
    """
    rows = (table.columns, *table.rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    for row in rows:
        cells = (
            cell.rjust(width) if i >= table.first_number else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def blocks(result: Result) -> Iterable[str | Table]:
    """What a person is shown of a result, from top to bottom."""
    shapes = {
        "init": _of_init,
        "validate": _of_validate,
        "ls": _of_ls,
        "extract": _of_extract,
        "status": _of_status,
        "rejected": _of_rejected,
        "doctor": _of_doctor,
        "demo": _of_demo,
    }
    yield from shapes.get(result["command"], _of_run)(result)


def _of_init(result: Result) -> Iterable[str | Table]:
    yield from (f"created  {name}" for name in result["created"])
    yield from (f"kept     {name}" for name in result["kept"])
    yield ""
    yield "Next: put your credentials in .dlt/secrets.toml (see .dlt/secrets.toml.example), then"
    yield "  tailrace doctor    to see whether everything is reachable"
    yield "  tailrace extract   to land what Salesforce has"
    yield "  tailrace plan      to see who would enter, change and leave each audience"


def _of_validate(result: Result) -> Iterable[str | Table]:
    models, audiences = result["models"], result["audience_count"]
    yield f"{counted(models, 'model')}, {counted(audiences, 'audience')}: valid."


def _of_ls(result: Result) -> Iterable[str | Table]:
    rows = []
    for model in result["models"]:
        reads = [*model["depends_on"], *(f"salesforce.{name}" for name in model["reads"])]
        columns = ", ".join(model["columns"] or ["*"])
        rows.append((model["name"], model["kind"], ", ".join(reads), columns))
    yield Table(("model", "kind", "reads", "columns"), tuple(rows))


def _of_extract(result: Result) -> Iterable[str | Table]:
    rows = tuple(
        (each["object"], number(each["rows"]), each.get("api") or "", _wholeness(each))
        for each in result.get("objects", ())
    )
    yield Table(("object", "rows", "read by", ""), rows)
    used = result.get("salesforce", {}).get("calls")
    if used is not None:
        yield f"Salesforce: {counted(used, 'API call')}."


def _wholeness(extracted: Result) -> str:
    """What is remarkable about an extracted object."""
    remarks = {
        "not whole": not extracted["complete"],
        "empty": extracted["empty"],
        f"{extracted['quarantined']} rows put aside": extracted["quarantined"],
        f"gone: {', '.join(extracted['vanished_fields'])}": extracted["vanished_fields"],
        f"new: {', '.join(extracted['new_fields'])}": extracted["new_fields"],
    }
    return "; ".join(remark for remark, holds in remarks.items() if holds)


def _of_status(result: Result) -> Iterable[str | Table]:
    runs = result.get("runs", ())
    rows = tuple(
        (run["run_id"], run["phase"], moment(run["started_at"]), moment(run.get("finished_at")))
        for run in runs
    )
    if not rows:
        yield "No run yet. Start with: tailrace run"
        return
    yield Table(("run", "phase", "started", "finished"), rows)
    yield ""
    yield _audiences(result)


def _of_rejected(result: Result) -> Iterable[str | Table]:
    rows = tuple(
        (
            each["audience"],
            each["reason"],
            number(each["rows"]),
            moment(each["first_seen"]),
            moment(each["last_seen"]),
        )
        for each in result["rejected"]
    )
    if not rows:
        yield "Nothing is rejected."
        return
    yield Table(("audience", "reason", "rows", "first seen", "last seen"), rows)
    yield "Send them again with: tailrace retry"


def _of_doctor(result: Result) -> Iterable[str | Table]:
    rows = tuple((each["status"], each["check"], each["found"]) for each in result["checks"])
    yield Table(("", "check", "found"), rows)


def _of_demo(result: Result) -> Iterable[str | Table]:
    """One chapter of the story: each audience, and who moved in it."""
    yield f"── {result['title']} ".ljust(80, "─")
    for audience in result["audiences"]:
        who = result["who"].get(audience["audience"], {})
        if result["who"]:
            yield ""
        yield f"{audience['audience']}: {_size(audience)} members"
        for move, sign in (("entered", "+"), ("changed", "~"), ("exited", "-")):
            if move in who:
                yield f"  {sign} {audience[move]:,} {move}: {_some(who[move])}"
    if result["example"]:
        told = ("type", "event", "userId", "properties", "messageId")
        yield ""
        yield "What Segment got for one who left:"
        yield json.dumps({key: result["example"][key] for key in told}, indent=2)
    yield ""
    yield _summary(result)
    yield ""


def _some(names: Sequence[str], names_max: int = 4) -> str:
    """`Ada, Grace, Mary, Joan and 17 more`."""
    more = len(names) - names_max
    return ", ".join(names[:names_max]) + (f" and {more:,} more" if more > 0 else "")


def _of_run(result: Result) -> Iterable[str | Table]:
    if result.get("objects"):
        yield from _landed(result)
        yield ""
    yield _audiences(result)
    notes = [note for audience in result["audiences"] for note in _notes(audience)]
    if notes:
        yield ""
        yield from notes
    yield ""
    yield _summary(result)


def _landed(result: Result) -> Iterable[str]:
    """The extract of a run in a line, and a line for each object that is not as usual."""
    objects = result["objects"]
    rows, calls = sum(each["rows"] for each in objects), result["salesforce"].get("calls", 0)
    what = f"{counted(rows, 'row')} of {counted(len(objects), 'object')}"
    yield f"Salesforce: {what} landed, {counted(calls, 'API call')}."
    yield from (f"  {each['object']}: {said}" for each in objects if (said := _wholeness(each)))


def _audiences(result: Result) -> Table:
    planned = result["command"] == "plan"
    numbers = (
        ("entered", "changed", "exited", "held", "quarantined")
        if planned
        else ("entered", "changed", "exited", "sent", "rejected", "held")
    )
    rows = tuple(
        (
            each["audience"],
            each.get("status", ""),
            _size(each),
            *(number(each.get(name)) for name in numbers),
        )
        for each in result.get("audiences", ())
    )
    return Table(("audience", "status", "size", *numbers), rows, first_number=2)


def _size(audience: Result) -> str:
    before, after = audience.get("size_before"), audience.get("size_after")
    if before is None or before == after:
        return number(after)
    return f"{number(before)} → {number(after)}"


def _notes(audience: Result) -> Iterable[str]:
    """What a table has no room for: why members moved, and why an audience is held."""
    name = audience["audience"]
    moves = _reasons(audience)
    if moves and set(audience["by_reason"]) - {"data", "initial"}:
        yield f"{name}: {moves}"
    for guard in audience.get("guards", ()):
        if guard["held"]:
            seen, limit = number(guard["seen"]), number(guard["limit"])
            said = guard.get("message") or f"{seen} seen"
            yield f"{name} is held by {guard['name']}: {said}; the limit is {limit}."
            yield f"  If that is right, let it pass once: --allow {name}:{guard['name']}"
    for note in audience.get("notes", ()):
        yield f"{name}: {note}"


def _reasons(audience: Result) -> str:
    parts = []
    for reason, moved in audience.get("by_reason", {}).items():
        if any(moved.values()):
            parts.append(
                f"{reason} +{moved['entered']:,} ~{moved['changed']:,} -{moved['exited']:,}"
            )
    return ", ".join(parts)


def _summary(result: Result) -> str:
    segment = result.get("segment", {})
    calls, batches = segment.get("calls", 0), segment.get("batches", 0)
    work = f"{counted(calls, 'call')} in {counted(batches, 'batch')}"
    if result["command"] == "plan":
        if not calls:
            return "Nothing to send."
        return f"Would send {work}, about {segment.get('seconds', 0):,.1f} s. Nothing was sent."
    if not calls and result["errors"]:
        return "Nothing was sent."
    if not calls:
        return "Nothing to send: Segment is up to date."
    return f"Segment acknowledged {work} in {segment.get('seconds', 0):,.1f} s."


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
    tail = ["", _summary(result)]
    return _fitted([*head, *table], rows, details, tail)


def _fitted(
    head: Sequence[str], rows: Sequence[str], details: Sequence[str], tail: Sequence[str]
) -> str:
    left = MARKDOWN_BYTES_MAX - _size_of([*head, *tail])
    kept: list[str] = []
    for position, row in enumerate(rows):
        left -= _size_of([row])
        if left < 0:
            kept += ["", f"… and {len(rows) - position:,} more audiences"]
            break
        kept.append(row)
    if _size_of(details) <= left:
        kept += details
    return "\n".join([*head, *kept, *tail]) + "\n"


def _size_of(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _moved(audience: Result) -> int:
    return sum(audience.get(name) or 0 for name in ("entered", "changed", "exited"))


def _markdown_row(audience: Result) -> str:
    guards = audience.get("guards", ())
    held = [each for each in guards if each["held"]]
    said = ", ".join(f"**{each['name']}: {each['seen']:,} of {each['limit']:,}**" for each in held)
    if not held:
        said = "held" if audience["status"] == "held" else "ok"
    cells = (
        f"`{audience['audience']}`",
        _size(audience),
        f"+{audience.get('entered') or 0:,}",
        f"~{audience.get('changed') or 0:,}",
        f"-{audience.get('exited') or 0:,}",
        "**failed**" if audience["status"] == "failed" else said,
    )
    return f"| {' | '.join(cells)} |"


def _markdown_details(audience: Result) -> Iterable[str]:
    samples = audience.get("samples", ())
    reasons = _reasons(audience)
    if not samples and not reasons:
        return
    yield from ("", f"<details><summary><code>{audience['audience']}</code></summary>", "")
    if reasons:
        yield f"By reason: {reasons}"
    if samples:
        yield from ("", "```json", *(json.dumps(each, default=str) for each in samples[:3]), "```")
    yield from ("", "</details>")


def _safe(text: str) -> str:
    """Text that Markdown shows as it is, and that calls nobody by an @."""
    for character in "\\`*[]<>|":
        text = text.replace(character, f"&#{ord(character)};")
    return text.replace("@", "@\u200b").replace("\n", " ")


def number(value: Any) -> str:
    """1204 as `1,204`; nothing for None; a share or a word as it is.

    >>> number(1204), number(None), number("20%")
    ('1,204', '', '20%')
    """
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "batch"), counted(2_000, "batch")
    ('1 batch', '2,000 batches')
    """
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def moment(value: Any) -> str:
    """A time of day to the second.

    >>> moment("2026-11-22T05:00:00.000000Z")
    '2026-11-22 05:00:00'
    """
    return "" if value is None else str(value)[:19].replace("T", " ")
