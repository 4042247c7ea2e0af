"""One file of `models/`, read into a model: SQL with its header, or a .yml that names dbt's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from sqlglot import exp

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import BlockTypes
from tailrace.audience.header import read_audience, read_event_model
from tailrace.audience.yaml import Header, check, raise_all, read_header, schema, split
from tailrace.config.files import not_utf_8
from tailrace.dataclass import dataclass
from tailrace.errors import HeaderInvalid, ModelError, NotAllowedInModel
from tailrace.models.accepted import AcceptedSql
from tailrace.models.dbt import NAMED_AS_WRITTEN, SCHEME, DbtNode, DbtProject, with_dbt_defaults
from tailrace.models.determinism import (
    CLOCKS,
    VOLATILE,
    ModelWarning,
    find_nondeterminism,
)
from tailrace.models.nodes import Nodes
from tailrace.models.parse import line_of, read_select
from tailrace.models.sources import sources_file
from tailrace.models.splice import Edit, edited
from tailrace.models.syntax import Syntax
from tailrace.warehouse import sandbox
from tailrace.warehouse.postgres_sandbox import postgres_violations
from tailrace.warehouse.sandbox import duckdb_references, duckdb_violations

ModelKind = Literal["audience", "staging"]
Materialized = Literal["view", "table"]

AUDIENCES_FOLDER = "audiences"
# The end of the name of a file with a model's tests.
TESTS_SUFFIX = ".test.yml"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
# A .yml that has no .sql beside it has this key.
_NAMES_MODEL = re.compile(r"^model[ \t]*:", re.MULTILINE)
_DECLARED = re.compile(r"^(?:audience|events):[ \t]*([a-z][a-z0-9_]*)", re.MULTILINE)
NAME_HINT = "Lower-case letters, digits and _ only, beginning with a letter, at most 50."


@dataclass(frozen=True, kw_only=True)
class Model:
    """One SELECT with its header.

    `sql` is without the header, and `source` has blanks in its place, so that the places in the
    syntax tree are places in it; `file` is the path below the project. `reads` are landed
    tables, and `sources` are other tables that it reads, as `dataset.table`. With `dbt`, the SELECT
    is all of a relation that dbt builds.
    """

    name: str
    path: Path
    file: str
    sql: str
    source: str = field(default="", compare=False, repr=False)
    dialect: str = "duckdb"
    kind: ModelKind = "staging"
    materialized: Materialized = "view"
    description: str = ""
    owner: str | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    dbt: DbtNode | None = None
    audience: Audience | None = None
    columns: tuple[str, ...] | None = None
    warnings: tuple[ModelWarning, ...] = ()
    # What its SELECT would do beyond computing rows from tables.
    violations: tuple[ModelError, ...] = field(default=(), compare=False, repr=False)
    syntax: Syntax = field(compare=False, repr=False)

    @property
    def query(self) -> exp.Query:
        """The syntax tree, which is parsed for the first caller."""
        return self.nodes.query

    @property
    def nodes(self) -> Nodes:
        """The nodes of the syntax tree."""
        return self.syntax.nodes


def model_files(folder: Path) -> tuple[list[Path], list[ModelError]]:
    """The .sql files, and the .yml files that name a model of dbt, in the order of their paths.

    Another .yml without a .sql is an error, and so is what cannot be read.
    """
    models: list[Path] = []
    paths, errors = _files_below(folder)
    for path in paths:
        if path.suffix == ".sql":
            models.append(path)
        elif path.suffix == ".yaml":
            hint = f"Rename it to {path.stem}.yml."
            errors.append(
                HeaderInvalid("A sidecar is a .yml file", hint=hint, file=_spoken(path, folder))
            )
        elif path.name.endswith(TESTS_SUFFIX) or path == sources_file(folder):
            # A run does not need the tests; `tailrace test` reads them.
            continue
        elif path.suffix == ".yml" and not path.with_suffix(".sql").is_file():
            if _names_model(path):
                models.append(path)
                continue
            errors.append(
                HeaderInvalid(
                    f"There is no {path.stem}.sql beside it",
                    hint="A .yml in models/ is the header of the .sql of the same name, or names a "
                    f"model of dbt with model: {SCHEME}NAME.",
                    file=_spoken(path, folder),
                )
            )
    return models, errors


def _files_below(folder: Path) -> tuple[list[Path], list[ModelError]]:
    """The files that are not hidden, in the order of their paths, and an error for each other path.

    An audience whose file is left out unseen would count as deleted.
    """
    errors: list[ModelError] = []
    files: list[Path] = []

    def refuse(path: Path, message: str, hint: str) -> None:
        errors.append(ModelError(message, hint=hint, file=_spoken(path, folder)))

    def refuse_folder(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return
        hint = "Give this user the right to read the folder."
        refuse(Path(error.filename), f"The folder cannot be read: {error.strerror}", hint)

    for where, folders, names in os.walk(folder, onerror=refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(where, name) for name in names if not name.startswith(".")]
        for path in (*paths, *(Path(where, name) for name in folders)):
            if path.is_file():
                files.append(path)
            elif path.suffix in (".sql", ".yml", ".yaml"):
                refuse(path, "This is neither a file nor a link to one", "Rename or remove it.")
    return sorted(files), errors


def _names_model(path: Path) -> bool:
    try:
        return (
            _NAMES_MODEL.search(path.read_text(encoding="utf-8-sig", errors="replace")) is not None
        )
    except OSError:
        return False


def _spoken(path: Path, folder: Path) -> str:
    return (Path(folder.name) / path.relative_to(folder)).as_posix()


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What a file consists of: its header, and the SELECT in the file or of dbt's relation."""

    header: Header | None
    sql: str
    dialect: str
    dbt: DbtNode | None = None


