"""Assembles the page's facts from the ledger's facts and the project's models."""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.clock import parse_utc
from tailrace.errors import PlanUnreadable, TailraceError
from tailrace.models.compile import compiled_sql
from tailrace.models.lineage import KnownTables, Lineage, columns_read, lineage_of
from tailrace.models.loader import Model, Models
from tailrace.plan.guards import EXITED_FLOOR_ROWS, EXITED_SHARE_MAX
from tailrace.plan.planner import syncs_of
from tailrace.reporting.ledger_facts import has_personal_name
from tailrace.reporting.page.facts import (
    AudienceFacts,
    AudienceRunFacts,
    Budget,
    CallFacts,
    DefinitionChange,
    GuardFacts,
    LineageEdge,
    ObjectFacts,
    PageFacts,
    PlannedFacts,
    RejectionFacts,
    RunFacts,
    SavedPlan,
)
from tailrace.reporting.page.funnel import funnel_of
from tailrace.reporting.page.header import header_lines
from tailrace.reporting.verdict import OPS, Verdict

DIFF_CONTEXT_LINES = 3
OUTCOMES = {0: "ok", 3: "held", 4: "rejected"}


def page_facts(
    raw: Mapping[str, Any],
    models: Models,
    *,
    project: str,
    target: str | None,
    now: datetime,
    plan: SavedPlan | None = None,
) -> PageFacts:
    """The facts of the page.

    Args:
        raw: The result of `ledger_facts`.
        models: The project's models; audiences whose file is gone are shown from the ledger.
        project: The project's name.
        target: The name of the target, for the commands to copy.
        now: The time of the page.
        plan: A saved plan to show.
    """
    runs = tuple(_runs(raw))
    rejections = tuple(_rejections(raw))
    audiences = tuple(_audiences(raw, models, rejections))
    return PageFacts(
        project=project,
        target=target,
        written_at=now,
        read_from_run=raw.get("read_from_run"),
        verdict=Verdict(**raw["verdict"]),
        runs=runs,
        audiences=audiences,
        rejections=rejections,
        objects=tuple(_objects(raw)),
        budgets=tuple(_budgets(runs)),
        sending=tuple(raw["sending"]),
        plan=plan,
    )


