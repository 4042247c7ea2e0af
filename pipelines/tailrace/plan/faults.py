"""Finds the file and the line that an engine's error about a model comes from.

An engine sees one statement with every model inlined, so its error names none of them. Here the
models under an audience are bound and run one by one, and the first that fails is at fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from tailrace.errors import (
    MemoryShort,
    ModelDoesNotBind,
    ModelError,
    ModelFailed,
    NotAllowedInModel,
    StatementRefused,
    TailraceError,
)
from tailrace.models.column_types import column_types
from tailrace.models.compile import bind, compiled_sql
from tailrace.models.loader import Model, Models, check_columns
from tailrace.models.parse import line_of
from tailrace.models.translation import construct_text
from tailrace.plan.event_window import events_since
from tailrace.plan.sources import SourceStates
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, Column

# The engines' names of what can fail while a model runs, what it means, and how to avoid it.
_FAULTS = (
    (
        re.compile("InsufficientPrivilege|permission denied for"),
        "the role that models run as may not read what it needs",
        "Give the role of model_role the right to read, as docs/how-to/postgresql.md says, or "
        "remove model_role under [tailrace]. See what is missing with: tailrace doctor",
    ),
    (
        re.compile("Conversion|InvalidTextRepresentation|Datetime"),
        "a value cannot be converted to the type of a cast",
        "Use TRY_CAST, which gives NULL for such a value, or filter these rows in the SELECT.",
    ),
    (
        re.compile("DivisionByZero|OutOfRange"),
        "a number is out of range or is divided by zero",
        "Divide by NULLIF(divisor, 0), or cast to a wider type, in the SELECT.",
    ),
    (
        re.compile("CardinalityViolation|InvalidInput|ProgrammingError"),
        "a subquery gives more than one row, or a function does not accept a value",
        "Aggregate the subquery, for example with MAX(), or add LIMIT 1, in the SELECT.",
    ),
)
# A message about a value of a row is reduced to the class of the engine's error.
_ABOUT_A_VALUE = re.compile(r"\w+")
_STATEMENT_HINT = (
    "The models run; a statement of Tailrace fails. If the message names the type of a mapped "
    "column, cast the column in the SELECT. Otherwise report the message."
)
_QUOTED_NAME = re.compile(
    r"""\"([^\"]+)\"|column ([\w.]+) does not exist|(?:'|function )([\w.]+)\("""
)
_REFUSED_NAME = re.compile(r"([\w.]+)(?:\(\))? is ")
_FIELD_HINT = (
    "Correct the SQL. If the name is a Salesforce field, check that the integration user may see "
    "it, then run: tailrace extract"
)


def located(
    warehouse: Warehouse, models: Models, model: Model, error: TailraceError, *, now: datetime
) -> TailraceError:
    """An error about a model, with the file and the line at fault: a model under it, or itself."""
    if isinstance(error, ModelError) and error.line is not None:
        return error
    if isinstance(error, ModelDoesNotBind):
        return binding_fault(warehouse, models, model, error, now=now)
    if isinstance(error, NotAllowedInModel):
        return refusal_fault(warehouse, models, model, error, now=now)
    if isinstance(error, StatementRefused):
        return running_fault(warehouse, models, model, error, now=now)
    if isinstance(error, MemoryShort):
        return MemoryShort(f"{model.name}: {error.message}", file=model.file)
    return error