def read_model(
    path: Path,
    folder: Path,
    *,
    types: BlockTypes | None = None,
    dbt: DbtProject | None = None,
    accepted: AcceptedSql | None = None,
) -> Model:
    """Read one file and its header; what it reads from is not looked at yet.

    Args:
        path: The .sql file, or a .yml that names a model of dbt.
        folder: The project's `models/`.
        types: The destination types of the project; see `read_audience`.
        dbt: The dbt project whose models a .yml may name.
        accepted: The texts that DuckDB need not parse again.

    Raises:
        ModelError: Something is wrong, with its file and line; SeveralModelErrors has them all.
    """
    file = _spoken(path, folder)
    parts = _parts(path, file, dbt=dbt or DbtProject.beside(folder))
    header, sql = parts.header, parts.sql
    in_audiences = AUDIENCES_FOLDER in path.relative_to(folder).parts[:-1]
    if header is not None and parts.dbt is not None:
        keyed = "events" in header.values or _is_audience(header, in_audiences=in_audiences)
        header = with_dbt_defaults(header, parts.dbt, keyed=keyed)
    errors: list[ModelError] = []
    audience: Audience | None = None
    try:
        audience = _audience(header, path, file, in_audiences=in_audiences, types=types)
    except ModelError as error:
        errors.append(error)
    values = header.values if header else {}
    name = audience.name if audience else path.stem
    errors += _about_name(name, file)
    key = audience.key if audience else ()
    syntax, sql_errors = _syntax(parts, file, key=key, accepted=accepted)
    raise_all([*errors, *sql_errors])
    assert syntax is not None
    tags = _tags(values.get("tags") or (), parts.dbt)
    audience = replace(audience, tags=tags) if audience and parts.dbt else audience
    return Model(
        name=name,
        path=path,
        file=file,
        sql=sql.strip(),
        source=sql,
        dialect=parts.dialect,
        kind="audience" if audience else "staging",
        materialized=values.get("materialized", "view"),
        description=values.get("description") or "",
        owner=values.get("owner"),
        tags=tags,
        dbt=parts.dbt,
        audience=audience,
        violations=_violations(syntax, sql, file, dialect=parts.dialect, accepted=accepted),
        syntax=syntax,
    )


def _tags(own: Iterable[str], dbt: DbtNode | None) -> tuple[str, ...]:
    """The tags of a header, and those of the model of dbt that it names."""
    return tuple(dict.fromkeys((*own, *dbt.tags))) if dbt else tuple(own)


def _syntax(
    parts: _Parts, file: str, *, key: Sequence[str], accepted: AcceptedSql | None
) -> tuple[Syntax | None, list[ModelError]]:
    """The syntax of a SELECT, and what is wrong with it; None if it cannot be read."""
    parse = partial(read_select, parts.sql, dialect=parts.dialect, file=file)
    is_own = parts.dialect == "duckdb" and parts.dbt is None
    facts = accepted.facts(parts.sql, key) if accepted is not None and is_own else None
    syntax = Syntax(parse, facts)
    if facts is not None:
        return syntax, []
    try:
        return syntax, list(find_nondeterminism(syntax.nodes, sql=parts.sql, file=file))
    except HeaderInvalid as error:
        error.line = parts.header.line(("dialect",)) if parts.header else None
        return None, [error]
    except ModelError as error:
        return None, [error]


