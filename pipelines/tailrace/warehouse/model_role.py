"""`model_role`: the role of a PostgreSQL server that the SQL of models runs as.

The role only reads. Temporary tables belong to the connection's user, who lets the role write to
them; rows of a model that go into another table are copied into a temporary one first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from tailrace.errors import ModelRoleRefused, StatementRefused
from tailrace.warehouse.statements import (
    Binding,
    Bound,
    Column,
    QueryText,
    TableName,
    created_table,
    statement,
)

# Statements that write rows of a model into a table that is not temporary.
WRITES_MODEL_ROWS = frozenset(
    {"ledger/backfill", "models/create_table", "plan/forget_unread_events"}
)
_NO_ROLE = "none"


class Confined(Protocol):
    """What is used of an open warehouse."""

    dialect: str

    @property
    def model_role(self) -> str | None: ...
    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, name: str = ...) -> list[tuple[Any, ...]]: ...
    def temporary(self, name: str) -> TableName: ...
    def drop_temporary(self, table: TableName) -> None: ...


@contextmanager
def as_model_role(warehouse: Confined) -> Iterator[None]:
    """Run the statements of the block as the role of models, if one is configured.

    Raises:
        ModelRoleRefused: The connection may not take the role.
    """
    role = warehouse.model_role
    if role is None:
        yield
        return
    _take(warehouse, role)
    try:
        yield
    except BaseException:
        # The session of a statement that failed is reset, or its transaction is rolled back.
        with suppress(StatementRefused):
            _set(warehouse, _NO_ROLE)
        raise
    _set(warehouse, _NO_ROLE)


def grant_created(warehouse: Confined, name: str, tables: Mapping[str, Bound]) -> None:
    """Let the role of models use the temporary table that a statement has created."""
    role = warehouse.model_role
    created = None if role is None else tables.get(created_table(name, warehouse.dialect) or "")
    if role is not None and isinstance(created, TableName):
        grant = statement(
            "warehouse/grant_temporary",
            warehouse.dialect,
            tables={"granted": created},
            column=Column(role),
        )
        try:
            warehouse.execute(grant, name)
        except StatementRefused as error:
            raise _refused(role, error) from None


@contextmanager
def copied_rows(warehouse: Confined, tables: Mapping[str, Bound]) -> Iterator[Mapping[str, Bound]]:
    """The tables of a statement, with a temporary copy in the place of each query.

    The rows are read as the role of models; the statement itself runs as the connection's user.
    """
    copies = dict(tables)
    for table, binding in tables.items():
        if not isinstance(binding, QueryText):
            continue
        copy = warehouse.temporary(f"model_rows__{table}")
        warehouse.drop_temporary(copy)
        bound: dict[str, Binding] = {"model_rows": copy, "model": binding}
        name = "warehouse/model_rows"

        layout = statement(name, warehouse.dialect, tables=bound, part="layout")
        warehouse.execute(layout, name)
        grant_created(warehouse, name, bound)
        with as_model_role(warehouse):
            warehouse.execute(statement(name, warehouse.dialect, tables=bound, part="rows"), name)
        copies[table] = copy
    yield copies


def _take(warehouse: Confined, role: str) -> None:
    try:
        _set(warehouse, role)
    except StatementRefused as error:
        raise _refused(role, error) from None


def _set(warehouse: Confined, role: str) -> None:
    name = "warehouse/set_role"
    sql = statement(name, warehouse.dialect, role=role, local=warehouse.in_transaction)
    warehouse.execute(sql, name)


def _refused(role: str, error: StatementRefused) -> ModelRoleRefused:
    refused = ModelRoleRefused(
        f'The connection cannot take the role "{role}" of model_role under [tailrace]',
        hint=f'On the server, run: CREATE ROLE "{role}" NOLOGIN; and: GRANT "{role}" TO the '
        "connection's user; docs/how-to/postgresql.md lists what the role has to read.",
        file=".dlt/config.toml",
    )
    refused.detail = error.detail
    return refused
