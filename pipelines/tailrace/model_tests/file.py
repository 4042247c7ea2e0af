"""Reads `NAME.test.yml`, the tests of the model in `NAME.sql` beside it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tailrace.audience.yaml import Header, check, plain_value, raise_all, read_header, suggest
from tailrace.config.files import not_utf_8
from tailrace.dataclass import dataclass
from tailrace.errors import ModelError, ModelTestInvalid, TailraceError
from tailrace.models.file import TESTS_SUFFIX
from tailrace.models.loader import Model, Models

FILE_BYTES_MAX = 1024 * 1024
ROWS_MAX = 10_000
DEFAULT_AT = datetime(2026, 1, 1, tzinfo=UTC)

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelTest:
    """One test of a model.

    Attributes:
        given: The rows of the tables that the model reads, by `salesforce.<object>`, by
            `dataset.table` of a declared source, or by model.
        types: Types of columns by table, where the values do not show them.
        before: The members as last delivered; None if nothing was delivered.
        rows: The expected rows of the SELECT; None if they are not compared. So are `members`,
            and `calls`, the expected messages.
    """

    model: str
    name: str
    file: str
    line: int
    at: datetime = DEFAULT_AT
    given: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    types: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    before: Sequence[Row] | None = None
    destination: str | None = None
    rows: Sequence[Row] | None = None
    members: Sequence[Row] | None = None
    calls: Sequence[Row] | None = None


def tests_of(model: Model, models: Models) -> tuple[ModelTest, ...]:
    """The tests of a model; none if it has no file of tests.

    Raises:
        ModelTestInvalid: Something in the file is wrong; it names the file and the line.
        SeveralModelErrors: Several things are.
    """
    path = model.path.with_suffix("").with_name(model.path.stem + TESTS_SUFFIX)
    if not path.is_file():
        return ()
    file = str(Path(model.file).with_suffix("")) + TESTS_SUFFIX
    return tuple(_TestFile(path, file, model, models).tests())


def tests_without_model(folder: Path) -> tuple[ModelTestInvalid, ...]:
    """An error for each file of tests that has no model beside it.

    Args:
        folder: The project's `models/`.
    """
    files = sorted(folder.rglob(f"*{TESTS_SUFFIX}"))
    missing = {
        file: file.with_name(file.name.removesuffix(TESTS_SUFFIX) + ".sql")
        for file in files
        # A .yml that names a model of dbt has no .sql.
        if not file.with_name(file.name.removesuffix(TESTS_SUFFIX) + ".yml").is_file()
    }
    return tuple(
        ModelTestInvalid(
            f"There is no {model.name} beside it",
            hint=f"Delete it, or rename it after the model that it tests: NAME{TESTS_SUFFIX}",
            file=file.relative_to(folder.parent).as_posix(),
        )
        for file, model in missing.items()
        if not model.is_file()
    )


class _TestFile:
    """One file of tests, read strictly: a name that nothing has is an error."""

    def __init__(self, path: Path, file: str, model: Model, models: Models) -> None:
        self.path = path
        self.file = file
        self.model = model
        self.models = models
        self.header = self._read()

    def tests(self) -> Iterator[ModelTest]:
        values = self.header.values
        errors: list[ModelError] = []
        names: dict[str, int] = {}
        for place, entry in enumerate(values["tests"]):
            where = ("tests", str(place))
            line = self.header.line(where)
            name = str(entry["name"])
            if name in names:
                errors.append(
                    self._error(
                        f'There are two tests "{name}", the first on line {names[name]}', where
                    )
                )
            names.setdefault(name, line)
            try:
                yield self._test(name, line, entry, where)
            except ModelError as error:
                errors.append(error)
        raise_all(errors)

    def _read(self) -> Header:
        if self.path.stat().st_size > FILE_BYTES_MAX:
            raise ModelTestInvalid(
                f"The file is larger than {FILE_BYTES_MAX} bytes", file=self.file
            )
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise not_utf_8(ModelTestInvalid, error, self.file) from None
        try:
            header = read_header(text, file=self.file, called="file", bytes_max=FILE_BYTES_MAX)
            raise_all(check(header, "tests"))
        except ModelError as error:
            raise_all([_of_tests(one) for one in error.flattened()])
            raise
        return header

    def _test(
        self, name: str, line: int, entry: Mapping[str, Any], where: tuple[str, ...]
    ) -> ModelTest:
        shared = self.header.values
        expect = entry["expect"]
        is_audience = self.model.audience is not None
        for key in ("members", "calls"):
            if key in expect and not is_audience:
                raise self._error(
                    f"{self.model.name} is not an audience, so it has no {key}",
                    (*where, "expect", key),
                    hint="Expect rows instead.",
                )
        if "before" in entry and not is_audience:
            raise self._error(
                f"{self.model.name} is not an audience, so nothing was delivered of it",
                (*where, "before"),
                hint="Remove before.",
            )
        given = {**self._given(shared, ()), **self._given(entry, where)}
        types = self._types(shared, ()) | self._types(entry, where)
        at = entry.get("at") or shared.get("at")
        return ModelTest(
            model=self.model.name,
            name=name,
            file=self.file,
            line=line,
            at=self._time(at, where) if at else DEFAULT_AT,
            given=given,
            types=types,
            before=self._optional(entry, "before", where),
            destination=self._destination(entry, where),
            **{
                key: self._optional(expect, key, (*where, "expect"))
                for key in ("rows", "members", "calls")
            },
        )

    def _given(self, values: Mapping[str, Any], where: tuple[str, ...]) -> dict[str, Sequence[Row]]:
        return {
            self._table(name, (*where, "given", name)): self._rows(rows, (*where, "given", name))
            for name, rows in (values.get("given") or {}).items()
        }

    def _types(
        self, values: Mapping[str, Any], where: tuple[str, ...]
    ) -> dict[str, Mapping[str, str]]:
        return {
            self._table(name, (*where, "types", name)): {
                column.lower(): type_ for column, type_ in columns.items()
            }
            for name, columns in (values.get("types") or {}).items()
        }

    def _table(self, name: str, where: tuple[str, ...]) -> str:
        """A table that the model reads, directly or through other models."""
        under = self.models.under(self.model.name)
        known = [
            *(f"salesforce.{table}" for table in self.models.objects_read(self.model.name)),
            *(source.key for source in self.models.sources_read(self.model.name)),
            *under,
        ]
        if name.lower() not in known:
            raise self._error(
                suggest(f"{self.model.name} does not read {name}", name.lower(), known),
                where,
                hint=f"It reads: {', '.join(known)}",
            )
        return name.lower()

    def _destination(self, entry: Mapping[str, Any], where: tuple[str, ...]) -> str | None:
        name = entry.get("destination")
        audience = self.model.audience
        if name is None or audience is None:
            return None
        known = [sync.destination_name for sync in audience.syncs()]
        if name not in known:
            raise self._error(
                suggest(f'{audience.name} does not go to "{name}"', name, known),
                (*where, "destination"),
                hint=f"It goes to: {', '.join(known)}",
            )
        return str(name)

    def _optional(
        self, values: Mapping[str, Any], key: str, where: tuple[str, ...]
    ) -> Sequence[Row] | None:
        return self._rows(values[key], (*where, key)) if key in values else None

    def _rows(self, value: Any, where: tuple[str, ...]) -> Sequence[Row]:
        rows = value if isinstance(value, list) else self._rows_of_file(str(value), where)
        if len(rows) > ROWS_MAX:
            raise self._error(f"More than {ROWS_MAX:,} rows", where)
        return [_lower_case(row) for row in rows] if where[-1] != "calls" else rows

    def _rows_of_file(self, name: str, where: tuple[str, ...]) -> list[Row]:
        path = self.path.parent / name
        if not path.is_file():
            raise self._error(f"There is no {name} beside {self.path.name}", where)
        if path.stat().st_size > FILE_BYTES_MAX:
            raise self._error(f"{name} is larger than {FILE_BYTES_MAX} bytes", where)
        try:
            text = path.read_text(encoding="utf-8-sig")
            if path.suffix == ".csv":
                return [
                    {column: plain_value(cell) for column, cell in row.items()}
                    for row in csv.DictReader(text.splitlines(), strict=True)
                ]
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (UnicodeDecodeError, ValueError, csv.Error, TypeError) as error:
            raise self._error(f"{name} cannot be read: {type(error).__name__}", where) from None
        if not all(isinstance(row, dict) for row in rows):
            raise self._error(f"A line of {name} is not a JSON object", where)
        return rows

    def _time(self, text: str, where: tuple[str, ...]) -> datetime:
        try:
            return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
        except ValueError:
            raise self._error(
                f"at must be a date or a time; it is {text}",
                (*where, "at"),
                hint="Write for example: at: 2026-01-31T09:00:00Z",
            ) from None

    def _error(
        self, message: str, where: Sequence[str], *, hint: str | None = None
    ) -> ModelTestInvalid:
        return ModelTestInvalid(message, hint=hint, file=self.file, line=self.header.line(where))


def _of_tests(error: TailraceError) -> ModelError:
    """An error of the YAML as one of a file of tests."""
    hint = None if error.hint == ModelError.hint else error.hint
    return ModelTestInvalid(error.message, hint=hint, file=error.file, line=error.line)


def _lower_case(row: Row) -> dict[str, Any]:
    return {column.lower(): value for column, value in row.items()}
