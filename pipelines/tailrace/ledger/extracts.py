"""The extracts of the ledger: what was landed of each object, and whether it was complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tailrace.dataclass import dataclass
from tailrace.ledger.runs import Run
from tailrace.ledger.tables import LedgerTables
from tailrace.warehouse.statements import Rows


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """The latest extract of an object."""

    table: str
    object: str
    complete: bool
    empty: bool
    error: str | None
    finished_at: datetime
    rows: int
    # Fields that are no longer visible, or have a type of another kind, by their API names.
    vanished_fields: tuple[str, ...] = ()


class _ExtractRow(NamedTuple):
    """A row of `ledger/last_extracts`. `vanished_fields` are separated by commas."""

    table: str
    object: str
    complete: bool
    empty: bool
    error: str | None
    finished_at: datetime
    vanished_fields: str
    rows: int

    def extracted(self) -> Extracted:
        return Extracted(
            table=self.table,
            object=self.object,
            complete=self.complete,
            empty=self.empty,
            error=self.error,
            finished_at=self.finished_at,
            rows=self.rows,
            vanished_fields=tuple(name for name in self.vanished_fields.split(",") if name),
        )


class Extracts:
    """Reads and writes the table `extracts`."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def save(self, run: Run, *, seconds: float | None = None, **values: Any) -> None:
        """Save the result of one object's extract. `seconds` is how long its reading took."""
        self.save_all(run, [{**values, "seconds": seconds}])

    def save_all(self, run: Run, extracts: Sequence[Mapping[str, Any]]) -> None:
        """Save the results of objects' extracts, each as the values of its columns."""
        if extracts:
            names = tuple(extracts[0])
            rows = Rows(names, [[extract[name] for name in names] for extract in extracts])
            now = self._tables.clock.now()
            self._tables.run("save_extracts", rows={"extracted": rows}, run=run.seq, now=now)

    def latest(self) -> dict[str, Extracted]:
        """The latest extract of each object, by table name."""
        if not self._tables.installed:
            return {}
        rows = [_ExtractRow(*row) for row in self._tables.run("last_extracts")]
        return {row.table: row.extracted() for row in rows}

    def watermarks(self) -> dict[str, datetime | None]:
        """The time up to which each object has landed; objects that never landed are missing."""
        if not self._tables.installed:
            return {}
        return {str(name): watermark for name, watermark in self._tables.run("watermarks")}

    def covers_deliveries(self, object_name: str, destination: str) -> bool:
        """Whether the landed rows of an object are newer than all deliveries to a destination."""
        if not self._tables.installed:
            return False
        ((later,),) = self._tables.run(
            "deliveries_since_extract", object=object_name, destination=destination
        )
        return not later

    def last_salesforce_calls(self) -> int:
        """The API calls that the last extract used."""
        rows = self._tables.run("last_salesforce_calls") if self._tables.installed else []
        return sum(int(calls) for (calls,) in rows)
