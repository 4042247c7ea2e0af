"""A result as text: tables that fit the terminal's width, and sentences.

Everything is rendered from the object that `--json` prints, so that the two cannot differ. rich is
imported only when it draws on a terminal.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from tailrace.cli.output.alerts import alert_lines, problem_lines, test_lines
from tailrace.cli.output.audiences import (
    audiences_table,
    called,
    left_over,
    notes_of,
    number,
    preview_lines,
    size_of,
)
from tailrace.cli.output.deploy import deploy_blocks
from tailrace.cli.output.model_tests import tests_blocks
from tailrace.cli.output.progress import remaining_time
from tailrace.cli.output.state import state_lines, stored_state
from tailrace.cli.output.summary import counted, plan_headline, summary
from tailrace.cli.output.table import Headline, Line, Table, table_lines, to_second, wrapped
from tailrace.cli.output.watching import watch_lines, watching_lines
from tailrace.reporting.verdict import placed

Output = Mapping[str, Any]

# The keys that every result has.
COMMON_KEYS = frozenset({"schema_version", "command", "exit_code", "errors"})


def show(result: Output, out: IO[str], *, plain: bool, width: int | None = None) -> None:
    """Print a result for a person.

    Args:
        result: The object that `--json` prints.
        out: A terminal or a file.
        plain: Print no colours.
        width: Columns of the terminal (default: those of this process's). A file has no limit.
    """
    terminal = out.isatty()
    if terminal and width is None:
        width = shutil.get_terminal_size().columns
    for block in blocks(result):
        if isinstance(block, Table):
            lines = table_lines(block, width)
        elif isinstance(block, Headline):
            lines = block.lines(width)
        else:
            lines = [[(line, "")] for line in wrapped(block, width)]
        _write(lines, out, styled=terminal and not plain)


def _write(lines: Iterable[Line], out: IO[str], *, styled: bool) -> None:
    if not styled:
        out.writelines("".join(part for part, _ in line).rstrip() + "\n" for line in lines)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, soft_wrap=True, highlight=False, emoji=False)
    for line in lines:
        console.print(Text.assemble(*((part, style) for part, style in line)))


def blocks(result: Output) -> Iterable[str | Table]:
    """The tables and paragraphs of a result, from top to bottom."""
    if result.get("dry_run") and result["command"] != "deploy":
        yield from _dry_run(result)
        return
    if result.get("errors") and set(result) <= COMMON_KEYS:
        # An error before anything started: it is logged, and there is nothing to show.
        return
    shapes = {
        "alerts": test_lines,
        "destinations": _rebind,
        "init": _init,
        "deploy": deploy_blocks,
        "validate": _validate,
        "test": tests_blocks,
        "ls": _ls,
        "tracking-plan": _tracking_plan,
        "extract": _extract,
        "state": state_lines,
        "status": _status,
        "rejected": _rejected,
        "history": _history,
        "trace": _trace,
        "rename": _rename,
        "report": _report,
        "purge": _purge,
        "doctor": _doctor,
        "demo": _demo,
    }
    yield from shapes.get(result["command"], _run)(result)


def _dry_run(result: Output) -> Iterable[str | Table]:
    command = result["command"]
    if command == "extract":
        what = "drop and reload" if result.get("full_refresh") else "load"
        yield f"Would {what}: {', '.join(result['would_load'])}."
    elif command == "retire":
        exits = counted(result["would_exit"], "exit")
        yield f"Would send {exits} of {result['audience']} and stop tracking it."
    elif command == "purge":
        yield f"Would delete these records of deliveries before {to_second(result['before'])}:"
        yield _counts(result["forgotten"])
    elif command == "state":
        replaced = result["replaces_generation"]
        instead = "" if replaced is None else f", in place of generation {replaced}"
        yield f"Would write {result['file']} to {result['url']}{instead}."
    else:
        yield from _run({**result, "command": "plan"})
    yield "Dry run: nothing was changed."


def _rebind(result: Output) -> Iterable[str]:
    if result.get("resumed"):
        yield f"[destination.{result['destination']}] is resumed. The next run sends the rest."
        return
    yield f"The ledger of [destination.{result['destination']}] accepts its credential."


def _init(result: Output) -> Iterable[str | Table]:
    yield from (f"created  {name}" for name in result["created"])
    yield from (f"kept     {name}" for name in result["kept"])
    yield ""
    yield "Next: put your credentials in .dlt/secrets.toml (see .dlt/secrets.toml.example), then"
    yield "  tailrace doctor    check the configuration and the connections"
    yield "  tailrace extract   load the Salesforce objects"
    yield "  tailrace plan      show who would enter, change and exit each audience"


def _validate(result: Output) -> Iterable[str | Table]:
    models, audiences = result["models"], result["audience_count"]
    yield f"{counted(models, 'model')}, {counted(audiences, 'audience')}: valid."


def _tracking_plan(result: Output) -> Iterable[str | Table]:
    rules = counted(len(result["tracking_plan"]["rules"]), "rule")
    yield f"{rules} written to {result['file']}."


def _ls(result: Output) -> Iterable[str | Table]:
    if not result["models"]:
        yield "No model is selected."
    rows = []
    for model in result["models"]:
        reads = [*model["depends_on"], *(f"salesforce.{name}" for name in model["reads"])]
        reads += [f"dbt {model['dbt']}"] if model["dbt"] else model["sources"]
        columns = ", ".join(model["columns"] or ["*"])
        rows.append((model["name"], model["kind"], ", ".join(reads), columns))
    yield Table(("model", "kind", "reads", "columns"), tuple(rows))


def _extract(result: Output) -> Iterable[str | Table]:
    rows = tuple(
        (entry["object"], number(entry["rows"]), entry.get("api") or "", _condition(entry))
        for entry in result.get("objects", ())
    )
    yield Table(("object", "rows", "read by", "condition"), rows)
    usage = result.get("salesforce", {})
    if usage.get("calls") is not None:
        yield f"Salesforce: {counted(usage['calls'], 'API call')}{_budget(usage)}."


def _budget(usage: Output) -> str:
    """The org's API usage of today, if Salesforce returned it."""
    if usage.get("quota_max") is None or usage.get("quota_used") is None:
        return ""
    before, now, most = (usage.get(k) for k in ("quota_used_before", "quota_used", "quota_max"))
    return f"; the org had used {number(before)} of {number(most)} today, now {number(now)}"


def _condition(entry: Output) -> str:
    """What is unusual about an extracted object."""
    conditions = {
        "incomplete": not entry["complete"],
        "no live rows": entry["empty"],
        f"{entry['quarantined']} rows quarantined": entry["quarantined"],
        f"missing field: {', '.join(entry['vanished_fields'])}": entry["vanished_fields"],
        f"new field: {', '.join(entry['new_fields'])}": entry["new_fields"],
    }
    return "; ".join(condition for condition, holds in conditions.items() if holds)


def _status(result: Output) -> Iterable[str | Table]:
    yield from _runs(result)
    if "problems" in result:
        yield from problem_lines(result)


def _runs(result: Output) -> Iterable[str | Table]:
    runs = result.get("runs", ())
    if not runs:
        yield "No run yet. Start with: tailrace run"
        yield from _broken(result)
        return
    if result.get("verdict"):
        last = result["verdict"]
        yield Headline(last["word"], last["status"], last["sentence"])
        yield f"Next: {last['command']}"
        yield ""
    rows = tuple(
        (
            run["run_id"],
            str(run.get("command") or ""),
            _outcome(run, running=result.get("running")),
            to_second(run["started_at"]),
            to_second(run.get("finished_at")),
        )
        for run in runs
    )
    yield Table(
        ("run", "command", "result", "started", "finished"),
        rows,
        optional=("finished", "started", "command"),
    )
    for run in runs:
        if run.get("error"):
            yield f"  {run['run_id']}: {run['error']}"
    if result.get("audiences"):
        yield ""
        yield audiences_table(result)
    yield from _broken(result)
    for audience in result.get("audiences", ()):
        yield from (note for note in notes_of(audience) if " is held by " in note)
    for stopped in result.get("stopped", ()):
        name = stopped["destination"]
        yield f"{stopped['reason']}. Send to it again with: tailrace destinations resume {name}"
    yield from _sending(result)
    yield from watching_lines(result.get("watch"))
    if result.get("state"):
        yield ""
        yield from stored_state(result["state"])


def _broken(result: Output) -> Iterable[str]:
    """The errors of files as they are now, in place of the good results that came before them."""
    for error in result.get("broken", ()):
        names = ", ".join(error["audiences"])
        stops = f" This stops {names}." if names else ""
        yield f"{placed(error)}{stops}"
        yield from (f"  {line}" for line in (error.get("excerpt") or "").splitlines())
        if error["hint"]:
            yield f"  {error['hint']}"


def _sending(result: Output) -> Iterable[str | Table]:
    """How far the running run has sent."""
    if not result.get("running") or "sending" not in result:
        return
    yield ""
    source = "" if not result.get("read_from_run") else " This is read from it."
    entries = result.get("sending", ())
    if not entries:
        yield f"Run {result['running']} is running and sends nothing at the moment.{source}"
        return
    yield f"Run {result['running']} is sending.{source}"
    rows = tuple(
        (
            called(entry),
            number(entry["sent"]),
            number(entry["planned"]),
            number(entry["messages_per_second"]),
            remaining_time(entry["remaining_seconds"]),
        )
        for entry in entries
    )
    header = ("sending", "members sent", "planned", "messages/s", "remaining")
    yield Table(header, rows)


def _outcome(run: Output, *, running: str | None = None) -> str:
    """A run's end in words: `ok`, `held (3)`, `running` ..."""
    words = {0: "ok", 1: "failed", 2: "not started", 3: "held", 4: "some rejected"}
    code = run.get("exit_code")
    if code is None:
        if run.get("finished_at") is not None:
            return str(run["phase"])
        return "running" if run["run_id"] == running else "did not finish"
    if run.get("error") in ("KeyboardInterrupt", "Terminated", "SystemExit"):
        return "interrupted"
    return "ok" if code == 0 else f"{words.get(code, run['phase'])} ({code})"


def _rejected(result: Output) -> Iterable[str | Table]:
    if result.get("file"):
        yield f"{counted(result['exported'], 'rejected row')} written to {result['file']}."
        return
    rows = tuple(
        (
            entry["audience"],
            entry["kind"],
            entry["reason"],
            entry.get("path") or "",
            number(entry["rows"]),
            to_second(entry["last_seen"]),
        )
        for entry in result["rejected"]
    )
    if not rows:
        yield "Nothing is rejected."
        return
    yield Table(("audience", "message", "rule", "path", "rows", "last seen"), rows)
    yield ""
    members = tuple(
        (
            row["audience"],
            ", ".join(f"{name} {value}" for name, value in row["key"].items()),
            row["op"],
            row["kind"],
            row["reason"],
            row.get("path") or "",
        )
        for row in result.get("rows", ())
    )
    yield Table(("audience", "key", "change", "message", "rule", "path"), members)
    total = sum(entry["rows"] for entry in result["rejected"])
    if len(members) < total:
        yield f"... and {number(total - len(members))} more. All of them: --export FILE"
    yield "Keys are masked unless --show-values is given. The next run sends these rows again; to "
    yield "send only them, run: tailrace retry"


def _history(result: Output) -> Iterable[str | Table]:
    if "members" in result:
        yield from (" ".join(str(part) for part in key) for key in result["members"])
        if not result["members"]:
            yield f"{result['audience']} had no members at {to_second(result['at'])} UTC."
        return
    names = ("size_after", "entered", "changed", "exited", "sent", "rejected")
    rows = tuple(
        (to_second(run["at"]), run["phase"], *(number(run[name]) for name in names))
        for run in result["runs"]
    )
    yield Table(("run at", "phase", "size", *names[1:]), rows, first_number=2)


def _trace(result: Output) -> Iterable[str | Table]:
    for row in result.get("salesforce", ()):
        yield f"salesforce.{row['table']}: {'deleted' if row['deleted'] else 'present'}"
    for audience in result.get("audiences", ()):
        why = f": {audience['why_not']}" if audience.get("why_not") else ""
        if audience["membership"] in (None, "none") and not audience["events"]:
            if why and not result.get("errors"):
                yield f"{audience['audience']}: never a member{why}"
            continue
        since = f" since {to_second(audience['since'])}" if audience.get("since") else ""
        yield f"{audience['audience']}: {audience['membership']}{since}{why}"
        for event in audience["events"]:
            ids = ", ".join(f"{call['kind']} {call['message_id']}" for call in event["calls"])
            text = f"{event['op']} ({event['reason']}), {event['fate']}"
            yield f"  {to_second(event['planned_at'])}  {text}" + (f": {ids}" if ids else "")
            if result.get("values_shown") and event["values"]:
                values = (f"{name} = {json.dumps(v)}" for name, v in event["values"].items())
                yield f"    {', '.join(values)}"


def _report(result: Output) -> Iterable[str | Table]:
    yield f"Report written to {result['file']} ({result['bytes'] / 1_000:,.0f} kB)."


def _rename(result: Output) -> Iterable[str | Table]:
    renamed = result["renamed"]
    yield f"{renamed['from']} is now {renamed['to']}. No member enters or exits."


def _purge(result: Output) -> Iterable[str | Table]:
    yield f"Deleted these records of deliveries before {to_second(result['before'])}:"
    yield _counts(result["forgotten"])


def _counts(counts: Mapping[str, int]) -> Table:
    rows = tuple((name, number(count)) for name, count in counts.items())
    return Table(("records", "rows"), rows, first_number=1)


def _doctor(result: Output) -> Iterable[str | Table]:
    width = max(len(check["check"]) for check in result["checks"])
    for check in result["checks"]:
        yield f"{check['status']:<8} {check['check']:<{width}}  {check['found']}"
        if check["hint"]:
            yield f"{'':<8} {'':<{width}}  {check['hint']}"


def _demo(result: Output) -> Iterable[str | Table]:
    """One run of the demo: each audience, and the changes of its members."""
    yield f"── {result['title']} ".ljust(80, "─")
    for audience in result["audiences"]:
        names = result["who"].get(audience["audience"], {})
        if result["who"]:
            yield ""
        yield f"{called(audience)}: {size_of(audience)} members"
        for op, sign in (("entered", "+"), ("changed", "~"), ("exited", "-")):
            if op in names:
                yield f"  {sign} {audience[op]:,} {op}: {_some(names[op])}"
    if result["example"]:
        keys = ("type", "event", "userId", "properties", "messageId")
        yield ""
        yield "The event that Segment received for a member who exited:"
        yield json.dumps({key: result["example"][key] for key in keys}, indent=2)
    if result["element"]:
        yield ""
        yield "The element that the webhook received for a member who exited:"
        yield json.dumps(result["element"], indent=2)
    yield ""
    yield summary(result)
    yield ""


def _some(names: Sequence[str], names_max: int = 4) -> str:
    """`Ada, Grace, Mary, Joan and 17 more`."""
    more = len(names) - names_max
    return ", ".join(names[:names_max]) + (f" and {more:,} more" if more > 0 else "")


def _run(result: Output) -> Iterable[str | Table]:
    if result.get("watch"):
        yield from watch_lines(result)
        if "audiences" not in result:
            return
        yield f"The last run was {result['run_id']}:"
    if result.get("errors") and not (result["audiences"] or result.get("objects")):
        # Nothing was extracted or planned: the errors say it all.
        return
    if result["command"] == "plan" and result["audiences"]:
        yield plan_headline(result)
        yield ""
    if result.get("objects"):
        yield from _loaded(result)
        yield ""
    yield audiences_table(result)
    notes = [note for audience in result["audiences"] for note in notes_of(audience)]
    notes += left_over(result)
    if notes:
        yield ""
        yield from notes
    for audience in result["audiences"]:
        yield from _preview(audience)
    yield ""
    yield summary(result)
    yield from alert_lines(result)
    if result.get("report"):
        yield f"Report: {result['report']}"


def _preview(audience: Output) -> Iterable[str]:
    """The members that `plan --show` asks for: changed columns, and the JSON of each message."""
    rows = audience.get("rows") or ()
    if rows:
        yield ""
    for row in rows:
        yield from preview_lines(audience, row)


def _loaded(result: Output) -> Iterable[str]:
    """The extract of a run in a line, and a line for each object that is unusual."""
    objects = result["objects"]
    rows, calls = sum(entry["rows"] for entry in objects), result["salesforce"].get("calls", 0)
    what = f"{counted(rows, 'row')} of {counted(len(objects), 'object')}"
    yield f"Salesforce: {what} loaded, {counted(calls, 'API call')}."
    for entry in objects:
        condition = _condition(entry)
        if condition:
            yield f"  {entry['object']}: {condition}"