def _parts(path: Path, file: str, *, dbt: DbtProject) -> _Parts:
    if path.suffix == ".yml":
        header = read_header(_text_of(path, file), file=file)
        node = dbt.node_of(header)
        # The engine's own dialect: only quoted names and a list of columns are written.
        dialect = dbt.warehouse if dbt.warehouse in NAMED_AS_WRITTEN else "duckdb"
        return _Parts(
            header=header,
            sql=node.select(dialect),
            dialect=dialect,
            dbt=node,
        )
    taken = split(_text_of(path, file), file=file)
    own = _header(path, file, yaml=taken.yaml, yaml_line=taken.yaml_line)
    if own is not None and "model" in own.values:
        raise HeaderInvalid(
            "model names the rows of a .yml without SQL, and this model has a SELECT",
            hint="Remove model from the header, or delete the .sql file and keep the .yml.",
            file=own.file,
            line=own.line(("model",)),
        )
    dialect = str(own.values.get("dialect") or "duckdb") if own else "duckdb"
    return _Parts(header=own, sql=taken.sql, dialect=dialect)


def read_broken_audience(
    path: Path, folder: Path, *, types: BlockTypes | None = None
) -> Audience | None:
    """The audience in a file whose SQL cannot be read; None if its header cannot be read either."""
    file = _spoken(path, folder)
    try:
        text = _text_of(path, file)
        if path.suffix == ".yml":
            header: Header | None = read_header(text, file=file)
        else:
            taken = split(text, file=file)
            header = _header(path, file, yaml=taken.yaml, yaml_line=taken.yaml_line)
        in_audiences = AUDIENCES_FOLDER in path.relative_to(folder).parts[:-1]
        return _audience(header, path, file, in_audiences=in_audiences, types=types)
    except ModelError:
        return None


def parse_together(
    paths: Iterable[Path], folder: Path, *, accepted: AcceptedSql | None = None
) -> None:
    """Let DuckDB parse the SELECTs of files by one statement, before `read_model` checks each."""
    texts = []
    for path in paths:
        # What is wrong with a file is an error of `read_model`.
        with suppress(ModelError):
            file = _spoken(path, folder)
            parts = split(_text_of(path, file), file=file) if path.suffix == ".sql" else None
            if parts is not None and "dialect" not in (parts.yaml or ""):
                texts.append(parts.sql)
    sandbox.parse_together(text for text in texts if accepted is None or not accepted.has(text))


def _text_of(path: Path, file: str) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf_8(ModelError, error, file) from None
    except OSError as error:
        raise ModelError(
            f"The file cannot be read: {error.strerror}",
            hint="Give this user the right to read the file.",
            file=file,
        ) from None
    if "\0" in text:
        raise ModelError(
            "The file contains a NUL byte",
            hint="Remove it. If the file was saved as UTF-16, save it with the encoding UTF-8.",
            file=file,
            line=text.count("\n", 0, text.index("\0")) + 1,
        )
    return text


def declared_name(path: Path) -> str:
    """The name that a file gives its model, although its header cannot be read."""
    for file in (path.with_suffix(".yml"), path):
        if file.is_file():
            try:
                text = file.read_text(encoding="utf-8-sig", errors="replace")
            except OSError:
                continue
            if declared := _DECLARED.search(text):
                return declared[1]
    return path.stem