def binding_fault(
    warehouse: Warehouse, models: Models, model: Model, error: ModelDoesNotBind, *, now: datetime
) -> ModelDoesNotBind:
    """The error of a model that does not bind, with the file and the line at fault."""
    if error.construct:
        return _translation_fault(models, model, error)
    landed = warehouse.tables_in(warehouse.project.settings.dataset)
    for candidate in _inside_out(models, model):
        missing = sorted(set(candidate.reads) - landed)
        if missing:
            return not_landed(candidate, missing[0])
        try:
            warehouse.describe(_bound(warehouse, models, candidate, now=now))
        except ModelDoesNotBind as fault:
            located_fault = ModelDoesNotBind(
                fault.message,
                hint=_FIELD_HINT,
                file=candidate.file,
                line=_line_of_name(candidate, fault.message) or _first_line(candidate),
            )
            located_fault.detail = fault.detail
            return located_fault
    if model.audience is not None and model.audience.log is not None:
        # All that binding an event model adds is the comparison of its times.
        column, line = model.audience.log.timestamp, model.audience.line("timestamp")
        return ModelDoesNotBind(
            f"timestamp: {column} is neither a timestamp nor a date",
            hint=f"Convert it in the SELECT, such as: CAST({column} AS TIMESTAMPTZ) AS {column}",
            file=model.file,
            line=line,
        )
    unlocated = ModelDoesNotBind(error.message, hint=error.hint, file=model.file)
    unlocated.detail = error.detail
    return unlocated


def _translation_fault(models: Models, model: Model, error: ModelDoesNotBind) -> ModelDoesNotBind:
    """The error of a construct that is not translated, with the file and the line that has it."""
    if error.line is not None:
        return error
    for candidate in _inside_out(models, model):
        for node in candidate.query.walk():
            if construct_text(node) == error.construct:
                located_error = ModelDoesNotBind(
                    error.message, hint=error.hint, file=candidate.file, line=line_of(node)
                )
                located_error.construct = error.construct
                return located_error
    return ModelDoesNotBind(
        error.message, hint=error.hint, file=model.file, line=_first_line(model)
    )


def refusal_fault(
    warehouse: Warehouse, models: Models, model: Model, error: NotAllowedInModel, *, now: datetime
) -> NotAllowedInModel:
    """The error of a model that does more than compute rows, with file and line."""
    if error.line is not None:
        return error
    named = _REFUSED_NAME.match(error.message)
    name = named[1].rpartition(".")[2] if named else ""
    for candidate in _inside_out(models, model):
        try:
            warehouse.describe(_bound(warehouse, models, candidate, now=now))
        except ModelError:
            line = (_line_of(candidate, name) if name else None) or _first_line(candidate)
            return NotAllowedInModel(error.message, hint=error.hint, file=candidate.file, line=line)
    return NotAllowedInModel(error.message, hint=error.hint, file=model.file)


def binding_errors(
    warehouse: Warehouse, models: Models, selected: Sequence[Model], *, now: datetime
) -> list[ModelError]:
    """The errors of binding the selected models to the landed tables, each once.

    A model that reads an object which has not landed yet, or a source that is missing, is left out.
    """
    landed = warehouse.tables_in(warehouse.project.settings.dataset)
    sources = SourceStates(warehouse, models, now=now)
    errors: dict[tuple[str | None, int | None, str], ModelError] = {}
    for model in selected:
        if not set(models.objects_read(model.name)) <= landed:
            continue
        if any(state.missing for state in sources.read_by(model.name)):
            continue
        try:
            bound = _bound(warehouse, models, model, now=now)
            columns = warehouse.describe(bound)
            check_columns(model, [column.name for column in columns])
            if model.audience is not None and model.audience.log is not None:
                log = model.audience.log
                warehouse.describe(events_since(bound, log, now, dialect=warehouse.dialect))
        except ModelDoesNotBind as error:
            fault: ModelError = binding_fault(warehouse, models, model, error, now=now)
            errors.setdefault((fault.file, fault.line, fault.message), fault)
        except NotAllowedInModel as error:
            refused = refusal_fault(warehouse, models, model, error, now=now)
            errors.setdefault((refused.file, refused.line, refused.message), refused)
        except ModelError as error:
            errors.setdefault((error.file, error.line, error.message), error)
    return list(errors.values())


