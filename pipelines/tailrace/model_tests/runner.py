"""Runs the tests of models, each with the compiled model, the diff and the mapper of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from tailrace.audience.audience import Audience
from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.destinations.protocol import MapperOptions, MessageMapper
from tailrace.destinations.registry import project_models, type_of
from tailrace.encoding.values import Encoder
from tailrace.errors import (
    ModelDoesNotBind,
    ModelError,
    ModelTestInvalid,
    StatementRefused,
    TailraceError,
)
from tailrace.ledger.audiences import Delivered
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.model_tests.comparison import Difference, compare_calls, compare_rows
from tailrace.model_tests.file import ROWS_MAX, ModelTest, Row, tests_of, tests_without_model
from tailrace.model_tests.given import check_given, create_given, create_view
from tailrace.models.column_types import column_types
from tailrace.models.compile import bind, compiled_sql
from tailrace.models.lineage import columns_read
from tailrace.models.loader import Model, Models, check_columns, errors_of
from tailrace.models.parse import LANDED
from tailrace.plan.diff import DiffRequest, diff
from tailrace.plan.event_window import events_since
from tailrace.plan.faults import located
from tailrace.plan.preview import SHOW_ROWS_MAX, PreviewRow, preview
from tailrace.plan.recorded import Recorded
from tailrace.plan.snapshot_schema import shape_of
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_in_memory
from tailrace.warehouse.statements import Binding, Column, TableName, query

# A fixed namespace: the messageIds of a test are the same on every machine.
NAMESPACE = "test"
COLUMNS_SHOWN_MAX = 10


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """The result of one test; it passed if there are no differences and no error."""

    __test__ = False

    test: ModelTest
    differences: tuple[Difference, ...] = ()
    error: TailraceError | None = None

    @property
    def passed(self) -> bool:
        return not self.differences and self.error is None

    def as_dict(self) -> dict[str, Any]:
        """An entry of `tests` in a `--json` result."""
        return {
            "model": self.test.model,
            "name": self.test.name,
            "file": self.test.file,
            "line": self.test.line,
            "passed": self.passed,
            "differences": [difference.as_dict() for difference in self.differences],
            "error": self.error.as_dict() if self.error else None,
        }


@dataclass(frozen=True, kw_only=True)
class TestResults:
    """The results of the selected tests, and the errors of files that could not be used."""

    __test__ = False

    results: tuple[TestResult, ...]
    errors: tuple[TailraceError, ...] = ()

    @property
    def failed(self) -> int:
        return sum(not result.passed for result in self.results)

    @property
    def exit_code(self) -> int:
        return 2 if self.errors else int(self.failed > 0)

    def as_dict(self) -> dict[str, Any]:
        """The keys of a `--json` result."""
        return {
            "passed": len(self.results) - self.failed,
            "failed": self.failed,
            "tests": [result.as_dict() for result in self.results],
        }


def test_models(
    project: ProjectConfig,
    *,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    clock: Clock,
) -> TestResults:
    """Run the tests of the selected models.

    A model or a file of tests that is wrong is one of the `errors`; the other tests run.

    Raises:
        NothingSelected: The selection matches no model.
    """
    models = project_models(project)
    broken = models.select_broken(select, exclude)
    errors: list[TailraceError] = [*errors_of(broken)]
    if not select:
        errors += tests_without_model(project.models_folder)
    tests: list[ModelTest] = []
    for model in models.select(select, exclude):
        try:
            tests += tests_of(model, models)
        except ModelError as error:
            errors.append(error)
    return TestResults(
        results=_run(project, models, tests, clock=clock) if tests else (), errors=tuple(errors)
    )


def _run(
    project: ProjectConfig, models: Models, tests: Sequence[ModelTest], *, clock: Clock
) -> tuple[TestResult, ...]:
    """Run tests one after the other in one warehouse in memory."""
    with open_in_memory(project) as warehouse:
        own = (project.settings.dataset, project.settings.model_dataset)
        declared = (source.key.partition(".")[0] for source in models.sources.values())
        for dataset in dict.fromkeys((*own, *declared)):
            warehouse.create_dataset(dataset)
        ledger = Ledger(warehouse, clock=clock)
        ledger.install(NAMESPACE)
        session = _Session(ledger, models)
        return tuple(_TestRun(session, test).result() for test in tests)


class _Session:
    """What the tests of one call share: the warehouse, and what is compiled once."""

    def __init__(self, ledger: Ledger, models: Models) -> None:
        self.ledger = ledger
        self.warehouse = ledger.warehouse
        self.models = models
        self.columns_read = columns_read(models)
        self._bound: dict[tuple[Any, ...], Binding] = {}

    def bound(
        self, model: Model, suppress: str | None, built: Sequence[str], test: ModelTest
    ) -> Binding:
        """A model's SELECT at the time of a test, whose rows are its tables.

        Args:
            model: The model.
            suppress: A column; rows in which it is true are left out.
            built: The models under it that the test gives.
            test: The test.
        """
        # A translation depends on the types of the columns, which each test has of its own.
        under = (self.models.by_name[name] for name in (*self.models.under(model.name), model.name))
        own = any(read.dialect != self.warehouse.dialect for read in under)
        place = (
            model.name,
            suppress,
            tuple(built),
            test.at,
            (test.file, test.line) if own else None,
        )
        if place not in self._bound:
            self._bound[place] = self._bind(model, suppress, built, test)
        return self._bound[place]

    def _bind(
        self, model: Model, suppress: str | None, built: Sequence[str], test: ModelTest
    ) -> Binding:
        dialect = self.warehouse.dialect
        if suppress is not None:
            return query(
                "plan/members_only",
                dialect,
                tables={"model": self.bound(model, None, built, test)},
                column=Column(suppress),
            )
        settings = self.warehouse.project.settings
        types = column_types(self.warehouse)
        bound = bind(
            compiled_sql(
                self.models, model.name, tables_built=built, dialect=dialect, columns=types
            ),
            dataset=settings.dataset,
            now=test.at,
            dialect=dialect,
            model_dataset=settings.model_dataset,
            file=model.file,
            columns=types,
        )
        log = model.audience.log if model.audience else None
        if log is None:
            return bound
        # As a run does that is not the first one: rows that are older than `keep` are not read.
        return events_since(bound, replace(log, since="all"), test.at, dialect=dialect)


class _TestRun:
    """One test, over the tables that it gives."""

    def __init__(self, session: _Session, test: ModelTest) -> None:
        self.session = session
        self.warehouse: Warehouse = session.warehouse
        self.models = session.models
        self.test = test
        self.model: Model = session.models.by_name[test.model]
        self.untyped: tuple[str, ...] = ()

    def result(self) -> TestResult:
        try:
            return TestResult(test=self.test, differences=tuple(self._differences()))
        except (ModelError, StatementRefused) as error:
            return TestResult(test=self.test, error=self._located(error))

    def _located(self, error: TailraceError) -> TailraceError:
        """The error with the file and line at fault: a value of the test, or the model."""
        if isinstance(error, ModelTestInvalid):
            return error
        try:
            tables = {**self._columns_read(), **self.test.given}
            check_given(self.warehouse, self.test, tables)
        except ModelTestInvalid as invalid:
            return invalid
        fault = located(self.warehouse, self.models, self.model, error, now=self.test.at)
        if isinstance(fault, ModelDoesNotBind) and self.untyped:
            names = ", ".join(self.untyped[:COLUMNS_SHOWN_MAX])
            fault.hint = f"Give these columns a value, or a type under types: {names}"
        return fault

    def _columns_read(self) -> dict[str, tuple[str, ...]]:
        """The columns of the tables that have to exist: landed ones and sources."""
        given = {name for name in self.test.given if name in self.models.by_name}
        needed = [self.model.name, *self._under(given)]
        landed = [table for name in needed for table in self._model(name).reads]
        read = {
            f"{LANDED}.{table}": tuple(self.session.columns_read.get(table, ())) for table in landed
        }
        sources = [self.models.sources[key] for name in needed for key in self._model(name).sources]
        read |= {
            source.key: tuple(
                dict.fromkeys((*source.columns, *self.session.columns_read.get(source.key, ())))
            )
            for source in sources
        }
        return read | {name: self.models.by_name[name].columns or () for name in given}

    def _model(self, name: str) -> Model:
        return self.models.by_name[name]

    def _under(self, given: set[str]) -> list[str]:
        """The models that are run: those under the model that are not given, nor under those."""
        reached: dict[str, None] = {}
        pending = [self.model.name]
        while pending:
            for name in self.models.by_name[pending.pop()].depends_on:
                if name not in given and name not in reached:
                    reached[name] = None
                    pending.append(name)
        return list(reached)

    def _differences(self) -> list[Difference]:
        test, audience = self.test, self.model.audience
        self.untyped = create_given(self.warehouse, test, self._columns_read())
        key = audience.key if audience else ()
        every_row = self._bound(None)
        columns = self.warehouse.describe(every_row)
        check_columns(self.model, [column.name for column in columns])
        differences = []
        if test.rows is not None:
            rows = self._rows(every_row, columns)
            differences += compare_rows("rows", test.rows, rows, key=key)
        if audience is None:
            return differences
        if test.members is not None:
            members = _members(self._rows(self._bound(audience), columns), key)
            differences += compare_rows("members", test.members, members, key=key)
        if test.calls is not None:
            sync = audience.for_destination(
                test.destination or audience.syncs()[0].destination_name
            )
            differences += self._call_differences(sync, columns)
        return differences

    def _bound(self, audience: Audience | None) -> Binding:
        """The rows of the SELECT, or those that may become members of an audience."""
        built = [name for name in self.test.given if name in self.models.by_name]
        suppress = audience.suppress_when if audience else None
        return self.session.bound(self.model, suppress, built, self.test)

    def _rows(self, bound: Binding, columns: Sequence[Column]) -> list[Row]:
        """The rows that a query gives, as the JSON values that a message would carry."""
        rows = self.warehouse.run("model_tests/rows", tables={"model": bound}, rows_max=ROWS_MAX)
        encoder = Encoder()
        return [
            {
                column.name: orjson.loads(encoder.dumps(encoder.encode(value)))
                for column, value in zip(columns, row, strict=True)
            }
            for row in rows
        ]

    def _call_differences(self, sync: Audience, columns: Sequence[Column]) -> list[Difference]:
        shape = shape_of(columns, key=sync.key, mapped=sync.mapped_columns, file=sync.file)
        model = self._bound(sync)
        delivered = self._deliver_before(sync, shape, model)
        request = DiffRequest(
            audience=sync,
            model=model,
            shape=shape,
            delivered=delivered,
            edited=False,
            earlier=None,
            upstream=(),
            now=self.test.at,
            run_seq=2,
        )
        rows = preview(
            self.warehouse,
            shape,
            diff(self.session.ledger, request, recorded=Recorded(self.session.ledger)),
            self._mapper(sync),
            rows_max=SHOW_ROWS_MAX,
            show_values=True,
        )
        calls = [message for row in rows for message in row.messages]
        return [*compare_calls(self.test.calls or (), calls), *_rejections(rows)]

    def _deliver_before(self, sync: Audience, shape: Shape, model: Binding) -> Delivered | None:
        """Create the snapshot of `before`; None if nothing was delivered."""
        snapshot = self.session.ledger.snapshot(sync.ledger_key)
        before = self.test.before
        if before is None:
            self.warehouse.run("model_tests/drop_before", tables={"snapshot": snapshot})
            return None
        self._refuse_unknown(before, shape)
        types = {column.name: column.type for column in (*shape.keys, *shape.columns)}
        rows = [{**row, "tr_given": "".join(f",{column}," for column in row)} for row in before]
        view = TableName(self.warehouse.project.settings.model_dataset, "before__")
        create_view(self.warehouse, view, rows, types | {"tr_given": "VARCHAR"})
        self.warehouse.run(
            "model_tests/create_before",
            tables={"snapshot": snapshot, "before": view, "model": model},
            columns={
                "keys": shape.keys,
                "columns": [c._replace(label=f",{c.name},") for c in shape.columns],
            },
            since=self.test.at,
        )
        return Delivered(
            run_seq=1,
            definition="",
            definition_fingerprint="",
            mapping=sync.mapping(),
            mapping_fingerprint=sync.mapping_fingerprint,
            model_fingerprint=None,
            rows_seen=len(before),
            rejected=0,
        )

    def _refuse_unknown(self, before: Sequence[Row], shape: Shape) -> None:
        known = [column.name for column in (*shape.keys, *shape.columns)]
        for row in before:
            missing = [key.name for key in shape.keys if row.get(key.name) is None]
            unknown = [column for column in row if column not in known]
            if missing or unknown:
                raise ModelTestInvalid(
                    f'before of the test "{self.test.name}" '
                    + (f"lacks the key {missing[0]}" if missing else f"maps no {unknown[0]}"),
                    hint=f"A row has the key and mapped columns: {', '.join(known)}",
                    file=self.test.file,
                    line=self.test.line,
                )

    def _mapper(self, sync: Audience) -> MessageMapper:
        destination = type_of(self.warehouse.project, sync.destination_name)
        options = MapperOptions(
            namespace=NAMESPACE,
            planned_at=self.test.at,
            salt=self.warehouse.project.settings.salt,
            rules=destination.project_rules(self.warehouse.project),
        )
        return destination.mapper(sync, options)


def _members(rows: Sequence[Row], key: Sequence[str]) -> list[Row]:
    """The rows that become members: their key is unique and has no NULL."""
    keys = [tuple(row[name] for name in key) for row in rows]
    times = Counter(keys)
    return [
        row
        for row, values in zip(rows, keys, strict=True)
        if times[values] == 1 and None not in values
    ]


def _rejections(rows: Sequence[PreviewRow]) -> list[Difference]:
    """A member whose messages would be rejected is a difference in every test."""
    return [
        Difference(
            of="calls",
            problem="different",
            row=f"{row.op} {', '.join(row.key)}",
            column="rejected",
            actual=row.problem,
        )
        for row in rows
        if row.problem
    ]
