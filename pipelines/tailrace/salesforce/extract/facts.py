"""What an extract did for each object, as the plan's guards and the results need it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tailrace.dataclass import dataclass
from tailrace.errors import ExtractIncomplete, TailraceError
from tailrace.salesforce.extract.context import ExtractContext
from tailrace.salesforce.extract.extracted_object import ApiName, ExtractedObject
from tailrace.salesforce.extract.staging import QUARANTINE, CorrectionResult
from tailrace.salesforce.extract.table_layout import FieldDrift

PASSWORD_LOGIN_RETIRES = (
    "Salesforce retires the login with username and password in Summer '27, and new orgs have it"
    " switched off. Use OAuth client credentials or JWT bearer."
)


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """What an extract did for one object.

    Attributes:
        rows: Rows that landed, each id once.
        complete: All of the window landed.
        empty: The object had rows before and has none any more. An object that never had rows is
            not empty in this sense.
        duplicates: Rows of a first load that Salesforce sent twice.
        quarantined: Values that did not fit their fields and landed as NULL.
        seconds: How long its rows took to be read; None if they were not.
        described: What describe says about the object; see `compact_describe`.
        drift: Fields whose column holds other values than before: vanished, or of another kind.
    """

    object: str
    table: str
    rows: int = 0
    window_start: datetime | None = None
    window_end: datetime | None = None
    watermark: datetime | None = None
    complete: bool = False
    empty: bool = False
    duplicates: int = 0
    quarantined: int = 0
    vanished_fields: tuple[str, ...] = ()
    new_fields: tuple[str, ...] = ()
    retyped_fields: tuple[str, ...] = ()
    drift: tuple[FieldDrift, ...] = ()
    api: ApiName = "rest"
    seconds: float | None = None
    described: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    error: TailraceError | None = None


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """What an extract did, and what it cost.

    Attributes:
        calls_used: API calls of this run.
        quota_used_before, quota_used, quota_max: The org's daily budget, as far as it is known.
        warnings: Conditions that need attention and are not errors.
        is_idle: Nothing was written to the warehouse.
    """

    objects: tuple[ObjectFacts, ...]
    calls_used: int
    quota_used_before: int | None
    quota_used: int | None
    quota_max: int | None
    seconds: float
    warnings: tuple[str, ...] = ()
    is_idle: bool = False


def facts_of(
    context: ExtractContext,
    table_of: Mapping[str, str],
    live: frozenset[str],
    corrections: Mapping[str, CorrectionResult],
) -> tuple[ObjectFacts, ...]:
    """The facts of each object.

    Args:
        table_of: The table of each object, by its API name.
        live: The tables that have a row which is not deleted.
        corrections: What the staging tables changed, by table.
    """
    facts = []
    for name, table in table_of.items():
        error = context.errors.get(name)
        correction = corrections.get(table, CorrectionResult(table=table))
        if correction.emptied:
            error = ExtractIncomplete(
                f"Salesforce shows no {name} at all, and there were some",
                hint="No row was counted as deleted. Check that the user may still see the object.",
            )
        of_object = ObjectFacts(
            object=name,
            table=table,
            empty=table in context.had_rows and table not in live,
            duplicates=correction.duplicates,
            error=error,
        )
        extracted = context.extracted.get(name)
        facts.append(of_object if extracted is None else _with_extracted(of_object, extracted))
    return tuple(facts)


def _with_extracted(facts: ObjectFacts, extracted: ExtractedObject) -> ObjectFacts:
    layout = extracted.layout
    return replace(
        facts,
        rows=extracted.rows - facts.duplicates,
        window_start=extracted.window.start,
        window_end=extracted.window.end,
        watermark=extracted.watermark,
        complete=facts.error is None,
        quarantined=len(extracted.rejected),
        vanished_fields=layout.vanished,
        new_fields=layout.new,
        retyped_fields=layout.retyped,
        drift=tuple(drift for drift in layout.drift if drift.changes_values),
        api=extracted.api,
        described=extracted.sobject.described,
        seconds=extracted.seconds,
    )


def warnings_of(context: ExtractContext, objects: Sequence[ObjectFacts]) -> Iterator[str]:
    """What needs attention before it becomes an error."""
    if context.api.login_kind == "username and password":
        yield PASSWORD_LOGIN_RETIRES
    for facts in objects:
        if facts.vanished_fields:
            yield (
                f"{facts.object}: {', '.join(facts.vanished_fields)} is no longer visible, and rows"
                " that change have NULL there. Either the field was deleted, or the user needs read"
                " access to it."
            )
        left_out = [str(drift) for drift in facts.drift if drift.is_left_out]
        if left_out:
            yield (
                f"{facts.object}: {', '.join(left_out)} does not fit its column any more, and rows"
                " that change have NULL there. Load the object again with: tailrace extract"
                f" --full-refresh -s {facts.object}"
            )
        retyped = [field for field in facts.retyped_fields if field not in left_out]
        if retyped:
            yield (
                f"{facts.object}: the type changed in Salesforce, and the column keeps its type:"
                f" {', '.join(retyped)}"
            )
        if facts.duplicates:
            yield (
                f"{facts.object}: Salesforce sent {facts.duplicates:,} rows twice. The newest row"
                " of each id was kept."
            )
        if facts.object in context.refusals:
            yield (
                f"{facts.object}: Salesforce refuses its log of deletions"
                f" ({context.refusals[facts.object]}). All ids were compared instead."
            )
        if facts.quarantined:
            yield (
                f"{facts.object}: {facts.quarantined:,} values did not fit their fields and are"
                f" NULL. The table {QUARANTINE} lists them, without the values."
            )