def running_fault(
    warehouse: Warehouse, models: Models, model: Model, error: StatementRefused, *, now: datetime
) -> ModelError | StatementRefused:
    """The error of a model that fails when it runs, with the file and the line at fault.

    The message names the column, and no value of a row. A statement that runs no model, or that the
    engine cannot bind although every model runs, is not the model's error.
    """
    if not error.runs_query:
        return _statement_fault(model, error)
    kind = error.message.partition(": ")[2] or error.message
    for candidate in _inside_out(models, model):
        try:
            bound = _bound(warehouse, models, candidate, now=now)
            columns = warehouse.describe(bound)
        except ModelDoesNotBind as fault:
            return binding_fault(warehouse, models, model, fault, now=now)
        if runs(warehouse, bound, columns):
            continue
        failing = next((c.name for c in columns if not runs(warehouse, bound, [c])), None)
        alone = failing is not None and any(runs(warehouse, bound, [c]) for c in columns)
        if len(columns) == 1 or alone:
            return _failed(candidate, kind, error, column=failing)
        return _failed(candidate, kind, error, column=None)
    if not _ABOUT_A_VALUE.fullmatch(kind):
        return _statement_fault(model, error)
    # An engine may compute a value in another order than in the model alone.
    return _failed(model, kind, error, column=None)


def runs(warehouse: Warehouse, bound: Binding, columns: Sequence[Column]) -> bool:
    """Whether a query gives a value of these columns for each of its rows."""
    return warehouse.attempt("plan/evaluate", tables={"model": bound}, columns={"columns": columns})


def not_landed(model: Model, table: str) -> ModelDoesNotBind:
    """The error for a model that reads an object which was never extracted."""
    return ModelDoesNotBind(
        f"{model.name} reads salesforce.{table}, which has not landed",
        hint="Add the object to [sources.salesforce] objects, then: tailrace extract",
        file=model.file,
        line=_line_of(model, table),
    )


def _inside_out(models: Models, model: Model) -> Iterator[Model]:
    """The models under a model, each after those that it reads, and the model itself."""
    for name in models.under(model.name):
        yield models.by_name[name]
    yield model


def _bound(warehouse: Warehouse, models: Models, model: Model, *, now: datetime) -> Binding:
    settings = warehouse.project.settings
    types = column_types(warehouse)
    return bind(
        compiled_sql(models, model.name, dialect=warehouse.dialect, columns=types),
        dataset=settings.dataset,
        now=now,
        dialect=warehouse.dialect,
        model_dataset=settings.model_dataset,
        file=model.file,
        columns=types,
    )


def _statement_fault(model: Model, error: StatementRefused) -> StatementRefused:
    fault = StatementRefused(f"{model.name}: {error.message}", hint=_STATEMENT_HINT)
    fault.detail = error.detail
    return fault


def _failed(model: Model, kind: str, error: StatementRefused, *, column: str | None) -> ModelFailed:
    where = f'column "{column}"' if column else "the SELECT"
    unknown = (None, "the warehouse refuses a value", "Check the expressions in the SELECT.")
    _, meaning, hint = next((fault for fault in _FAULTS if fault[0].search(kind)), unknown)
    failed = ModelFailed(
        f"{where}: {meaning} ({kind})",
        hint=hint,
        file=model.file,
        line=_line_of(model, column) if column else _first_line(model),
    )
    failed.detail = error.detail
    return failed


def _line_of_name(model: Model, message: str) -> int | None:
    """The line of the first name that an engine's message quotes and the file has."""
    for quoted in _QUOTED_NAME.finditer(message):
        line = _line_of(model, (quoted[1] or quoted[2] or quoted[3]).rpartition(".")[2])
        if line is not None:
            return line
    return None


def _line_of(model: Model, name: str) -> int | None:
    """The line of a name in a model's file; if it is an alias, that of the alias."""
    for pattern in (rf'\bAS\s+"?{re.escape(name)}\b', rf"(?<!\w){re.escape(name)}(?!\w)"):
        place = re.search(pattern, model.sql, re.IGNORECASE)
        if place is not None:
            return _first_line(model) + model.sql.count("\n", 0, place.end())
    return None


def _first_line(model: Model) -> int:
    """The line of the file at which the SQL begins, after the header."""
    try:
        text = model.path.read_text(encoding="utf-8-sig")
    except OSError:
        return 1
    return text.count("\n", 0, max(text.find(model.sql), 0)) + 1
