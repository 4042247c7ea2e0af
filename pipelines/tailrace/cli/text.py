"""How a result looks: a table on a terminal, plain lines in CI.

Everything is rendered from the object that `--json` prints, so that no way of looking at a run
can say something else than another. rich is imported only when it draws on a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

Result = Mapping[str, Any]

# Guards whose limit is a number of members; the others say it all in words.
COUNTING_GUARDS = frozenset({"max_exited", "max_entered", "max_changed", "min_rows"})
STATUS_STYLES = {"ok": "green", "unchanged": "dim", "held": "yellow", "failed": "bold red"}
_DECIDERS = {"flag": "a flag", "header": "its header", "default": "default"}
COLUMN_STYLES = {"entered": "green", "changed": "cyan", "exited": "magenta", "rejected": "red"}


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the columns from `first_number` on are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first_number: int = 1_000


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
        "tracking-plan": _of_tracking_plan,
        "extract": _of_extract,
        "status": _of_status,
        "rejected": _of_rejected,
        "history": _of_history,
        "trace": _of_trace,
        "rename": _of_rename,
        "purge": _of_purge,
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


def _of_tracking_plan(result: Result) -> Iterable[str | Table]:
    rules = counted(len(result["tracking_plan"]["rules"]), "rule")
    yield f"{rules} written to {result['file']}."


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
    spent = result.get("salesforce", {})
    if spent.get("calls") is not None:
        yield f"Salesforce: {counted(spent['calls'], 'API call')}{_budget(spent)}."


def _budget(spent: Result) -> str:
    """What the org has used of its day, where Salesforce said so."""
    if spent.get("quota_max") is None or spent.get("quota_used") is None:
        return ""
    before, now, most = (spent.get(k) for k in ("quota_used_before", "quota_used", "quota_max"))
    return f"; the org had used {number(before)} of {number(most)} today, and {number(now)} now"


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
            each["kind"],
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
    yield Table(("audience", "call", "reason", "rows", "first seen", "last seen"), rows)
    yield "Each is planned again by the next run; only these are sent again by: tailrace retry"


def _of_history(result: Result) -> Iterable[str | Table]:
    if "members" in result:
        yield from (" ".join(str(part) for part in key) for key in result["members"])
        return
    names = ("size_after", "entered", "changed", "exited", "sent", "rejected")
    rows = tuple(
        (moment(each["at"]), each["phase"], *(number(each[name]) for name in names))
        for each in result["runs"]
    )
    yield Table(("run at", "phase", "size", *names[1:]), rows, first_number=2)


def _of_trace(result: Result) -> Iterable[str | Table]:
    for row in result.get("salesforce", ()):
        yield f"salesforce.{row['table']}: {'deleted' if row['deleted'] else 'there'}"
    for audience in result["audiences"]:
        why = f": {audience['why_not']}" if audience.get("why_not") else ""
        if audience["membership"] in (None, "none") and not audience["events"]:
            if why:
                yield f"{audience['audience']}: never a member{why}"
            continue
        since = f" since {moment(audience['since'])}" if audience.get("since") else ""
        yield f"{audience['audience']}: {audience['membership']}{since}{why}"
        for event in audience["events"]:
            ids = ", ".join(f"{call['kind']} {call['message_id']}" for call in event["calls"])
            told = f"{event['op']} ({event['reason']}), {event['fate']}"
            yield f"  {moment(event['planned_at'])}  {told}" + (f": {ids}" if ids else "")
    if not any(a["events"] or a["membership"] not in (None, "none") for a in result["audiences"]):
        yield "No audience knows of this person."


def _of_rename(result: Result) -> Iterable[str | Table]:
    renamed = result["renamed"]
    yield f"{renamed['from']} is {renamed['to']} now. Nobody enters or exits by it."


def _of_purge(result: Result) -> Iterable[str | Table]:
    rows = tuple((name, number(count)) for name, count in result["forgotten"].items())
    yield f"Forgotten, settled before {moment(result['before'])}:"
    yield Table(("what", "rows"), rows, first_number=1)


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
        yield f"{audience['audience']}: {size_of(audience)} members"
        for move, sign in (("entered", "+"), ("changed", "~"), ("exited", "-")):
            if move in who:
                yield f"  {sign} {audience[move]:,} {move}: {_some(who[move])}"
    if result["example"]:
        told = ("type", "event", "userId", "properties", "messageId")
        yield ""
        yield "What Segment got for one who left:"
        yield json.dumps({key: result["example"][key] for key in told}, indent=2)
    yield ""
    yield summary(result)
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
    notes += left_over(result)
    if notes:
        yield ""
        yield from notes
    yield ""
    yield summary(result)


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
            called(each),
            each.get("status", ""),
            size_of(each),
            *(number(each.get(name)) for name in numbers),
        )
        for each in result.get("audiences", ())
    )
    return Table(("audience", "status", "size", *numbers), rows, first_number=2)


def size_of(audience: Result) -> str:
    """How large an audience was and is, or only the one number when it stays."""
    before, after = audience.get("size_before"), audience.get("size_after")
    if before is None or before == after:
        return number(after)
    return f"{number(before)} → {number(after)}"


def called(audience: Result) -> str:
    """An audience's name, with its destination where that is not the usual one."""
    destination = audience.get("destination", "segment")
    name = str(audience["audience"])
    return name if destination == "segment" else f"{name} → {destination}"


