"""The catalog of a storage: which Delta table and version each name stands for.

Delta has transactions of one table only. Here the catalog is one object, replaced by a conditional
write, and it names a folder and a version for each table: what a run wrote to several tables is
committed by one write, and what the catalog does not name was never committed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from tailrace.clock import Clock
from tailrace.errors import StateDamaged, WarehouseFailed
from tailrace.state.store import Store, StoreConflict, replace_surely

CATALOG = "_tailrace/catalog.json"
FORMAT = 1

Name = tuple[str, str]
Columns = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """The partitions of a table: one for each year, month or day of a column.

    The files of a partition have its value in a column that only the server's table has.
    """

    column: str
    unit: str


@dataclass(frozen=True, slots=True)
class DeltaTable:
    """A table: its folder in the storage, its version, its columns with their types, and its
    partitions."""

    folder: str
    version: int
    columns: Columns
    partition: Partition | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A view: its query, which names tables and views of the catalog, and its columns."""

    query: str
    columns: Columns


@dataclass(frozen=True, slots=True)
class OuterTable:
    """A Delta table that another program writes; it is read, and is in no catalog."""

    url: str
    columns: Columns


Relation = DeltaTable | View | OuterTable


@dataclass(slots=True)
class Catalog:
    """The content of a catalog.

    Attributes:
        schemas: The schemas that were created.
        relations: Tables and views by schema and name.
        unused: Folders that no table has any more. The next writer deletes them, so that a reader
            of this version can still read them.
    """

    schemas: frozenset[str] = frozenset()
    relations: Mapping[Name, DeltaTable | View] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def copy(self) -> Catalog:
        return copy(self)

    def with_relation(self, name: Name, relation: DeltaTable | View) -> None:
        """Add or replace a table or view."""
        self.schemas |= {name[0]}
        self.relations = {**self.relations, name: relation}

    def without(self, name: Name) -> None:
        """Remove a table or view; its files stay until the next writer."""
        removed = self.relations.get(name)
        self.relations = {key: kept for key, kept in self.relations.items() if key != name}
        if isinstance(removed, DeltaTable):
            self.unused = (*self.unused, removed.folder)

    def at_version(self, name: Name, version: int) -> None:
        """Set the version of a table."""
        table = self.relations[name]
        assert isinstance(table, DeltaTable)
        self.with_relation(name, replace(table, version=version))

    def tables(self) -> dict[Name, DeltaTable]:
        """The tables without the views."""
        return {
            name: table for name, table in self.relations.items() if isinstance(table, DeltaTable)
        }


class CatalogFile:
    """The object that holds the catalog, and its version in the store."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self.clock = clock
        self._version: str | None = None

    def read(self) -> Catalog:
        """The committed catalog; empty if there is none.

        Raises:
            StateDamaged: The object is not a catalog.
        """
        stored = self._store.get(CATALOG)
        if stored is None:
            self._version = None
            return Catalog()
        self._version = stored.version
        try:
            return _from_entry(json.loads(stored.body))
        except (ValueError, KeyError, TypeError):
            raise StateDamaged(
                f"{CATALOG} in {self._store.url} cannot be read",
                hint="Restore the object from an earlier version, or empty the storage to start"
                " with an empty ledger.",
            ) from None

    def commit(self, catalog: Catalog) -> None:
        """Replace the catalog.

        Raises:
            WarehouseFailed: Another process has replaced it.
        """
        body = json.dumps(_to_entry(catalog), sort_keys=True).encode()
        try:
            self._version = replace_surely(
                self._store, CATALOG, body, self._version, clock=self.clock
            )
        except StoreConflict:
            raise WarehouseFailed(
                f"Another process has written to {self._store.url} since this one opened it",
                hint="Nothing is lost: run the same command again.",
            ) from None


def _to_entry(catalog: Catalog) -> dict[str, Any]:
    relations = []
    for (schema, name), relation in sorted(catalog.relations.items()):
        entry: dict[str, Any] = {"schema": schema, "name": name, "columns": relation.columns}
        if isinstance(relation, DeltaTable):
            entry |= {"folder": relation.folder, "version": relation.version}
            if relation.partition is not None:
                entry["partition"] = [relation.partition.column, relation.partition.unit]
        else:
            entry["query"] = relation.query
        relations.append(entry)
    return {
        "format": FORMAT,
        "schemas": sorted(catalog.schemas),
        "relations": relations,
        "unused": catalog.unused,
        # No two versions have the same content.
        "nonce": secrets.token_hex(8),
    }


def _from_entry(entry: Mapping[str, Any]) -> Catalog:
    relations: dict[Name, DeltaTable | View] = {}
    for stored in entry["relations"]:
        columns = tuple((str(name), str(type_)) for name, type_ in stored["columns"])
        name = (str(stored["schema"]), str(stored["name"]))
        relations[name] = (
            View(str(stored["query"]), columns)
            if "query" in stored
            else DeltaTable(
                str(stored["folder"]),
                int(stored["version"]),
                columns,
                Partition(*stored["partition"]) if "partition" in stored else None,
            )
        )
    return Catalog(frozenset(entry["schemas"]), relations, tuple(entry["unused"]))
