"""The models of a project: plain SQL files that read landed objects and each other.

Which model reads which is in the SQL itself: a table `salesforce.<object>` is a landed object,
an unqualified name is another model. Nothing here runs SQL or talks to a network.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from sqlglot import exp

from tailrace.audience.yaml import raise_all, suggest
from tailrace.errors import (
    HeaderInvalid,
    ModelCycle,
    ModelError,
    NothingSelected,
    UnknownColumn,
    UnknownModel,
)
from tailrace.models.columns import Columns, columns_of, unknown_columns
from tailrace.models.determinism import double_sums
from tailrace.models.file import Model, read_model, sql_files
from tailrace.models.parse import TableRead, tables

__all__ = ["Model", "Models", "check_columns", "landed_name", "read_models"]

_CASE_BREAKS = (re.compile(r"([^_])([A-Z][a-z]+)"), re.compile(r"([a-z0-9])([A-Z])"))


@dataclass(frozen=True, kw_only=True)
class Models:
    """All models, each after those it reads."""

    by_name: Mapping[str, Model]

    def audiences(self) -> tuple[Model, ...]:
        """The models that are sent, by name."""
        found = [each for each in self.by_name.values() if each.kind == "audience"]
        return tuple(sorted(found, key=lambda model: model.name))

    def under(self, name: str) -> tuple[str, ...]:
        """Every model that this one reads, directly or not, each after those it reads."""
        # The order hangs on the models under this one alone: a file that has nothing to do with
        # it must not change its definition.
        ordered: dict[str, None] = {}

        def visit(each: str) -> None:
            for read in self.by_name[each].depends_on:
                if read not in ordered:
                    visit(read)
                    ordered[read] = None

        visit(name)
        return tuple(ordered)

    def objects_read(self, name: str) -> tuple[str, ...]:
        """The landed tables that this model reads, directly or not."""
        names = (name, *self.under(name))
        return tuple(sorted({table for each in names for table in self.by_name[each].reads}))

    def select(
        self, patterns: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> tuple[Model, ...]:
        """The models that any of the patterns names, without those that `exclude` names.

        A pattern is a name, a glob (`vip_*`), `tag:x`, or `object:Contact`.

        Raises:
            NothingSelected: A name matches nothing, or nothing is left.
        """
        chosen = set(self.by_name) if not patterns else self._matching(patterns)
        chosen -= self._matching(exclude)
        if not chosen and (patterns or exclude):
            raise NothingSelected("The selection leaves no model")
        return tuple(model for name, model in self.by_name.items() if name in chosen)

    def _matching(self, patterns: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            matches = {name for name in self.by_name if self._matches(name, pattern)}
            if not matches:
                known = [
                    *self.by_name,
                    *(f"tag:{tag}" for m in self.by_name.values() for tag in m.tags),
                ]
                known += [f"object:{t}" for m in self.by_name.values() for t in m.reads]
                raise NothingSelected(suggest(f'"{pattern}" matches no model', pattern, known))
            found |= matches
        return found

    def _matches(self, name: str, pattern: str) -> bool:
        method, colon, value = pattern.partition(":")
        if colon and method == "tag":
            return any(fnmatch.fnmatchcase(t, value) for t in self.by_name[name].tags)
        if colon and method == "object":
            wanted = landed_name(value)
            return any(fnmatch.fnmatchcase(t, wanted) for t in self.objects_read(name))
        return fnmatch.fnmatchcase(name, pattern.lower())


def landed_name(object_name: str) -> str:
    """The table that an object lands in, as dlt names it.

    >>> landed_name("CampaignMember"), landed_name("campaign_member"), landed_name("My_Thing__c")
    ('campaign_member', 'campaign_member', 'my_thing__c')
    """
    name = object_name
    for pattern in _CASE_BREAKS:
        name = pattern.sub(r"\1_\2", name)
    return name.lower()


def read_models(folder: Path, *, objects: Sequence[str] | None = None) -> Models:
    """Read every model under a folder and check all that can be known without a warehouse.

    Args:
        folder: The project's `models/`.
        objects: The Salesforce objects that are extracted; given, a table that none of them
            lands in is an error.

    Raises:
        ModelError: One thing is wrong; its file and line are given.
        SeveralModelErrors: Several things are; all of them are given.
    """
    paths, errors = sql_files(folder)
    found: dict[str, Model] = {}
    broken: set[str] = set()
    for path in paths:
        try:
            model = read_model(path, folder)
        except ModelError as error:
            errors.append(error)
            broken.add(path.stem)
            continue
        if model.name in found:
            message = f'There are two models "{model.name}"; the other is {found[model.name].file}'
            errors.append(HeaderInvalid(message, hint="Rename one of them.", file=model.file))
            continue
        found[model.name] = model
    landed = None if objects is None else {landed_name(each) for each in objects}
    for name, model in found.items():
        found[name] = _with_reads(model, found)
        errors += _unknown_tables(model, found, landed=landed, broken=broken)
        errors += model.violations
    known: dict[str, Columns] = {}
    for name in _in_order(found, errors):
        model = found[name]
        columns = known[name] = columns_of(model.query, known, dialect=model.dialect)
        doubts = double_sums(columns.tree, file=model.file) if columns.tree else ()
        doubts = tuple(sorted((*model.warnings, *doubts), key=lambda each: each.line or 0))
        found[name] = replace(model, columns=columns.names, warnings=doubts)
        if columns.tree:
            errors += unknown_columns(columns.tree, known, file=model.file)
        if columns.names is not None:
            errors += _missing_columns(model, columns.names)
    raise_all(errors)
    return Models(by_name={name: found[name] for name in known})


def check_columns(model: Model, columns: Iterable[str]) -> None:
    """Check the header against the columns that the warehouse says the SELECT gives.

    Raises:
        UnknownColumn: The header names another; with its file and line, and what was meant.
        SeveralModelErrors: It names several.
    """
    raise_all(list(_missing_columns(model, tuple(columns))))


def _missing_columns(model: Model, columns: Sequence[str]) -> Iterator[ModelError]:
    audience = model.audience
    given = [column.lower() for column in columns]
    if audience is None:
        return
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


def _with_reads(model: Model, found: Mapping[str, Model]) -> Model:
    reads = list(tables(model.query))
    models = dict.fromkeys(r.name for r in reads if r.kind == "model" and r.name in found)
    landed = dict.fromkeys(r.name for r in reads if r.kind == "landed")
    return replace(model, depends_on=tuple(models), reads=tuple(landed))


def _unknown_tables(
    model: Model,
    found: Mapping[str, Model],
    *,
    landed: Collection[str] | None,
    broken: Collection[str],
) -> Iterator[ModelError]:
    """The tables that nobody has. A model whose file has errors is known, and is not one."""
    for read in tables(model.query):
        if read.kind == "landed" and (landed is None or read.name in landed):
            continue
        if model.violations and not isinstance(read.node.this, exp.Identifier):
            # A table function that reads files is among the violations.
            continue
        if read.kind == "model" and (read.name in found or read.name in broken):
            continue
        yield _unknown_table(read, model, found, _landed(found) if landed is None else landed)


def _landed(found: Mapping[str, Model]) -> set[str]:
    """The landed tables that any model reads: the best guess when nobody says what there is."""
    reads = (read for model in found.values() for read in tables(model.query))
    return {read.name for read in reads if read.kind == "landed"}


def _unknown_table(
    read: TableRead, model: Model, found: Mapping[str, Model], landed: Collection[str]
) -> ModelError:
    known = [*found, *(f"salesforce.{name}" for name in sorted(landed))]
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
    return UnknownModel(message, hint=hint, file=model.file, line=read.line)


def _in_order(models: Mapping[str, Model], errors: list[ModelError]) -> tuple[str, ...]:
    """The names, each after those it reads. The models of a circle are left out."""
    left = {name: list(model.depends_on) for name, model in sorted(models.items())}
    while True:
        try:
            return tuple(TopologicalSorter(left).static_order())
        except CycleError as error:
            # The sorter lists a circle against the direction of reading, its first name again last.
            circle = list(reversed(error.args[1]))
            start = models[circle[0]]
            line = next(r.line for r in tables(start.query) if r.name == circle[1])
            way = " reads ".join(circle)
            errors.append(ModelCycle(f"Models read in a circle: {way}", file=start.file, line=line))
            for name in circle:
                left.pop(name, None)
            left = {name: [r for r in reads if r not in circle] for name, reads in left.items()}