def _notes(audience: Result) -> Iterable[str]:
    """What a table has no room for: why members moved, and why an audience is held."""
    name = called(audience)
    moves = reasons_of(audience)
    if moves and set(audience["by_reason"]) - {"data", "initial"}:
        yield f"{name}: {moves}"
    yield from (f"{name}: {change}" for change in changes_of(audience))
    for guard in audience.get("guards", ()):
        if guard["held"]:
            seen, limit = number(guard["seen"]), number(guard["limit"])
            said = guard.get("message") or f"{seen} seen"
            bound = f"; the limit is {limit}" if guard["name"] in COUNTING_GUARDS else ""
            yield f"{name} is held by {guard['name']}: {said}{bound}."
            pair = f"{audience['audience']}:{guard['name']}"
            yield f"  If that is right, let it pass once: --allow {pair}"
        elif guard.get("allowed"):
            seen, limit = number(guard["seen"]), number(guard["limit"])
            bound = "least" if guard["name"] == "min_rows" else "most"
            yield f"{name}: {guard['name']} saw {seen} of at {bound} {limit}, and was let pass"
        elif guard["name"].startswith("max_") and guard["seen"] * 2 > guard["limit"]:
            seen, limit = number(guard["seen"]), number(guard["limit"])
            yield f"{name}: {guard['name']} saw {seen} and would hold above {limit}"
    for note in audience.get("notes", ()):
        yield f"{name}: {note}"


def left_over(result: Result) -> list[str]:
    """Deliveries that are not finished, and audiences with members in the ledger and no file."""
    unfinished = [
        f"{each['audience']}: an earlier run has not sent {counted(each['members'], 'member')}; "
        "the next run does, before it plans anew"
        for each in result.get("unfinished", ())
    ]
    return unfinished + [
        f"{name} has members in the ledger and no file. Send their exits with: tailrace retire "
        f"{name}, or carry it over with: tailrace rename {name} NEW_NAME"
        for name in result.get("orphans", ())
    ]


def changes_of(audience: Result) -> Iterable[str]:
    """What changed about a planned audience beside its data, what is done with it, by whom."""
    again = audience.get("rejected_before", 0)
    if again:
        yield f"planned again after a refusal: {again:,}"
    for what, columns in (("mapped no longer", "dropped"), ("of another type", "retyped")):
        if audience.get(f"{columns}_columns"):
            yield f"{what}: {', '.join(audience[f'{columns}_columns'])}"
    columns = ", ".join(audience.get("new_columns", ()))
    for what, name, happened in (
        ("the SQL was edited", "on_definition_change", audience.get("definition_changed")),
        ("the header makes other calls", "on_mapping_change", audience.get("mapping_changed")),
        (f"mapped for the first time: {columns}", "on_new_column", columns),
    ):
        if happened and name in audience.get("choices", {}):
            decided = audience["choices"][name]
            yield f"{what}; {name} is {decided['choice']}, by {_DECIDERS[decided['decided_by']]}"


def reasons_of(audience: Result) -> str:
    """Why members moved, each reason with its counts."""
    parts = []
    for reason, moved in audience.get("by_reason", {}).items():
        if any(moved.values()):
            parts.append(
                f"{reason} +{moved['entered']:,} ~{moved['changed']:,} -{moved['exited']:,}"
            )
    return ", ".join(parts)


def summary(result: Result) -> str:
    """What was sent, or would be, in a sentence."""
    segment, audiences = result.get("segment", {}), result["audiences"]
    calls, batches = segment.get("calls", 0), segment.get("batches", 0)
    work = f"{counted(calls, 'call')} in {counted(batches, 'batch')}"
    if result["command"] == "plan":
        if not calls:
            return "Nothing else to send." if result.get("unfinished") else "Nothing to send."
        used = result.get("salesforce", {}).get("calls", 0)
        cost = f" The last extract used {counted(used, 'Salesforce API call')}." if used else ""
        new = segment.get("new_users", 0)
        to = f", to up to {counted(new, 'user')} that it may not know" if new else ""
        drain = f"about {segment.get('seconds', 0):,.1f} s"
        return f"Would send Segment {work}, {drain}{to}.{cost} Nothing was sent."
    if any(each["status"] == "failed" for each in audiences):
        return "Not finished: the same command sends what is left."
    if not calls and (result["errors"] or any(each["held"] for each in audiences)):
        return "Nothing was sent."
    rejected = sum(each["rejected"] for each in audiences)
    refused = f" Refused: {counted(rejected, 'row')}; see: tailrace rejected" if rejected else ""
    if not calls:
        return refused.strip() or "Nothing to send: Segment is up to date."
    # Batches and seconds are the plan's: of what an earlier run had planned it knows none.
    return f"Segment acknowledged {work if batches else counted(calls, 'call')}.{refused}"


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
