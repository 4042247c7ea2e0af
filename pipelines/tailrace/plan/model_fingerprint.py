"""The fingerprint of a model's rows, by which a diff recognises that no row differs.

The hash of a row is that of all its values, and a fingerprint is the number of the rows with the
exclusive or and the sum of their hashes. To compute it takes a pass over all columns. Of a large
audience it has the same of the keys alone, which the engine reads in a fraction of the time: if
keys entered or exited since the last delivery, the diff has to run in any case, and the fingerprint
of today follows from the last one by the hashes of the transitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tailrace.dataclass import dataclass
from tailrace.ledger.audiences import Delivered
from tailrace.ledger.tables import Shape
from tailrace.models.projection import selects_from_one_table
from tailrace.plan.pooled_reads import Read, Steps
from tailrace.plan.row_hash import hash_complements
from tailrace.warehouse.bindings import QueryText
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, Column, TableName

# From this number of rows on, reading all columns takes longer than another statement.
LARGE_ROWS_MIN = 50_000
# What separates the hashes of keys in a fingerprint's text.
_KEYS = "keys"


@dataclass(frozen=True)
class RowHashes:
    """The exclusive or and the sum of the hashes of rows."""

    xor: int
    sum: int

    def __add__(self, other: RowHashes) -> RowHashes:
        return RowHashes(self.xor ^ other.xor, self.sum + other.sum)

    def __str__(self) -> str:
        return f"{self.xor}|{self.sum}"

    @classmethod
    def of(cls, xor: Any, total: Any) -> RowHashes:
        """From the columns of a statement, which are NULL without rows."""
        return cls(int(xor or 0), int(total or 0))


@dataclass(frozen=True)
class ModelFingerprint:
    """The fingerprint of a model's rows.

    Attributes:
        layout: The engine with its version, and the columns with their types: hashes of another
            layout are not comparable.
        rows: The number of rows.
        hashes: The hashes of the rows; None without a cheap hash.
        keys: The hashes of their keys; None if they were not computed.
    """

    layout: str
    rows: int
    hashes: RowHashes | None
    keys: RowHashes | None = None

    @property
    def text(self) -> str | None:
        """The text that the ledger keeps; None if rows cannot be compared by it."""
        if not self.rows:
            return f"{self.layout}|0|None|None"
        if self.hashes is None:
            return None
        keys = f"|{_KEYS}|{self.keys}" if self.keys else ""
        return f"{self.layout}|{self.rows}|{self.hashes}{keys}"

    @classmethod
    def from_text(cls, text: str | None) -> ModelFingerprint | None:
        """The fingerprint that the ledger kept, if it has hashes."""
        keys = None
        parts = (text or "").rsplit("|", 3)
        if len(parts) == 4 and parts[1] == _KEYS:
            keys = RowHashes.of(*parts[2:])
            parts = parts[0].rsplit("|", 3)
        if len(parts) != 4 or parts[2] == "None":
            return None
        layout, rows, xor, total = parts
        return cls(layout, int(rows), RowHashes.of(xor, total), keys)

    def has_rows_of(self, text: str | None) -> bool:
        """Whether a model had the same rows when the ledger kept this text."""
        if not self.rows:
            return self.text == text
        before = ModelFingerprint.from_text(text)
        return before is not None and replace(before, keys=self.keys) == self

    def has_other_keys(self, before: ModelFingerprint) -> bool:
        """Whether keys entered or exited, as far as the keys of both are known."""
        known = self.keys is not None and before.keys is not None
        return known and (self.rows, self.keys) != (before.rows, before.keys)

    def after(self, before: ModelFingerprint, moved: RowHashes) -> ModelFingerprint:
        """The fingerprint of rows whose keys are known.

        Args:
            before: The fingerprint of the members.
            moved: The hashes of the transitions' new values, less those of the old ones.
        """
        assert before.hashes is not None
        return replace(self, hashes=before.hashes + moved)


class Measurement:
    """How a diff gets the fingerprint of a model's rows, with as few passes as it can."""

    def __init__(
        self,
        warehouse: Warehouse,
        shape: Shape,
        delivered: Delivered | None,
        *,
        members: int,
        is_followed: bool,
    ) -> None:
        """Measure an audience.

        Args:
            warehouse: The open warehouse.
            shape: The keys and columns of the audience.
            delivered: The last delivery.
            members: The number of members.
            is_followed: Each row that differs from its member in any value is a transition.
        """
        self._warehouse = warehouse
        self._shape = shape
        self._layout = _layout(warehouse, shape)
        # The keys are compared as they are: some values need more than their hash.
        self._is_followed = is_followed and not any(hash_complements(shape.keys).values())
        # That of the members, if they are a large audience and today's can follow from it.
        self._before = self._of_members(delivered, members) if delivered else None
        columns = _sorted_columns(shape)
        complements = hash_complements((*shape.keys, *columns))
        # The lists of the statements that hash whole rows.
        self._lists = {"keys": shape.keys, "columns": columns, **complements}

    def steps(self, rows_of: Binding) -> Steps[ModelFingerprint]:
        """The number of the rows and their fingerprint.

        Its hashes are those of the keys alone if keys entered or exited since the last delivery.

        Args:
            rows_of: The model, or a table with all of its rows.
        """
        by_keys: ModelFingerprint | None = None
        if self._before is not None and self._reads_keys(rows_of):
            by_keys = self._by_keys(rows_of)
            if by_keys.has_other_keys(self._before):
                return by_keys
        ((rows, *hashes),) = yield Read(
            name="measure",
            table="model",
            rows_of=rows_of,
            placed="placed_rows",
            rows_max=0,
            columns=self._lists,
            without_rows=[(0, None, None)],
        )
        if hashes[0] is None:
            return ModelFingerprint(self._layout, int(rows), None)
        if by_keys is None and rows >= LARGE_ROWS_MIN and self._reads_keys(rows_of):
            by_keys = self._by_keys(rows_of)
        return ModelFingerprint(
            self._layout,
            int(rows),
            RowHashes.of(*hashes),
            by_keys.keys if by_keys else None,
        )

    def completed(self, measured: ModelFingerprint, transitions: TableName) -> ModelFingerprint:
        """The fingerprint with the hashes of all rows, which follow from the transitions."""
        if measured.hashes is not None or self._before is None:
            return measured
        ((xor, total),) = self._warehouse.run(
            "plan/moved_hashes", tables={"transitions": transitions}, columns=self._lists
        )
        return measured.after(self._before, RowHashes.of(xor, total))

    def _of_members(self, delivered: Delivered, members: int) -> ModelFingerprint | None:
        before = ModelFingerprint.from_text(delivered.model_fingerprint)
        if before is None or before.layout != self._layout or before.rows != members:
            return None
        is_large = self._is_followed and members >= LARGE_ROWS_MIN
        return before if is_large and not delivered.rejected else None

    def _reads_keys(self, rows_of: Binding) -> bool:
        """Whether the keys alone take the engine a fraction of the time of all columns."""
        if not self._is_followed:
            return False
        if not isinstance(rows_of, QueryText):
            return True
        return selects_from_one_table(rows_of.sql, self._warehouse.dialect)

    def _by_keys(self, rows_of: Binding) -> ModelFingerprint:
        """The part of a fingerprint that needs only the keys of the rows."""
        ((rows, *hashes),) = self._warehouse.run(
            "plan/measure_keys",
            tables={"model": rows_of},
            columns={"keys": self._shape.keys},
        )
        return ModelFingerprint(self._layout, int(rows), None, RowHashes.of(*hashes))


def hashed_lists(
    warehouse: Warehouse, compared: Sequence[Column], *, rows: int
) -> dict[str, Sequence[Column]]:
    """The columns that the join of the diff hashes as they are sent, and those as they are stored.

    To hash values as they are sent needs no statement after it, but takes longer for each row.
    """
    is_large = warehouse.engine.hashes_values and rows >= 2 * LARGE_ROWS_MIN
    stored = compared if is_large else ()
    return {"hashed_as_stored": stored, "hashed_as_sent": () if is_large else compared}


def _layout(warehouse: Warehouse, shape: Shape) -> str:
    """The layout of a model's fingerprint; the order of names in the header does not matter."""
    types = ",".join(f"{c.name} {c.type}" for c in (*shape.keys, *_sorted_columns(shape)))
    return f"{warehouse.engine_version}|{types}"


def _sorted_columns(shape: Shape) -> tuple[Column, ...]:
    return tuple(sorted(shape.columns, key=lambda column: column.name))