def declared_line(path: Path) -> int:
    """The line of a .sql file on which its header names it; 1 if it has the file's name."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    declared = _DECLARED.search(text) if path.suffix == ".sql" else None
    return text.count("\n", 0, declared.start()) + 1 if declared else 1


def _violations(
    syntax: Syntax, sql: str, file: str, *, dialect: str, accepted: AcceptedSql | None
) -> tuple[ModelError, ...]:
    if dialect == "postgres":
        # The server's own list of functions is read when the model is bound.
        return tuple(
            violation.as_error(file=file, line=sql.count("\n", 0, violation.offset) + 1)
            for violation in postgres_violations(sql, [])
        )
    if dialect != "duckdb" or (accepted is not None and accepted.has(sql)):
        return ()
    violations = tuple(_not_allowed(syntax, sql, file))
    if accepted is not None and not violations:
        accepted.add(sql)
    return violations


def _not_allowed(syntax: Syntax, sql: str, file: str) -> Iterator[ModelError]:
    """What the SELECT would do beyond computing rows from tables."""
    if duckdb_references(sql) is None:
        # The name of a model may be one of DuckDB's keywords; it is quoted before it runs.
        names = [read.node.this.meta for read in syntax.models]
        sql = edited(sql, [Edit(n["start"], n["end"] + 1, '"model"') for n in names])
    else:
        yield from _unseen_tables(syntax.nodes, sql, file)
    for violation in duckdb_violations(sql):
        # A function that is not deterministic has an error of its own, and clocks are replaced.
        word = re.match(r"(?:DuckDB has no built-in function )?(\w+)\(", violation.message)
        if word is None or word[1] not in VOLATILE | CLOCKS.keys():
            line = sql.count("\n", 0, violation.offset) + 1
            yield violation.as_error(file=file, line=line)


def _unseen_tables(nodes: Nodes, sql: str, file: str) -> Iterator[ModelError]:
    """The tables that DuckDB reads and that the syntax tree does not have, or the reverse.

    Names are replaced by their places in the syntax tree, so a table that it lacks would be read
    under a name that nothing has checked.
    """
    references = duckdb_references(sql)
    if references is None or nodes.query.meta.get("opaque"):
        return
    parsed_tables = {
        tuple(part.name.lower() for part in node.parts): node
        for node in nodes.of(exp.Table)
        if isinstance(node.this, exp.Identifier)
    }
    engine_tables = {
        reference.path: reference.offset for reference in references if reference.kind == "table"
    }
    for path in sorted(parsed_tables.keys() ^ engine_tables.keys()):
        offset = engine_tables.get(path, 0)
        line = (
            line_of(parsed_tables[path])
            if path in parsed_tables
            else sql.count("\n", 0, offset) + 1
        )
        yield NotAllowedInModel(
            f"DuckDB and Tailrace do not agree on whether {'.'.join(path)} is a table here",
            hint="Read it by FROM or JOIN, under its plain name.",
            file=file,
            line=line,
        )


def _audience(
    header: Header | None,
    path: Path,
    file: str,
    *,
    in_audiences: bool,
    types: BlockTypes | None,
) -> Audience | None:
    """The audience that the header describes, or None for another model's header."""
    if header is None:
        if not in_audiences:
            return None
        raise HeaderInvalid(
            "An audience needs a header that says at least its key and what to send",
            hint="Begin the file with: /* --- (next line) key: … (next line) --- */",
            file=file,
            line=1,
        )
    if "events" in header.values:
        return read_event_model(header, default_name=path.stem, types=types)
    if _is_audience(header, in_audiences=in_audiences):
        return read_audience(header, default_name=path.stem, types=types)
    raise_all(check(header, "model"))
    return None


def _is_audience(header: Header, *, in_audiences: bool) -> bool:
    """Whether a header is that of an audience: by its folder, or by a key that only those have."""
    own_keys = set(schema("audience")["properties"]) - set(schema("model")["properties"])
    return in_audiences or not own_keys.isdisjoint(header.values)


def _header(path: Path, file: str, *, yaml: str | None, yaml_line: int) -> Header | None:
    """The header in the file or in the .yml beside it, whichever there is."""
    sidecar = path.with_suffix(".yml")
    if not sidecar.is_file():
        return None if yaml is None else read_header(yaml, file=file, first_line=yaml_line)
    beside = file.removesuffix(".sql") + ".yml"
    if yaml is not None:
        raise HeaderInvalid(
            f"There is a header in the file and another one in {beside}",
            hint="Keep one of the two.",
            file=file,
            line=yaml_line,
        )
    return read_header(_text_of(sidecar, beside), file=beside)


def is_name(text: str) -> bool:
    """Whether a model or an audience can be called this."""
    return _NAME.fullmatch(text) is not None


def _about_name(name: str, file: str) -> Iterator[ModelError]:
    if not is_name(name):
        proposal = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:50]
        yield HeaderInvalid(
            f'"{name}" cannot be the name of a model: lower-case letters, digits and _ only,'
            " beginning with a letter, at most 50",
            hint=f"Rename the file, for example to {proposal}.sql",
            file=file,
        )
