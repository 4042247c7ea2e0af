"""One text that says all of a model: its own SELECT and every model under it.

The text is DuckDB's SQL without comments. `salesforce.<object>` and the clock stay as they were
written, so that the text of an earlier run can be bound to the tables and the time of this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect, NormalizationStrategy

from tailrace.models.determinism import pin
from tailrace.models.parse import LANDED, parse, tables
from tailrace.models.transpile import translated

if TYPE_CHECKING:
    from tailrace.models.loader import Models

# In a definition, a model that is built as a table is `models.<name>`, wherever it is built.
BUILT = "models"

# Inside these an identifier names a part of a value (a struct's field), and its case is data.
_PARTS_OF_VALUES = (exp.PropertyEQ, exp.ColumnDef, exp.Kwarg, exp.Dot)


def definition(models: Models, name: str, *, tables_built: Collection[str] = ()) -> str:
    """The model's SELECT with the models under it written in as WITH clauses.

    Args:
        models: All models.
        name: The model to define.
        tables_built: Models that exist as tables by now; they are read, not written in.
    """
    under = [each for each in models.under(name) if each not in tables_built]
    trees = {each: models.by_name[each].query.copy() for each in (*under, name)}
    prefix = _free_prefix(trees.values())
    for tree in trees.values():
        _point_at(tree, inlined={each: f"{prefix}{each}" for each in under})
    whole = trees[name]
    if under:
        clause = whole.args.get("with_") or exp.With(expressions=[])
        first = [_named(f"{prefix}{each}", trees[each]) for each in under]
        clause.set("expressions", [*first, *clause.expressions])
        whole.set("with_", clause)
    return whole.sql("duckdb", pretty=True, comments=False)


def fingerprint(definition: str) -> str:
    """Equal for two definitions that differ in case, layout or comments only."""
    tree = parse(definition)
    for node in tree.find_all(exp.Identifier):
        if not isinstance(node.parent, _PARTS_OF_VALUES):
            node.replace(exp.to_identifier(node.name.lower(), quoted=True))
    text = tree.sql("duckdb", comments=False, normalize_functions="lower")
    return hashlib.sha256(text.encode()).hexdigest()


def bind(
    definition: str,
    *,
    dataset: str,
    now: datetime,
    dialect: str = "duckdb",
    catalog: str | None = None,
    model_dataset: str | None = None,
    file: str | None = None,
) -> exp.Query:
    """Point a definition at the tables of a warehouse and the time of a run.

    Args:
        definition: What `definition()` gave, by this run or an earlier one.
        dataset: Where the landed objects are.
        now: What now(), current_date and the other clocks say, in UTC.
        dialect: The dialect that the tree will be written in; decides the case of names.
        catalog: The database that holds the datasets, where it must be named.
        model_dataset: Where models are built as tables; needed when the definition reads one.
        file: Where the model is written, for what is said of it.

    Raises:
        ModelDoesNotBind: Something in it has no counterpart in the dialect.
    """
    tree = parse(definition)
    if dialect != "duckdb":
        _fold_names(tree, dialect)
    datasets = {LANDED: dataset, BUILT: model_dataset}
    for node in list(tree.find_all(exp.Table)):
        where = datasets.get(node.db.lower())
        if where is not None and isinstance(node.this, exp.Identifier) and not node.catalog:
            if not node.alias:
                node.set("alias", exp.TableAlias(this=_cased(node.name.lower(), dialect)))
            node.set("this", _cased(node.name.lower(), dialect))
            node.set("db", _cased(where, dialect))
            node.set("catalog", _cased(catalog, dialect) if catalog else None)
    return translated(pin(tree, now), dialect, file=file)


def _fold_names(tree: exp.Query, dialect: str) -> None:
    """To DuckDB `"Email"`, Email and email are one; elsewhere the author's case would count."""
    for node in tree.find_all(exp.Identifier):
        if not isinstance(node.parent, _PARTS_OF_VALUES):
            name = node.name.lower()
            node.set("this", _cased(name, dialect).name if node.args.get("quoted") else name)


def _cased(name: str, dialect: str) -> exp.Identifier:
    """A quoted name as the warehouse has it; dlt creates upper-case ones where SQL folds up."""
    strategy = Dialect.get_or_raise(dialect).normalization_strategy
    folds_up = strategy is NormalizationStrategy.UPPERCASE
    return exp.to_identifier(name.upper() if folds_up and name.islower() else name, quoted=True)


def _point_at(tree: exp.Query, *, inlined: Mapping[str, str]) -> None:
    for read in list(tables(tree)):
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
