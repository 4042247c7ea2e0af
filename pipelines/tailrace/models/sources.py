"""The declared sources: tables of the warehouse that neither Salesforce nor Tailrace writes.

`models/sources.yml` names them, and models read them as `dataset.table`. A model that reads another
table is refused, so that every input of an audience is known and can be checked before a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlglot import exp
from sqlglot.errors import SqlglotError

from tailrace.audience.event_log import parse_duration
from tailrace.audience.yaml import Header, check, raise_all, read_header
from tailrace.config.files import not_utf_8
from tailrace.dataclass import dataclass
from tailrace.errors import HeaderInvalid, ModelError
from tailrace.models.parse import LANDED

if TYPE_CHECKING:
    from tailrace.models.dbt import DbtNode

SOURCES_FILE = "sources.yml"
FILE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table or view that models read and that another program writes.

    Attributes:
        dataset: The schema, as the warehouse writes it; so is `table`.
        freshness_column: The column whose greatest value is the age of the table; None without a
            limit.
        hold_after: The age above which the audiences that read it are held.
        columns: The columns that must be there, with their types; None is any type.
        dbt: The model of dbt that writes it, where `dbt://` names it.
    """

    name: str
    dataset: str
    table: str
    file: str
    line: int | None = None
    description: str = ""
    owner: str | None = None
    freshness_column: str | None = None
    hold_after: timedelta | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    dbt: DbtNode | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """`dataset.table` in lower case, by which models name it."""
        return f"{self.dataset}.{self.table}".lower()


def sources_file(folder: Path) -> Path | None:
    """The file that declares the sources of a project; None if there is none.

    `models/sources.yml` beside a `models/sources.sql` is the header of that model.
    """
    file = folder / SOURCES_FILE
    is_header = file.with_suffix(".sql").is_file()
    return file if file.is_file() and not is_header else None


def read_sources(
    folder: Path, *, reserved: Collection[str] = ()
) -> tuple[dict[str, Source], list[ModelError]]:
    """The declared sources by `dataset.table`, and the errors of their file.

    Args:
        folder: The project's `models/`.
        reserved: The datasets that Tailrace itself writes.
    """
    path = sources_file(folder)
    if path is None:
        return {}, []
    file = f"{folder.name}/{SOURCES_FILE}"
    try:
        header = _read(path, file)
    except ModelError as error:
        return {}, list(error.flattened())  # type: ignore[arg-type]
    sources: dict[str, Source] = {}
    errors: list[ModelError] = []
    for place, entry in enumerate(header.values["sources"]):
        source = _source(header, entry, ("sources", str(place)))
        errors += _problems(header, source, place, sources, reserved)
        sources.setdefault(source.key, source)
    return sources, errors


def _read(path: Path, file: str) -> Header:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf_8(HeaderInvalid, error, file) from None
    except OSError as error:
        raise HeaderInvalid(f"The file cannot be read: {error.strerror}", file=file) from None
    header = read_header(text, file=file, called="file", bytes_max=FILE_BYTES_MAX)
    raise_all(check(header, "sources"))
    return header


def _source(header: Header, entry: Mapping[str, Any], where: tuple[str, ...]) -> Source:
    freshness = entry.get("freshness") or {}
    columns = entry.get("columns") or {}
    typed = columns if isinstance(columns, Mapping) else dict.fromkeys(columns)
    return Source(
        name=entry.get("name", f"{entry['dataset']}.{entry['table']}"),
        dataset=entry["dataset"],
        table=entry["table"],
        file=header.file,
        line=header.line(where),
        description=entry.get("description", ""),
        owner=entry.get("owner"),
        freshness_column=freshness["column"].lower() if freshness else None,
        hold_after=parse_duration(freshness["hold_after"]) if freshness else None,
        columns={name.lower(): type_ for name, type_ in typed.items()},
    )


def _problems(
    header: Header,
    source: Source,
    place: int,
    others: Mapping[str, Source],
    reserved: Collection[str],
) -> Iterator[HeaderInvalid]:
    """What the JSON Schema cannot see: repeated names, datasets of Tailrace, unknown types."""
    where = ("sources", str(place))
    same_table = others.get(source.key)
    same_name = next((other for other in others.values() if other.name == source.name), None)
    if same_table is not None:
        message = f"{source.key} is declared twice, first on line {same_table.line}"
        yield HeaderInvalid(message, file=header.file, line=source.line)
    elif same_name is not None:
        yield HeaderInvalid(
            f'There are two sources "{source.name}", the first on line {same_name.line}',
            hint="Give one of them another name.",
            file=header.file,
            line=header.line((*where, "name")),
        )
    if source.dataset.lower() in {LANDED, *(name.lower() for name in reserved)}:
        yield HeaderInvalid(
            f"{source.dataset} is a dataset that Tailrace writes",
            hint="Models read Salesforce objects as salesforce.<object> and other models by their "
            "names, without a declaration.",
            file=header.file,
            line=header.line((*where, "dataset")),
        )
    for name, type_ in source.columns.items():
        if type_ is not None and type_kind(type_, "duckdb") is None:
            yield HeaderInvalid(
                f'"{type_}" is not a type that Tailrace knows',
                hint="Write a SQL type, such as VARCHAR, DOUBLE or TIMESTAMP, or no type.",
                file=header.file,
                line=header.line((*where, "columns", name)),
            )


def type_kind(type_: str, dialect: str) -> str | None:
    """The kind of a SQL type, equal for types that a widened column may have.

    >>> type_kind("VARCHAR(80)", "duckdb"), type_kind("text", "postgres")
    ('text', 'text')
    >>> type_kind("DECIMAL(10, 2)", "duckdb"), type_kind("timestamptz", "postgres")
    ('number', 'time')
    """
    try:
        parsed = exp.DataType.build(type_, dialect=dialect)
    except (SqlglotError, ValueError):
        return None
    kind = parsed.this
    if not isinstance(kind, exp.DType):
        return str(kind).lower()
    for name, kinds in _KINDS.items():
        if kind in kinds:
            return name
    return str(kind.value).lower()


_KINDS: Mapping[str, Collection[Any]] = {
    "text": exp.DataType.TEXT_TYPES,
    "number": exp.DataType.NUMERIC_TYPES,
    "date": {exp.DType.DATE, exp.DType.DATE32},
    "time": exp.DataType.TEMPORAL_TYPES,
}
