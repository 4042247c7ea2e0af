"""Runs that a test disturbs: a shop of a few members, and what happens right before a statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shop import CONTACT, PEOPLE
from warehouses.stores import Store

from tailrace.errors import TailraceError
from tailrace.warehouse.connection import Warehouse

MEMBERS = 6
IDS = [f"c{n}" for n in range(1, MEMBERS + 1)]


def landed(store: Store) -> Store:
    """The store with one audience of six landed rows."""
    store.audience(PEOPLE)
    rows = ", ".join(f"('{id_}', '{id_}@example.com', 'Oslo', 1, FALSE)" for id_ in IDS)
    store.script(f"CREATE SCHEMA salesforce; CREATE TABLE salesforce.contact ({CONTACT})")
    store.script(f"INSERT INTO salesforce.contact VALUES {rows}")
    return store


def errors_of(run: Callable[[], Any]) -> tuple[int, list[TailraceError]]:
    """How a run ended, whether it raised its error or returned it."""
    try:
        result = run()
    except TailraceError as error:
        return error.exit_code, [error]
    return result.exit_code, list(result.errors)


def tracked(store: Store) -> list[str]:
    """The users of the track events that arrived, in order of their ids."""
    assert store.segment is not None
    assert [] == store.segment.inbox.clashes
    events = store.segment.inbox.delivered
    return sorted(event["userId"] for event in events if event["type"] == "track")


@contextmanager
def before(name: str, action: Callable[[Warehouse], object], *, nth: int = 1) -> Iterator[None]:
    """Do something once, right before a statement of Tailrace runs for the n-th time."""
    execute, begun = Warehouse.execute, 0

    def watched(self: Warehouse, sql: str, statement: str = "") -> list[tuple[Any, ...]]:
        nonlocal begun
        begun += statement == name
        if statement == name and begun == nth:
            action(self)
        return execute(self, sql, statement)

    Warehouse.execute = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        Warehouse.execute = execute  # type: ignore[method-assign]
    assert begun >= nth, f"{name} ran {begun} times"