def read_saved_plan(path: Path) -> SavedPlan:
    """The audiences of a plan that `plan --out` wrote.

    Raises:
        PlanUnreadable: The file is missing, or is not a saved plan.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        planned_at = parse_utc(content["tailrace_plan"]["planned_at"])
        audiences = tuple(_planned(entry) for entry in content["audiences"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanUnreadable(f"{path.name} is not a plan of Tailrace", file=path) from error
    return SavedPlan(
        planned_at=planned_at,
        command=" ".join(("tailrace sync", "--plan", shlex.quote(path.name))),
        audiences=audiences,
    )


def _planned(entry: Mapping[str, Any]) -> PlannedFacts:
    held = [
        f"held by {guard['name']}: {guard['message'] or guard['seen']}"
        for guard in entry["guards"]
        if guard["held"]
    ]
    reasons = [
        f"{reason} {' '.join(_signed(ops))}"
        for reason, ops in entry["by_reason"].items()
        if any(ops.values())
    ]
    counts = ("size_before", "size_after", *OPS)
    return PlannedFacts(
        audience=str(entry["audience"]),
        destination=str(entry["destination"]),
        status=str(entry["status"]),
        why="; ".join([*held, *reasons]),
        **{name: int(entry[name]) for name in counts},
    )


def _signed(ops: Mapping[str, int]) -> Iterator[str]:
    signs = dict(zip(OPS, "+~-", strict=True))
    return (f"{signs[op]}{ops[op]:,}" for op in OPS if ops.get(op))


def _time(text: str | None) -> datetime | None:
    return parse_utc(text) if text else None


def _runs(raw: Mapping[str, Any]) -> Iterator[RunFacts]:
    """The runs, newest first."""
    totals: dict[int, Counter[str]] = {}
    names = (*OPS, "sent", "rejected", "held", "calls")
    for row in raw["audience_runs"]:
        totals.setdefault(row["run_seq"], Counter()).update({name: row[name] for name in names})
    for row in raw["runs"]:
        total = totals.get(row["run_seq"], Counter())
        details = row["details"]
        yield RunFacts(
            run_id=row["run_id"],
            command=row["command"],
            outcome=_outcome(row, running=raw["running"]),
            started_at=parse_utc(row["started_at"]),
            finished_at=_time(row["finished_at"]),
            exit_code=row["exit_code"],
            error=row["error"],
            salesforce_calls=row["salesforce_calls"],
            latency_p50_seconds=row.get("latency_p50_seconds"),
            latency_p95_seconds=row.get("latency_p95_seconds"),
            phase_seconds=details.get("phases", {}),
            details=details,
            **{name: total[name] for name in names},
        )


def _outcome(row: Mapping[str, Any], *, running: str | None) -> str:
    if row["exit_code"] is not None:
        return OUTCOMES.get(row["exit_code"], "failed")
    if row["run_id"] == running:
        return "running"
    return "crashed" if row["finished_at"] is None else "ok"


def _rejections(raw: Mapping[str, Any]) -> Iterator[RejectionFacts]:
    names = {row["sync_key"]: row["audience"] for row in raw["audience_runs"]}
    for row in raw["rejections"]:
        name = str(names.get(row["audience"], row["audience"]))
        yield RejectionFacts(
            audience=name,
            kind=row["kind"],
            reason=row["reason"],
            path=row["path"],
            status=row["status"],
            count=row["rows"],
            attempts=row["attempts"],
            first_seen=parse_utc(row["first_seen"]),
            last_seen=parse_utc(row["last_seen"]),
            sample="" if row["sample"] is None else json.dumps(row["sample"], indent=2),
            command=f"tailrace retry --select {name}",
        )


def _audiences(
    raw: Mapping[str, Any], models: Models, rejections: Sequence[RejectionFacts]
) -> Iterator[AudienceFacts]:
    by_sync: dict[str, list[Mapping[str, Any]]] = {}
    for row in raw["audience_runs"]:
        by_sync.setdefault(row["sync_key"], []).append(row)
    rejected = Counter({row["audience"]: 0 for row in raw["rejections"]})
    for row in raw["rejections"]:
        rejected[row["audience"]] += row["rows"]
    in_files = {sync.ledger_key: (model, sync) for model, sync in syncs_of(models.audiences())}
    definitions: dict[str, list[Mapping[str, Any]]] = {}
    for row in raw["definitions"]:
        definitions.setdefault(row["sync_key"], []).append(row)
    sending = {(entry["audience"], entry["destination"]) for entry in raw["sending"]}
    lineages: dict[str, Lineage] = {}
    tables = _known_tables(raw, models)
    names = sorted({*by_sync, *in_files}, key=lambda key: (_name(key, by_sync, in_files), key))
    for number, sync_key in enumerate(names, start=1):
        rows = by_sync.get(sync_key, [])
        if rows and rows[-1]["phase"] == "retired":
            continue
        model, audience = in_files.get(sync_key, (None, None))
        recorded = definitions.get(sync_key, [])
        if audience is None:
            audience = Audience.from_mapping(json.loads(recorded[0]["mapping"]))
        if model is not None and model.name not in lineages:
            lineages[model.name] = _lineage(models, model, tables)
        definition, change = _definition(recorded, models, model, dialect=raw.get("dialect"))
        yield _audience(
            raw,
            rows,
            audience=audience,
            model=model,
            anchor=f"audience-{number}",
            sending=(audience.name, audience.destination_name) in sending,
            rejected=rejected[sync_key],
            sync_key=sync_key,
            definition=definition,
            change=change,
            lineage=lineages.get(model.name) if model else None,
        )


def _name(
    sync_key: str,
    by_sync: Mapping[str, Sequence[Mapping[str, Any]]],
    in_files: Mapping[str, tuple[Model, Audience]],
) -> str:
    rows = by_sync.get(sync_key)
    return str(rows[-1]["audience"]) if rows else in_files[sync_key][1].name


def _audience(
    raw: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    *,
    audience: Audience,
    model: Model | None,
    anchor: str,
    sending: bool,
    rejected: int,
    sync_key: str,
    definition: str,
    change: DefinitionChange | None,
    lineage: Lineage | None,
) -> AudienceFacts:
    last = rows[-1] if rows else None
    status = "sending" if sending else last["status"] if last else "never run"
    return AudienceFacts(
        name=audience.name,
        destination=audience.destination_name,
        anchor=anchor,
        status=status,
        file=model.file if model else None,
        description=audience.description,
        owner=audience.owner or "",
        tags=audience.tags,
        last_success=_time(raw["last_success"].get(sync_key)),
        runs=tuple(map(_audience_run, rows)),
        guards=tuple(_guards(last)),
        exit_margin=_margin(last, audience),
        rejected=rejected,
        funnel=_funnel(raw, last) if last else (),
        funnel_run=str(last["run_id"]) if last else "",
        definition=definition,
        definition_change=change,
        header=header_lines(audience),
        calls=tuple(
            CallFacts(
                **{name: call[name] for name in ("op", "reason", "kind", "message_id", "outcome")},
                body=json.dumps(json.loads(call["body"]), indent=2, ensure_ascii=False),
            )
            for call in raw["calls"].get(sync_key, ())
        ),
        lineage=tuple(_edges(audience, lineage)) if lineage else (),
        filters=lineage.filters if lineage else (),
    )


def _audience_run(row: Mapping[str, Any]) -> AudienceRunFacts:
    by_reason = row["by_reason"]
    changes = {reason: sum(ops.values()) for reason, ops in by_reason.items()}
    return AudienceRunFacts(
        run_seq=row["run_seq"],
        run_id=row["run_id"],
        at=datetime.fromisoformat(row["planned_at"]),
        status=row["status"],
        size=row["size_after"],
        entered=row["entered"],
        changed=row["changed"],
        exited=row["exited"],
        sent=row["sent"],
        rejected=row["rejected"],
        held=row["held"],
        quarantined=row["quarantined"],
        calls=row["calls"],
        by_reason=by_reason,
        changes_by_reason=changes,
        changes=sum(changes.values()),
    )


def _guards(row: Mapping[str, Any] | None) -> Iterator[GuardFacts]:
    for guard in row["guards"] if row else ():
        yield GuardFacts(
            name=guard["name"],
            seen=guard["seen"],
            limit=guard["limit"],
            held=guard["held"],
            allowed=bool(guard.get("allowed")),
            message=guard.get("message") or "",
        )


def _margin(row: Mapping[str, Any] | None, audience: Audience) -> str:
    """How near the exits came to their limit: `18% of 20%`, or numbers of members."""
    for guard in row["guards"] if row else ():
        if guard["name"] != "max_exited" or row is None:
            continue
        size, seen, limit = row["size_before"], guard["seen"], guard["limit"]
        share = limit_share(audience, limit)
        if size and share is not None:
            return f"{seen / size:.0%} of {share:.0%}"
        return f"{seen:,} of {limit:,}"
    return ""


def limit_share(audience: Audience, limit: int) -> float | None:
    """The share of members that may exit; None where the limit is a number of members."""
    written = audience.guards.max_exited
    if written is not None:
        return written.share
    return EXITED_SHARE_MAX if limit > EXITED_FLOOR_ROWS else None


def _funnel(raw: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
    rejections = {
        reason: count
        for run_seq, sync_key, reason, count in raw["rejections_of_runs"]
        if (run_seq, sync_key) == (row["run_seq"], row["sync_key"])
    }
    acknowledged = sum(
        count
        for run_seq, sync_key, count in raw["acknowledged"]
        if (run_seq, sync_key) == (row["run_seq"], row["sync_key"])
    )
    return funnel_of(row, rejections=rejections, acknowledged=acknowledged)


def _definition(
    recorded: Sequence[Mapping[str, Any]],
    models: Models,
    model: Model | None,
    *,
    dialect: str | None,
) -> tuple[str, DefinitionChange | None]:
    """The SQL of today, and its difference to the last delivered one, else its last change."""
    current = str(recorded[0]["definition"]) if recorded else ""
    if model is not None and dialect:
        try:
            current = compiled_sql(models, model.name, dialect=dialect)
        except TailraceError:
            # `validate` reports what is wrong with the file.
            current = current or model.sql
    delivered = max(
        (row for row in recorded if row["delivered_seq"] is not None),
        key=lambda row: int(row["delivered_seq"]),
        default=None,
    )
    if delivered is not None and delivered["definition"] != current:
        title = f"Not delivered yet: what changes against the SQL of run {delivered['run_id']}"
        return current, DefinitionChange(title=title, diff=_diff(delivered["definition"], current))
    if len(recorded) > 1:
        before = recorded[1]
        title = f"The last change: what differs from the SQL of run {before['run_id']}"
        return current, DefinitionChange(title=title, diff=_diff(before["definition"], current))
    return current, None


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), n=DIFF_CONTEXT_LINES, lineterm=""
    )
    # Without the two lines that name files.
    return "\n".join(list(lines)[2:])


def _known_tables(raw: Mapping[str, Any], models: Models) -> KnownTables:
    # It looks into every model.
    read = columns_read(models) if models.sources else {}
    sources = {
        key: {
            column: [column, "", has_personal_name(column)]
            for column in (*source.columns, *read.get(key, ()))
        }
        for key, source in models.sources.items()
    }
    names = {key: source.name if source.dbt else key for key, source in models.sources.items()}
    return KnownTables(
        {**raw["columns"], **sources},
        {row["table"]: row["object"] for row in raw["objects"]} | names,
    )


def _lineage(models: Models, model: Model, tables: KnownTables) -> Lineage:
    syncs = model.audience.syncs() if model.audience else ()
    mapped = [column for sync in syncs for column in (*sync.key, *sync.mapped_columns)]
    return lineage_of(models, model.name, columns=tuple(dict.fromkeys(mapped)), tables=tables)


def _edges(audience: Audience, lineage: Lineage) -> Iterator[LineageEdge]:
    targets: dict[str, list[str]] = {}
    for path, column in audience.references():
        name = target_name(path)
        if name and name not in targets.setdefault(column, []):
            targets[column].append(name)
    sent = {*audience.key, *audience.mapped_columns}
    for column, sources in lineage.columns.items():
        if column not in sent:
            # Another destination receives it.
            continue
        personal = any(source.personal for source in sources)
        for target in targets.get(column) or [""]:
            for source in sources:
                yield LineageEdge(
                    source=source.name, column=column, target=target, personal=source.personal
                )
            if not sources:
                yield LineageEdge(source="", column=column, target=target, personal=personal)


def target_name(path: str) -> str:
    """What a column becomes, from the dotted path in the header that names it.

    >>> target_name("track.properties.ltv"), target_name("key"), target_name("user_id")
    ('property ltv', 'key', 'user id')
    """
    if re.search(r"\.(drop|rename)\.", path):
        # Names that are left out or called otherwise are no values.
        return ""
    block, _, rest = path.partition(".")
    known = {
        r"track\.properties\.(.+)": "property {}",
        r"identify\.traits\.(.+)": "trait {}",
        r"group\.traits\.(.+)": "group trait {}",
        r"external_ids\.(.+)": "external id {}",
        r"salesforce\.fields\.(.+)": "field {}",
        r"salesforce\.match\.(.+)": "match {}",
        r"consent\.categories\.(.+)": "consent {}",
        r"webhook\.body\.(.+)": "body {}",
    }
    for pattern, words in known.items():
        match = re.fullmatch(pattern, path)
        if match:
            return words.format(match[1])
    return (rest or block).replace("_", " ")


def _objects(raw: Mapping[str, Any]) -> Iterator[ObjectFacts]:
    for row in raw["objects"]:
        conditions = {
            f"failed: {row['error']}": row["error"],
            "incomplete": not row["complete"] and not row["error"],
            "no live rows": row["empty"],
        }
        yield ObjectFacts(
            object=row["object"],
            rows=row["rows"],
            seconds=row["seconds"],
            live=row["live"],
            deleted=row["deleted"],
            quarantined=row["quarantined"],
            vanished_fields=tuple(row["vanished_fields"]),
            condition="; ".join(name for name, holds in conditions.items() if holds) or "complete",
            finished_at=parse_utc(row["finished_at"]),
        )


def _budgets(runs: Iterable[RunFacts]) -> Iterator[Budget]:
    """What the latest run that used it took of each budget."""
    runs = list(runs)
    for run in runs:
        usage = run.details.get("salesforce") or {}
        if usage.get("calls") is None:
            continue
        yield Budget(
            name="Salesforce API calls",
            used=int(usage["calls"]),
            limit=None,
            note=f"by the extract of run {run.run_id}",
        )
        if usage.get("quota_max"):
            yield Budget(
                name="Salesforce API calls of the org",
                used=int(usage.get("quota_used") or 0),
                limit=int(usage["quota_max"]),
                note="in the last 24 hours, by all users of the org",
            )
        break
    for run in runs:
        segment = run.details.get("segment") or {}
        if not segment.get("calls"):
            continue
        requests = int(segment.get("requests", 0))
        note = f"in {requests:,} requests, by run {run.run_id}"
        yield Budget(name="Messages", used=int(segment["calls"]), limit=None, note=note)
        yield Budget(
            name="New users",
            used=int(segment.get("new_users", 0)),
            limit=None,
            note="at most; they may count towards Segment's MTU",
        )
        break
