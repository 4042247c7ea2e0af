"""The models of a project: plain SQL files that read landed objects and each other.

Which model reads which is in the SQL itself: a table `salesforce.<object>` is a landed object, an
unqualified name is another model, and `dataset.table` is a declared source. Nothing here runs SQL
or talks to a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from sqlglot import exp

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import BlockTypes
from tailrace.audience.yaml import raise_all, suggest
from tailrace.dataclass import dataclass
from tailrace.errors import (
    HeaderInvalid,
    ModelCycle,
    ModelError,
    UnknownColumn,
    UnknownModel,
)
from tailrace.models.accepted import AcceptedSql
from tailrace.models.columns import Columns, columns_of, unknown_columns
from tailrace.models.dbt import DbtProject
from tailrace.models.determinism import double_sums, group_columns, may_sum, warnings, with_aliases
from tailrace.models.file import (
    Model,
    declared_line,
    declared_name,
    model_files,
    parse_together,
    read_broken_audience,
    read_model,
)
from tailrace.models.parse import TableRead
from tailrace.models.selection import ModelSet, landed_name
from tailrace.models.sources import Source, read_sources
from tailrace.models.syntax import PlainFacts

__all__ = [
    "BrokenModel",
    "Model",
    "Models",
    "check_columns",
    "landed_name",
    "load_models",
    "read_models",
]


@dataclass(frozen=True, kw_only=True)
class BrokenModel:
    """A model that cannot be used, because of its own file or of a model that it reads.

    `model` is None if its SQL could not be read, `audience` if its header could not.
    """

    name: str
    errors: tuple[ModelError, ...]
    model: Model | None = None
    audience: Audience | None = None


def errors_of(broken: Iterable[BrokenModel]) -> list[ModelError]:
    """The errors of broken models, each once: a model that reads a broken one has them as well."""
    return list({id(error): error for model in broken for error in model.errors}.values())


@dataclass(frozen=True, kw_only=True)
class Models:
    """All models, each after those it reads.

    `broken` are those that cannot be used, and `failed` the selected ones of them. `sources` are
    the declared tables and the relations of dbt that models name, by `dataset.table`.
    """

    by_name: Mapping[str, Model]
    broken: Mapping[str, BrokenModel] = field(default_factory=dict)
    failed: tuple[BrokenModel, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    # The methods of `--select` that need more than the models: `state` and `result`.
    selectors: Mapping[str, Callable[[Models, str], Collection[str]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def audiences(self) -> tuple[Model, ...]:
        """The models that are sent, by name."""
        audiences = [model for model in self.by_name.values() if model.kind == "audience"]
        return tuple(sorted(audiences, key=lambda model: model.name))

    def under(self, name: str) -> tuple[str, ...]:
        """Every model that this one reads, directly or not, each after those it reads."""
        # The order depends on the models under this one only: an unrelated file must not change
        # its fingerprint.
        ordered: dict[str, None] = {}

        def visit(model: str) -> None:
            for read in self.by_name[model].depends_on:
                if read not in ordered:
                    visit(read)
                    ordered[read] = None

        visit(name)
        return tuple(ordered)

    def objects_read(self, name: str) -> tuple[str, ...]:
        """The landed tables that this model reads, directly or not."""
        names = (name, *self.under(name))
        return tuple(sorted({table for model in names for table in self.by_name[model].reads}))

    def sources_read(self, name: str) -> tuple[Source, ...]:
        """The declared sources that this model reads, directly or not."""
        names = (name, *self.under(name))
        keys = {key for model in names for key in self.by_name[model].sources}
        return tuple(self.sources[key] for key in sorted(keys))

    def select(
        self, patterns: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> tuple[Model, ...]:
        """The models that any of the patterns names, without those that `exclude` names.

        The patterns are described in `models.selection`.

        Raises:
            NothingSelected: A name matches nothing, or nothing is left.
        """
        chosen = self._selected(patterns, exclude)
        return tuple(model for name, model in self.by_name.items() if name in chosen)

    def select_broken(
        self, patterns: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> tuple[BrokenModel, ...]:
        """The broken models of a selection, as of `select`."""
        chosen = self._selected(patterns, exclude)
        return tuple(broken for name, broken in self.broken.items() if name in chosen)

    def _selected(self, patterns: Sequence[str], exclude: Sequence[str]) -> set[str]:
        broken = {name: broken.model for name, broken in self.broken.items()}
        return ModelSet(
            models={**broken, **self.by_name},
            objects=self._objects_known,
            sources=self._sources_known,
            selectors={method: partial(of, self) for method, of in self.selectors.items()},
        ).select(patterns, exclude)

    def _objects_known(self, name: str) -> Collection[str]:
        """The landed tables that a model reads; of one with errors, those in its own SQL."""
        if name in self.by_name:
            return self.objects_read(name)
        model = self.broken[name].model
        return model.reads if model else ()

    def _sources_known(self, name: str) -> Collection[str]:
        """The names of the sources that a model reads: `dataset.table`, and the declared name."""
        if name in self.by_name:
            read = self.sources_read(name)
            return {word for source in read for word in (source.key, source.name)}
        model = self.broken[name].model
        return model.sources if model else ()


def read_models(
    folder: Path,
    *,
    objects: Sequence[str] | None = None,
    types: BlockTypes | None = None,
    reserved: Collection[str] = (),
    dbt: DbtProject | None = None,
) -> Models:
    """Read every model under a folder and check all that can be known without a warehouse.

    Args:
        folder: The project's `models/`.
        objects: The Salesforce objects that are extracted; given, a table that none of them
            lands in is an error.
        types: The destination types of the project. Without them, every destination has the
            default type.
        reserved: The datasets that Tailrace writes, which no source can be in.
        dbt: The dbt project whose models may be named. Without it, the one in the same folder.

    Raises:
        ModelError: One thing is wrong; its file and line are given.
        SeveralModelErrors: Several things are; all of them are given.
    """
    models = load_models(folder, objects=objects, types=types, reserved=reserved, dbt=dbt)
    raise_all(errors_of(models.broken.values()))
    return models


def load_models(
    folder: Path,
    *,
    objects: Sequence[str] | None = None,
    types: BlockTypes | None = None,
    reserved: Collection[str] = (),
    dbt: DbtProject | None = None,
    accepted: AcceptedSql | None = None,
) -> Models:
    """Read every model under a folder, as `read_models`, and keep the errors in `broken`.

    `accepted` has the texts that DuckDB need not parse again; those of the folder are added.
    """
    paths, file_errors = model_files(folder)
    sources, source_errors = read_sources(folder, reserved=reserved)
    errors: dict[str, list[ModelError]] = {}
    for error in (*file_errors, *source_errors):
        errors.setdefault(Path(str(error.file)).stem, []).append(error)
    models: dict[str, Model] = {}
    audiences: dict[str, Audience] = {}
    unreadable: set[str] = set()
    parse_together(paths, folder, accepted=accepted)
    for path in paths:
        try:
            model = read_model(path, folder, types=types, dbt=dbt, accepted=accepted)
        except ModelError as error:
            audience = read_broken_audience(path, folder, types=types)
            name = audience.name if audience else declared_name(path)
            errors.setdefault(name, []).append(error)
            unreadable |= {name, path.stem}
            if audience:
                audiences[name] = audience
            continue
        if model.name in models:
            taken = _name_taken(model, models[model.name])
            errors.setdefault(model.name, []).append(taken)
            continue
        models[model.name] = model
    landed = None if objects is None else {landed_name(sobject) for sobject in objects}
    sources = _with_relations(sources, models.values())
    names = {*models, *unreadable}
    for name, model in models.items():
        model.syntax.forget_facts_beside(names)
        models[name] = _with_reads(model, names, sources)
        found: list[ModelError] = []
        if source_errors and model.syntax.others:
            # Whether its tables are declared is not known.
            found += source_errors
        else:
            found += _unknown_tables(
                model, models, landed=landed, broken=unreadable, declared=sources
            )
        errors.setdefault(name, []).extend((*found, *model.violations))
    ordered = _analyzed(models, errors)
    if accepted is not None:
        _keep_facts(models, errors, accepted)
        accepted.save()
    return replace(_models(models, ordered, audiences, errors), sources=sources)


def _analyzed(models: dict[str, Model], errors: dict[str, list[ModelError]]) -> tuple[str, ...]:
    """Add to each model its columns and warnings, and to `errors` those about columns.

    Returns:
        The names, each after those it reads.
    """
    columns: dict[str, Columns] = {}
    unique: dict[str, frozenset[str]] = {}
    grouped: dict[str, frozenset[str]] = {}
    read_by_others = {read for model in models.values() for read in model.depends_on}
    # Others take the types of its columns from its tree.
    parsed = [model.syntax for model in models.values() if model.syntax.facts is None]
    named = {name for syntax in parsed for name in syntax.names}
    ordered = _in_order(models, errors)
    for name in ordered:
        facts = models[name].syntax.facts
        if facts is not None and name not in named:
            models[name] = replace(models[name], columns=facts.columns)
            errors.setdefault(name, []).extend(_missing_columns(models[name]))
            continue
        nodes, below = models[name].nodes, models[name].depends_on
        unique[name] = with_aliases(nodes, {"id"}.union(*(unique.get(n, ()) for n in below)))
        groups = group_columns(nodes).union(*(grouped.get(n, ()) for n in below))
        grouped[name] = with_aliases(nodes, groups)
        models[name] = _with_warnings(models[name], unique[name], grouped[name])
        typed = name in read_by_others or may_sum(nodes)
        models[name], columns[name], found = _with_columns(models[name], columns, typed=typed)
        errors.setdefault(name, []).extend(found)
    return ordered


def _keep_facts(
    models: Mapping[str, Model], errors: Mapping[str, Sequence[ModelError]], accepted: AcceptedSql
) -> None:
    """Keep what the next command needs not find out about models without errors and warnings."""
    read_by_others = {read for model in models.values() for read in model.depends_on}
    for name, model in models.items():
        if model.syntax.facts is not None or name in read_by_others or errors.get(name):
            continue
        if model.dialect != "duckdb" or model.dbt is not None or model.warnings:
            continue
        if model.depends_on or model.sources or not model.syntax.is_plain:
            continue
        names = model.syntax.names
        if models.keys().isdisjoint(names):
            facts = PlainFacts(
                reads=model.reads, names=names, columns=model.columns, clock=model.syntax.clock
            )
            accepted.keep(model.source, model.audience.key if model.audience else (), facts)


def _name_taken(model: Model, other: Model) -> HeaderInvalid:
    return HeaderInvalid(
        f'There are two models "{model.name}"; the other is '
        f"{other.file}:{declared_line(other.path)}",
        hint="Rename one of them.",
        file=model.file,
        line=declared_line(model.path),
    )


def _with_relations(sources: Mapping[str, Source], models: Iterable[Model]) -> dict[str, Source]:
    """The declared sources, and the relations of dbt that models name.

    A relation that is declared as well has the declaration's limits.
    """
    known = dict(sources)
    for model in models:
        if model.dbt is None:
            continue
        node, declared = model.dbt, known.get(model.dbt.key)
        known[node.key] = (
            replace(declared, dbt=node)
            if declared
            else Source(
                name=f"dbt://{node.name}",
                dataset=node.dataset,
                table=node.table,
                file=model.file,
                description=node.description,
                dbt=node,
            )
        )
    return known


def _with_warnings(model: Model, unique: Collection[str], grouped: Collection[str]) -> Model:
    found = warnings(
        model.nodes,
        sql=model.source,
        file=model.file,
        unique=unique,
        grouped=grouped,
        key=model.audience.key if model.audience else (),
    )
    return replace(model, warnings=found)


def _with_columns(
    model: Model, known: Mapping[str, Columns], *, typed: bool
) -> tuple[Model, Columns, list[ModelError]]:
    """A model with its columns and warnings, as far as its SQL tells, and errors about columns."""
    columns = columns_of(model.nodes, known, dialect=model.dialect, typed=typed)
    sums = double_sums(columns.tree, file=model.file) if columns.tree else ()
    every = tuple(sorted((*model.warnings, *sums), key=lambda warning: warning.line or 0))
    model = replace(model, columns=columns.names, warnings=every)
    errors: list[ModelError] = []
    if columns.tree:
        errors += unknown_columns(columns.tree, known, file=model.file)
    if columns.names is not None:
        errors += _missing_columns(model)
    return model, columns, errors


def _models(
    models: Mapping[str, Model],
    ordered: Iterable[str],
    audiences: Mapping[str, Audience],
    errors: Mapping[str, Sequence[ModelError]],
) -> Models:
    """The usable models in order, and the broken ones with the errors of what they read."""
    inherited = {name: list(own) for name, own in errors.items() if own}
    for name in ordered:
        for read in models[name].depends_on:
            if read in inherited:
                known = inherited.setdefault(name, [])
                known += [error for error in inherited[read] if error not in known]
    broken = {
        name: BrokenModel(
            name=name,
            errors=tuple(of_model),
            model=models.get(name),
            audience=models[name].audience if name in models else audiences.get(name),
        )
        for name, of_model in sorted(inherited.items())
    }
    usable = {name: models[name] for name in ordered if name not in broken}
    return Models(by_name=usable, broken=broken)


def check_columns(model: Model, columns: Iterable[str]) -> None:
    """Check the header against the columns that the warehouse says the SELECT gives.

    Raises:
        UnknownColumn: The header names another; with its file and line, and what was meant.
        SeveralModelErrors: It names several.
    """
    raise_all(list(_missing_columns(replace(model, columns=tuple(columns)))))


def _missing_columns(model: Model) -> Iterator[ModelError]:
    audience = model.audience
    if audience is None or model.columns is None:
        return
    given = [column.lower() for column in model.columns]
    for path, column in audience.references():
        if given.count(column) == 1:
            continue
        if column in given:
            message = f'The SELECT gives "{column}" twice, and {path} names it'
            hint = "Give one of the two another name with AS."
        else:
            message = suggest(f'{path}: the SELECT has no column "{column}"', column, given)
            hint = "The SELECT gives: " + ", ".join(dict.fromkeys(given))
        line = audience.line(path)
        yield UnknownColumn(message, hint=hint, file=audience.file or model.file, line=line)


def _with_reads(model: Model, names: Collection[str], declared: Mapping[str, Source]) -> Model:
    if model.syntax.facts is not None:
        return replace(model, reads=model.syntax.facts.reads)
    reads = model.syntax.tables
    models = dict.fromkeys(r.name for r in reads if r.kind == "model" and r.name in names)
    landed = dict.fromkeys(r.name for r in reads if r.kind == "landed")
    others = dict.fromkeys(r.name.lower() for r in reads if r.kind == "other")
    return replace(
        model,
        depends_on=tuple(models),
        reads=tuple(landed),
        sources=tuple(name for name in others if name in declared),
    )


def _unknown_tables(
    model: Model,
    found: Mapping[str, Model],
    *,
    landed: Collection[str] | None,
    broken: Collection[str],
    declared: Collection[str],
) -> Iterator[ModelError]:
    """Missing tables. A model whose file has errors is not one of them."""
    facts = model.syntax.facts
    if facts is not None and (landed is None or all(name in landed for name in facts.reads)):
        return
    for read in model.syntax.tables:
        if read.kind == "landed" and (landed is None or read.name in landed):
            continue
        if read.kind == "other" and read.name.lower() in declared:
            continue
        if model.violations and not isinstance(read.node.this, exp.Identifier):
            # A table function that reads files is among the violations.
            continue
        if read.kind == "model" and (read.name in found or read.name in broken):
            continue
        known = _landed(found) if landed is None else landed
        yield _unknown_table(read, model, found, known, declared)


def _landed(found: Mapping[str, Model]) -> set[str]:
    """The landed tables that any model reads, used if the objects are not configured."""
    reads = (read for model in found.values() for read in model.syntax.tables)
    return {read.name for read in reads if read.kind == "landed"}


def _unknown_table(
    read: TableRead,
    model: Model,
    found: Mapping[str, Model],
    landed: Collection[str],
    declared: Collection[str],
) -> ModelError:
    known = [*found, *(f"salesforce.{name}" for name in sorted(landed)), *sorted(declared)]
    hint = (
        "A model reads other models by their names and Salesforce objects as salesforce.<object>."
    )
    if read.kind == "model" and landed_name(read.node.name) in landed:
        message = f'There is no model "{read.name}". Did you mean "salesforce.{read.name}"?'
    elif read.kind == "model":
        message = suggest(f'There is no model "{read.name}"', read.name, known)
    elif read.kind == "landed":
        word = f"salesforce.{landed_name(read.node.name)}"
        message = suggest(f"salesforce.{read.name} is not extracted", word, known)
        hint = "Add the object to objects under [sources.salesforce] in .dlt/config.toml."
    else:
        message = suggest(f"{read.name} is neither a model nor a landed object", read.name, known)
        if isinstance(read.node.this, exp.Identifier) and not read.node.catalog:
            hint = (
                f"{hint} Another table of the warehouse is declared in models/sources.yml: "
                f"sources: [{{dataset: {read.node.db}, table: {read.node.name}}}]"
            )
    return UnknownModel(message, hint=hint, file=model.file, line=read.line)


def _in_order(models: Mapping[str, Model], errors: dict[str, list[ModelError]]) -> tuple[str, ...]:
    """The names, each after those it reads. The models of a circle are left out."""
    left = {
        name: [read for read in model.depends_on if read in models]
        for name, model in sorted(models.items())
    }
    while True:
        try:
            return tuple(TopologicalSorter(left).static_order())
        except CycleError as error:
            # The sorter lists a circle against the direction of reading, its first name again last.
            circle = list(reversed(error.args[1]))
            start = models[circle[0]]
            line = next(r.line for r in start.syntax.tables if r.name == circle[1])
            way = " reads ".join(circle)
            cycle = ModelCycle(f"Models read in a circle: {way}", file=start.file, line=line)
            for name in set(circle):
                errors.setdefault(name, []).append(cycle)
                left.pop(name, None)
            left = {name: [r for r in reads if r not in circle] for name, reads in left.items()}
