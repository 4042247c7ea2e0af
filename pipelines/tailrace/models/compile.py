"""Compiles a model and every model under it into one SELECT, and binds that to a warehouse.

A model in the warehouse's own dialect runs as its author wrote it: names and clocks are replaced by
their places in the text (see `splice`), and every other character stays. Another dialect is
transpiled. `salesforce.<object>` and the clock stay in a compiled text, so that the text of an
earlier run can be bound to the tables and the time of this one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tailrace.errors import ModelDoesNotBind
from tailrace.models.clock_texts import READ_CLOCK_TEXTS, clock_text_edits, freeze_clock_texts
from tailrace.models.determinism import freeze_clock
from tailrace.models.dialects import refuse_constructs, refuse_tokens
from tailrace.models.nodes import Nodes
from tailrace.models.parse import LANDED, line_of, parse, read_select, tables
from tailrace.models.splice import (
    SPLICED,
    Edit,
    clock_edits,
    edited,
    qualifier_edits,
    with_clauses,
    without_semicolon,
)
from tailrace.models.translation import HINT, Refusal, unportable
from tailrace.models.transpile import TRANSLATORS, transpile
from tailrace.models.types import ColumnTypes
from tailrace.warehouse.bindings import QueryText
from tailrace.warehouse.names import stored_name

if TYPE_CHECKING:
    from tailrace.models.file import Model
    from tailrace.models.loader import Models

# At the head of a compiled text in another dialect than DuckDB's.
_MARK = re.compile(r"-- dialect: (\w+)\n")
# In a compiled text, a model that is built as a table is `models.<name>`, wherever it is built.
BUILT = "models"

# Inside these an identifier names a part of a value (a struct's field), and its case is data.
_PARTS_OF_VALUES = (exp.PropertyEQ, exp.ColumnDef, exp.Kwarg, exp.Dot)


def compiled_sql(
    models: Models,
    name: str,
    *,
    tables_built: Collection[str] = (),
    dialect: str = "duckdb",
    columns: ColumnTypes | None = None,
) -> str:
    """The model's SELECT with the models under it as WITH clauses.

    Args:
        models: All models.
        name: The model to compile.
        tables_built: Models that exist as tables; they are read, not inlined.
        dialect: The warehouse's dialect.
        columns: The columns of the landed tables; None offline.

    Raises:
        ModelDoesNotBind: The model is written in another dialect, and something in it has no
            counterpart or may mean something else.
    """
    under = [read for read in models.under(name) if read not in tables_built]
    closure = [models.by_name[model] for model in (*under, name)]
    if dialect not in SPLICED or any(model.dialect != dialect for model in closure):
        refuse_differences(closure, dialect, columns=columns)
        return canonical_sql(models, name, tables_built=tables_built)
    prefix = _free_prefix([model.query for model in closure]) if under else ""
    inlined = {read: f"{prefix}{read}" for read in under}
    texts = {model.name: _inlined_text(model, inlined) for model in closure}
    whole = with_clauses(
        texts[name], {f"{prefix}{read}": texts[read] for read in under}, dialect=dialect
    )
    return whole if dialect == "duckdb" else f"-- dialect: {dialect}\n{whole}"


def refuse_differences(
    closure: Sequence[Model], dialect: str, *, columns: ColumnTypes | None = None
) -> None:
    """Refuse what may mean something else once models are translated to the warehouse's dialect.

    Args:
        closure: Models, each after those that it reads.
        dialect: The warehouse's dialect.
        columns: The columns of the landed tables; None offline.

    Raises:
        ModelDoesNotBind: With the file and the line.
    """
    types: dict[str, Mapping[str, exp.DataType]] = {}
    for model in closure:
        if model.dialect == dialect and all(other.dialect == dialect for other in closure):
            continue
        try:
            if model.query.meta.get("opaque"):
                raise Refusal("Syntax of DuckDB alone", model.query, hint=HINT)
            refuse_tokens(model.source, model.dialect)
            if model.dialect != "duckdb":
                types[model.name] = refuse_constructs(
                    model.query, model.dialect, columns=columns, models=types
                )
            elif dialect in TRANSLATORS:
                TRANSLATORS[dialect](model.query.copy(), None)
        except Refusal as refusal:
            line = line_of(refusal.node, default=line_of(model.query))
            raise unportable(refusal, dialect, file=model.file, line=line) from None


def _inlined_text(model: Model, inlined: Mapping[str, str]) -> str:
    """The author's text with the names of other models replaced."""
    edits = []
    for read in model.syntax.models:
        place = read.node.this.meta
        start, end = int(place["start"]), int(place["end"]) + 1
        target = inlined.get(read.name) or f"{BUILT}.{read.name}"
        own = model.source[start:end]
        # A name such as `both` is a keyword to the engine unless it is quoted.
        stored = stored_name(own.lower(), model.dialect)
        quoted = own if own.startswith('"') else _quoted(stored)
        alias = "" if read.node.alias else f" AS {quoted}"
        edits.append(Edit(start, end, f"{target}{alias}"))
    return without_semicolon(edited(model.source, edits), model.dialect)


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def canonical_sql(models: Models, name: str, *, tables_built: Collection[str] = ()) -> str:
    """The same in DuckDB's dialect as sqlglot writes it, without comments.

    Fingerprints are computed from it, so what it gives for a model must not change.

    Raises:
        ModelDoesNotBind: sqlglot parses something in the model and cannot write it.
    """
    try:
        tree = canonical_tree(models, name, tables_built=tables_built)
        return tree.sql("duckdb", pretty=True, comments=False)
    except (SqlglotError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ModelDoesNotBind(
            f"The model cannot be translated from {models.by_name[name].dialect}: {error}",
            hint="Write it in the warehouse's own dialect, and name that in the header.",
            file=models.by_name[name].file,
        ) from None


def canonical_tree(models: Models, name: str, *, tables_built: Collection[str] = ()) -> exp.Query:
    """The syntax tree of `canonical_sql`, a copy that may be changed."""
    under = [read for read in models.under(name) if read not in tables_built]
    trees = {model: models.by_name[model].query.copy() for model in (*under, name)}
    prefix = _free_prefix(trees.values())
    for tree in trees.values():
        _point_at(tree, inlined={read: f"{prefix}{read}" for read in under})
    whole = trees[name]
    if under:
        clause = whole.args.get("with_") or exp.With(expressions=[])
        first = [_named(f"{prefix}{read}", trees[read]) for read in under]
        clause.set("expressions", [*first, *clause.expressions])
        whole.set("with_", clause)
    return whole


def definition_fingerprint(models: Models, name: str) -> str:
    """Equal for two states of a model that differ in case, layout or comments only."""
    closure = (*models.under(name), name)
    if not any(models.by_name[read].query.meta.get("opaque") for read in closure):
        with suppress(ModelDoesNotBind):
            return fingerprint(canonical_sql(models, name))
    dialect = models.by_name[name].dialect
    text = compiled_sql(models, name, dialect=dialect)
    words = [token.text for token in sqlglot.tokenize(text, read=dialect)]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def fingerprint(definition: str) -> str:
    """Equal for two canonical texts that differ in case, layout or comments only."""
    tree = parse(definition)
    for node in tree.find_all(exp.Identifier):
        if not isinstance(node.parent, _PARTS_OF_VALUES):
            node.replace(exp.to_identifier(node.name.lower(), quoted=True))
    text = tree.sql("duckdb", comments=False, normalize_functions="lower")
    return hashlib.sha256(text.encode()).hexdigest()


def bind(
    text: str,
    *,
    dataset: str,
    now: datetime,
    dialect: str = "duckdb",
    catalog: str | None = None,
    model_dataset: str | None = None,
    file: str | None = None,
    columns: ColumnTypes | None = None,
) -> QueryText:
    """Point a compiled text at the tables of a warehouse and the time of a run.

    Args:
        text: What `compiled_sql()` gave, in this run or an earlier one.
        dataset: Where the landed objects are.
        now: What now(), current_date and the other clocks say, in UTC.
        dialect: The dialect that the tree will be written in; decides the case of names.
        catalog: The database that holds the datasets, where it must be named.
        model_dataset: Where models are built as tables; needed when the text reads one.
        file: The model's file, for errors.
        columns: The columns of the tables that it reads; needed where it is translated.

    Raises:
        ModelDoesNotBind: Something in it has no counterpart in the dialect.
    """
    datasets = {LANDED: dataset, BUILT: model_dataset}
    written_in = _MARK.match(text)
    if (written_in[1] if written_in else "duckdb") == dialect and dialect in SPLICED:
        edits = clock_edits(text, now, dialect=dialect)
        if dialect == "postgres":
            with _located(dialect, file):
                edits += clock_text_edits(text, now, columns=columns)
        return QueryText(_bound_text(text, datasets, edits, dialect=dialect, catalog=catalog))
    tree = freeze_clock(parse(text), now)
    if dialect in READ_CLOCK_TEXTS:
        with _located(dialect, file):
            freeze_clock_texts(tree, now, columns=columns)
    if dialect != "duckdb":
        _fold_names(tree, dialect)
    tree = transpile(tree, dialect, columns=columns, file=file)
    for node in list(tree.find_all(exp.Table)):
        where = datasets.get(node.db.lower())
        if where is not None and isinstance(node.this, exp.Identifier) and not node.catalog:
            if not node.alias:
                node.set("alias", exp.TableAlias(this=_cased(node.name.lower(), dialect)))
            node.set("this", _cased(node.name.lower(), dialect))
            node.set("db", _cased(where, dialect))
            node.set("catalog", _cased(catalog, dialect) if catalog else None)
    try:
        return QueryText(tree.sql(dialect=dialect, comments=False))
    except (SqlglotError, ValueError):
        # sqlglot reads some constructs that it cannot write for every engine.
        raise unportable(
            Refusal("Something in this SELECT", tree, known=True), dialect, file=file
        ) from None


@contextmanager
def _located(dialect: str, file: str | None) -> Iterator[None]:
    """Raise a refusal inside the block as the error of a model."""
    try:
        yield
    except Refusal as refusal:
        raise unportable(refusal, dialect, file=file) from None


def _bound_text(
    text: str,
    datasets: Mapping[str, str | None],
    clocks: Iterable[Edit],
    *,
    dialect: str,
    catalog: str | None,
) -> str:
    query = read_select(text, dialect=dialect)
    edits = [*clocks]
    for node in query.find_all(exp.Table):
        dataset = datasets.get(node.db.lower())
        if dataset is None or node.catalog or not isinstance(node.this, exp.Identifier):
            continue
        listed = [*([catalog] if catalog else []), dataset, node.name.lower()]
        names = [stored_name(name, dialect) for name in listed]
        target = ".".join(exp.to_identifier(name, quoted=True).sql(dialect) for name in names)
        start = int(node.args["db"].meta["start"])
        edits.append(Edit(start, int(node.this.meta["end"]) + 1, target))
    edits += qualifier_edits(text, query, schema=LANDED, dialect=dialect)
    return edited(text, edits)


def _fold_names(tree: exp.Query, dialect: str) -> None:
    """To DuckDB `"Email"`, Email and email are one; elsewhere the author's case would count."""
    for node in tree.find_all(exp.Identifier):
        if not isinstance(node.parent, _PARTS_OF_VALUES):
            name = node.name.lower()
            node.set("this", _cased(name, dialect).name if node.args.get("quoted") else name)


def _cased(name: str, dialect: str) -> exp.Identifier:
    """A quoted name as the warehouse has it."""
    return exp.to_identifier(stored_name(name, dialect), quoted=True)


def _point_at(tree: exp.Query, *, inlined: Mapping[str, str]) -> None:
    for read in tables(Nodes(tree)):
        node = read.node
        if read.kind == "landed":
            node.set("db", exp.to_identifier(LANDED))
            node.set("this", exp.to_identifier(read.name))
        elif read.kind == "model":
            if not node.alias:
                alias = node.args.get("alias") or exp.TableAlias()
                alias.set("this", exp.to_identifier(node.name))
                node.set("alias", alias)
            if read.name in inlined:
                node.set("this", exp.to_identifier(inlined[read.name]))
            else:
                node.set("db", exp.to_identifier(BUILT))
                node.set("this", exp.to_identifier(read.name))
    for column in tree.find_all(exp.Column):
        # `salesforce.contact.email` means the table, and the dataset may have another name.
        if column.args.get("db") and column.text("db").lower() == LANDED and column.table:
            column.set("db", None)


def _named(name: str, tree: exp.Query) -> exp.CTE:
    return exp.CTE(this=tree, alias=exp.TableAlias(this=exp.to_identifier(name)))


def _free_prefix(trees: Collection[exp.Query]) -> str:
    """A beginning that no name in the trees has, so that the names made with it are new."""
    names = {node.name.lower() for tree in trees for node in tree.find_all(exp.Identifier)}
    prefix = "model_"
    while any(name.startswith(prefix) for name in names):
        prefix = f"_{prefix}"
    return prefix
