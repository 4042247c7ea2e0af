"""The models of a dbt project, as dbt's `target/manifest.json` describes them.

A file `NAME.yml` with `model: dbt://NAME` and no SQL beside it reads the table or view that dbt
builds. dbt itself is not imported: the manifest is read as its published JSON schemas describe it
(https://schemas.getdbt.com/dbt/manifest/v12.json). Only relations are read, never compiled SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tailrace.audience.yaml import Header, suggest
from tailrace.config.project import ProjectConfig
from tailrace.config.settings import DbtSettings
from tailrace.dataclass import dataclass
from tailrace.errors import DbtManifestInvalid, DbtModelUnusable, HeaderInvalid

SCHEME = "dbt://"
# dbt 1.5 wrote version 9, and dbt 1.8 to 1.12 write version 12.
VERSION_MIN, VERSION_MAX = 9, 12
# The resource types whose relation is a table or view that dbt builds.
# Engines that store a name in the case in which dbt's manifest has it.
NAMED_AS_WRITTEN = frozenset({"duckdb", "postgres"})
RELATIONS = ("model", "seed", "snapshot")

_VERSION = re.compile(r"/manifest/v(\d+)\.json$")
_PARSE_HINT = "Write it in the dbt project with: dbt parse"
_SETTING_HINT = (
    "Run dbt parse in the dbt project, and name the file by manifest under [tailrace.dbt]."
)


@dataclass(frozen=True, kw_only=True)
class DbtNode:
    """A model, seed or snapshot of dbt.

    Attributes:
        dataset: The schema of its relation; `table` is the relation's name.
        columns: The columns that its YAML documents, as SQL writes them; empty if it has none.
        primary_key: The columns that identify a row; empty if dbt does not say.
        checksum: dbt's checksum of its file.
        version: The version of a versioned model.
    """

    unique_id: str
    resource_type: str
    name: str
    package: str
    version: str | None
    database: str | None
    dataset: str
    table: str
    columns: tuple[str, ...]
    tags: tuple[str, ...]
    description: str
    primary_key: tuple[str, ...]
    checksum: str
    is_root: bool = True

    @property
    def key(self) -> str:
        """`dataset.table` in lower case, as `Source.key`."""
        return f"{self.dataset}.{self.table}".lower()

    @property
    def reference(self) -> str:
        """`ref('…')`, as another node of dbt would name it."""
        names = [self.name] if self.is_root else [self.package, self.name]
        arguments = [f"'{name}'" for name in names]
        if self.version is not None:
            number = self.version if self.version.isdigit() else f"'{self.version}'"
            arguments.append(f"v={number}")
        return f"ref({', '.join(arguments)})"

    def select(self, dialect: str) -> str:
        """The SELECT of its documented columns, or of all columns if none is documented."""
        columns: list[exp.Expr] = [
            exp.column(exp.to_identifier(name, quoted=True)) for name in self.columns
        ]
        table = exp.table_(self.table, db=self.dataset, quoted=True)
        return exp.select(*(columns or [exp.Star()])).from_(table).sql(dialect)


@dataclass(frozen=True, kw_only=True)
class DbtProject:
    """Where dbt's manifest is, and the warehouse that its relations must be in.

    Attributes:
        manifest_file: The file; `shown` is its path in messages.
        warehouse: The name of the warehouse, `duckdb` or `postgres`.
        database: The database of the warehouse; None if it is not known before a connection.
    """

    manifest_file: Path
    shown: str
    bytes_max: int = DbtSettings.manifest_bytes_max
    warehouse: str = "duckdb"
    database: str | None = None

    @classmethod
    def beside(cls, folder: Path) -> DbtProject:
        """The dbt project in the folder of a project without settings, whose models are given."""
        shown = DbtSettings().manifest
        return cls(manifest_file=folder.parent / shown, shown=shown)

    @cached_property
    def manifest(self) -> DbtManifest:
        """The manifest, read once.

        Raises:
            DbtManifestInvalid: It is missing, too large, or not a manifest of a known version.
        """
        return DbtManifest(_read(self.manifest_file, self.shown, self.bytes_max), self.shown)

    def node_of(self, header: Header) -> DbtNode:
        """The node that `model:` in a header names.

        Raises:
            HeaderInvalid: `model` is not `dbt://NAME`.
            DbtManifestInvalid: The manifest cannot be read.
            DbtModelUnusable: There is no such model, or its relation cannot be read.
        """
        line = header.line(("model",))
        value = header.values.get("model")
        name = value.removeprefix(SCHEME) if isinstance(value, str) else ""
        if not name or name == value:
            raise HeaderInvalid(
                f"model must name a model of dbt; it is {value}",
                hint=f"Write it as model: {SCHEME}NAME",
                file=header.file,
                line=line,
            )
        try:
            return self._checked(self.manifest.node(name))
        except (DbtManifestInvalid, DbtModelUnusable) as error:
            # The manifest is shared, and each file that needs it reports the error as its own.
            raise type(error)(error.message, hint=error.hint, file=header.file, line=line) from None

    def _checked(self, node: DbtNode) -> DbtNode:
        """The node, if its relation is in the warehouse of this project."""
        adapter = self.manifest.adapter
        if adapter is not None and adapter != self.warehouse:
            raise DbtModelUnusable(
                f"dbt builds {node.name} in {adapter}, and the warehouse of this project is "
                f"{self.warehouse}",
                hint="Use one warehouse for both: set warehouse under [tailrace] in "
                ".dlt/config.toml, or run dbt with a target of the same type.",
            )
        unknown = None in (node.database, self.database)
        if not unknown and not _same(node.database, self.database):
            where = f"[destination.{self.warehouse}]"
            raise DbtModelUnusable(
                f"dbt builds {node.name} in the database {node.database}, and this project reads "
                f"the database {self.database}",
                hint=f"Name the file that dbt writes as credentials under {where}: path in dbt's "
                "profiles.yml."
                if self.warehouse == "duckdb"
                else f"Name that database in the credentials under {where}.",
            )
        return node


class DbtManifest:
    """A manifest that has been read, with its nodes by name."""

    def __init__(self, contents: Mapping[str, Any], shown: str) -> None:
        self._shown = shown
        metadata = contents["metadata"]
        self.adapter = _text(metadata.get("adapter_type"))
        self._project = _text(metadata.get("project_name"))
        self._nodes: Mapping[str, Mapping[str, Any]] = contents["nodes"]
        self._sources: Mapping[str, Any] = contents.get("sources") or {}
        self._disabled: Mapping[str, Any] = contents.get("disabled") or {}

    @cached_property
    def _by_name(self) -> dict[str, list[Mapping[str, Any]]]:
        """The nodes with a relation under each of their names: with a package, with a version."""
        names: dict[str, list[Mapping[str, Any]]] = {}
        for node in self._nodes.values():
            if node.get("resource_type") in RELATIONS:
                for name in self._names(node):
                    names.setdefault(name, []).append(node)
        return names

    def _names(self, node: Mapping[str, Any]) -> Iterator[str]:
        name, version, package = str(node["name"]), node.get("version"), node.get("package_name")
        if version is not None:
            yield f"{name}.v{version}"
            yield f"{package}.{name}.v{version}"
        if version is None or version == node.get("latest_version"):
            yield name
            yield f"{package}.{name}"

    def node(self, name: str) -> DbtNode:
        """The model, seed or snapshot with a name: `NAME`, `PACKAGE.NAME` or `NAME.v2`.

        A versioned model without a version is its latest one.

        Raises:
            DbtModelUnusable: There is none, there are several, or it has no relation.
        """
        candidates = self._by_name.get(name, [])
        own = [node for node in candidates if node.get("package_name") == self._project]
        if len(own) == 1:
            candidates = own
        if not candidates:
            raise self._unknown(name)
        if len(candidates) > 1:
            packages = sorted(f"{SCHEME}{node.get('package_name')}.{name}" for node in candidates)
            raise DbtModelUnusable(
                f'{self._shown} has several models "{name}"',
                hint=f"Name one of them with its package: {', '.join(packages)}",
            )
        return self._node(candidates[0])

    def nodes_by_relation(self, database: str | None) -> dict[str, DbtNode]:
        """The nodes that have a relation, by `dataset.table`; of one database, if it is known."""
        nodes = {}
        for raw in self._nodes.values():
            if raw.get("resource_type") not in RELATIONS:
                continue
            with suppress(DbtModelUnusable):
                node = self._node(raw)
                if None in (database, node.database) or _same(database, node.database):
                    nodes[node.key] = node
        return nodes

    def _unknown(self, name: str) -> DbtModelUnusable:
        for entries in self._disabled.values():
            for node in map(_mapping, entries if isinstance(entries, list) else [entries]):
                if name in (node.get("name"), f"{node.get('package_name')}.{node.get('name')}"):
                    return DbtModelUnusable(
                        f'The model "{name}" is disabled in dbt',
                        hint=f"Enable it in the dbt project. {_PARSE_HINT}",
                    )
        for source in map(_mapping, self._sources.values()):
            if name in (source.get("name"), f"{source.get('source_name')}.{source.get('name')}"):
                place = f"{source.get('schema')}.{source.get('identifier') or source.get('name')}"
                return DbtModelUnusable(
                    f'"{name}" is a source of dbt, and dbt does not build it',
                    hint=f"Declare {place} in models/sources.yml, and read it in a .sql file.",
                )
        return DbtModelUnusable(
            suggest(f'{self._shown} has no model "{name}"', name, sorted(self._by_name)),
            hint="Correct the name. If the model is new, write the manifest again: dbt parse",
        )

    def _node(self, raw: Mapping[str, Any]) -> DbtNode:
        name, config = str(raw["name"]), _mapping(raw.get("config"))
        materialized = config.get("materialized")
        if materialized in ("ephemeral", "external"):
            where = "no table" if materialized == "ephemeral" else "a file instead of a table"
            raise DbtModelUnusable(
                f"dbt builds {where} for {name}: it is {materialized}",
                hint="Materialize it in dbt as a view or a table.",
            )
        relation = _relation(raw.get("relation_name"), self.adapter)
        if relation is None:
            raise DbtModelUnusable(
                f"{name} has no relation in {self._shown}",
                hint=f"Materialize it in dbt as a view or a table. {_PARSE_HINT}",
            )
        database, dataset, table = relation
        columns = _mapping(raw.get("columns"))
        version = raw.get("version")
        return DbtNode(
            unique_id=str(raw.get("unique_id")),
            resource_type=str(raw["resource_type"]),
            name=name,
            package=str(raw.get("package_name")),
            version=None if version is None else str(version),
            database=database or raw.get("database"),
            dataset=dataset,
            table=table,
            columns=tuple(
                self._column(str(column), _mapping(details)) for column, details in columns.items()
            ),
            tags=tuple(sorted({str(tag) for tag in _array(raw.get("tags"))})),
            description=str(raw.get("description") or "").strip(),
            primary_key=self._primary_key(raw, config, columns),
            checksum=str(_mapping(raw.get("checksum")).get("checksum") or ""),
            is_root=self._project is None or raw.get("package_name") == self._project,
        )

    def _column(self, name: str, details: Mapping[str, Any]) -> str:
        """A column as the warehouse has it: dbt quotes a name only where `quote` says so."""
        return name.lower() if self.adapter == "postgres" and not details.get("quote") else name

    def _primary_key(
        self, raw: Mapping[str, Any], config: Mapping[str, Any], columns: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """The columns that identify a row, in lower case: by a constraint, `meta` or tests.

        Several keys that tests prove are no answer: the header has to choose one.
        """
        for key in (
            *_constraint_keys(raw, columns),
            *_meta_keys(_mapping(raw.get("meta")) | _mapping(config.get("meta")), columns),
        ):
            return tuple(column.lower() for column in key)
        unique: dict[tuple[str, ...], None] = {}
        not_null: set[str] = set()
        for test in self._tests.get(str(raw.get("unique_id")), ()):
            metadata = _mapping(test.get("test_metadata"))
            kwargs = _mapping(metadata.get("kwargs"))
            column = str(kwargs.get("column_name") or test.get("column_name") or "").lower()
            kind = metadata.get("name")
            if kind == "unique" and column:
                unique[(column,)] = None
            elif kind == "not_null":
                not_null.add(column)
            elif kind == "unique_combination_of_columns":
                together = _array(kwargs.get("combination_of_columns"))
                unique[tuple(str(name).lower() for name in together)] = None
        keys = [key for key in unique if key and not_null.issuperset(key)]
        return keys[0] if len(keys) == 1 else ()

    @cached_property
    def _tests(self) -> dict[str, list[Mapping[str, Any]]]:
        """The tests of each node that hold for all of its rows and fail dbt if they do not."""
        tests: dict[str, list[Mapping[str, Any]]] = {}
        for test in self._nodes.values():
            if test.get("resource_type") != "test":
                continue
            config = _mapping(test.get("config"))
            severity = str(config.get("severity") or "error").lower()
            if config.get("where") or severity == "warn" or config.get("enabled") is False:
                continue
            tested = test.get("attached_node")
            if tested is None:
                # dbt before 1.6 has no attached node; a test of one model depends on it alone.
                depends_on = _array(_mapping(test.get("depends_on")).get("nodes"))
                tested = depends_on[0] if len(depends_on) == 1 else None
            if tested is not None:
                tests.setdefault(str(tested), []).append(test)
        return tests


def dbt_project(project: ProjectConfig) -> DbtProject:
    """The dbt project that `[tailrace.dbt]` names, over the warehouse of the project."""
    settings = project.dbt()
    warehouse = project.settings.warehouse
    return DbtProject(
        manifest_file=(project.root / Path(settings.manifest).expanduser()),
        shown=settings.manifest,
        bytes_max=settings.manifest_bytes_max,
        warehouse=warehouse,
        database=_database(project, warehouse),
    )


def _database(project: ProjectConfig, warehouse: str) -> str | None:
    """The database of the warehouse, as far as the configuration tells."""
    if warehouse == "duckdb":
        # DuckDB names a database by its file, up to the first dot.
        return project.configured_duckdb_file.name.partition(".")[0]
    credentials = project.warehouse_credentials(warehouse)
    if isinstance(credentials, str):
        return urlsplit(credentials).path.lstrip("/") or None
    database = (credentials or {}).get("database")
    return None if database is None else str(database)


def with_dbt_defaults(header: Header, node: DbtNode, *, keyed: bool) -> Header:
    """A header with dbt's description where it has none, and, if `keyed`, with its primary key.

    Raises:
        HeaderInvalid: A key is needed, and neither the header nor dbt has one.
    """
    values = dict(header.values)
    if keyed and "key" not in values:
        if not node.primary_key:
            raise HeaderInvalid(
                f"dbt names no primary key of {node.name}, and the header has no key",
                hint="Name the column that makes a row a member, such as: key: contact_id",
                file=header.file,
                line=header.line(("model",)),
            )
        values["key"] = list(node.primary_key)
    if node.description and "description" not in values:
        values["description"] = node.description
    return replace(header, values=values)


def _read(file: Path, shown: str, bytes_max: int) -> Mapping[str, Any]:
    try:
        size = file.stat().st_size
        if size > bytes_max:
            raise DbtManifestInvalid(
                f"{shown} has {size:,} bytes, more than {bytes_max:,}",
                hint="Raise manifest_bytes_max under [tailrace.dbt] in .dlt/config.toml.",
            )
        contents = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        raise DbtManifestInvalid(f"There is no {shown}", hint=_SETTING_HINT) from None
    except OSError as error:
        message = f"{shown} cannot be read: {error.strerror}"
        raise DbtManifestInvalid(message, hint=_SETTING_HINT) from None
    except orjson.JSONDecodeError:
        raise DbtManifestInvalid(f"{shown} is not JSON", hint=_PARSE_HINT) from None
    schema = _mapping(_mapping(contents).get("metadata")).get("dbt_schema_version")
    version = _VERSION.search(schema) if isinstance(schema, str) else None
    if version is None:
        raise DbtManifestInvalid(f"{shown} is not a manifest of dbt", hint=_PARSE_HINT)
    if not VERSION_MIN <= int(version[1]) <= VERSION_MAX:
        raise DbtManifestInvalid(
            f"{shown} has the manifest version {version[1]}; Tailrace reads {VERSION_MIN} to "
            f"{VERSION_MAX}",
            hint="Write it with dbt 1.5 or newer: dbt parse"
            if int(version[1]) < VERSION_MIN
            else "Upgrade Tailrace, or write it with an older dbt.",
        )
    nodes = contents.get("nodes")
    whole = isinstance(nodes, dict) and all(
        isinstance(node, dict) and isinstance(node.get("name"), str) and "resource_type" in node
        for node in nodes.values()
    )
    others = (contents.get("sources") or {}, contents.get("disabled") or {})
    if not whole or not all(isinstance(part, dict) for part in others):
        raise DbtManifestInvalid(f"{shown} is not a whole manifest of dbt", hint=_PARSE_HINT)
    return contents  # type: ignore[no-any-return]


def _same(one: str | None, other: str | None) -> bool:
    return (one or "").lower() == (other or "").lower()


def _relation(text: Any, adapter: str | None) -> tuple[str | None, str, str] | None:
    """Database, schema and name of a relation such as `"shop"."marts"."customers"`."""
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        table = exp.to_table(text, dialect=adapter if adapter in NAMED_AS_WRITTEN else None)
    except (SqlglotError, ValueError):
        return None
    if not table.db or not isinstance(table.this, exp.Identifier):
        return None
    return table.catalog or None, table.db, table.name


def _constraint_keys(raw: Mapping[str, Any], columns: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for constraint in _array(raw.get("constraints")):
        named = _array(_mapping(constraint).get("columns"))
        if _mapping(constraint).get("type") == "primary_key" and named:
            yield [str(column) for column in named]
    of_columns = [
        str(name)
        for name, details in columns.items()
        for constraint in _array(_mapping(details).get("constraints"))
        if _mapping(constraint).get("type") == "primary_key"
    ]
    if of_columns:
        yield of_columns


def _meta_keys(meta: Mapping[str, Any], columns: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    key = meta.get("primary_key")
    if key:
        yield [key] if isinstance(key, str) else [str(column) for column in _array(key)]
    marked = []
    for name, details in columns.items():
        config = _mapping(_mapping(details).get("config"))
        of_column = _mapping(_mapping(details).get("meta")) | _mapping(config.get("meta"))
        if of_column.get("primary_key") is True:
            marked.append(str(name))
    if marked:
        yield marked


def _mapping(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """A JSON text; None for anything else."""
    return value if isinstance(value, str) else None


def _array(value: Any) -> Sequence[Any]:
    """A JSON array; an empty one for anything else."""
    return value if isinstance(value, list) else ()
