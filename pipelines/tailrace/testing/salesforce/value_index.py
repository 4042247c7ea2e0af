"""An index of an object's records by the value of one field."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tailrace.testing.org.describe import Field
from tailrace.testing.org.rows import Record, Rows


class ValueIndex:
    """Folded value -> ids of the living records that have it."""

    def __init__(self, rows: Rows, key: Field) -> None:
        self.key = key
        self.version = rows.version
        self.ids: dict[Any, list[str]] = defaultdict(list)
        self._values: dict[str, Any] = {}
        for record_id, value in _values_of(rows, key.name):
            self._add(record_id, value)

    def put(self, record_id: str, record: Record | None) -> None:
        """Note the present value of a record."""
        before = self._values.pop(record_id, None)
        if before is not None:
            self.ids[before].remove(record_id)
        if record is not None and not record.get("IsDeleted"):
            self._add(record_id, record.get(self.key.name))

    def _add(self, record_id: str, value: Any) -> None:
        if value is not None:
            key_value = folded(self.key, value)
            self.ids[key_value].append(record_id)
            self._values[record_id] = key_value


def _values_of(rows: Rows, name: str) -> Iterable[tuple[str, Any]]:
    generated = rows.generated
    for chunk in range(generated.chunks if generated else 0):
        assert generated is not None
        ids = generated.column(chunk, "Id").to_pylist()
        values = generated.column(chunk, name).to_pylist()
        for offset, pair in enumerate(zip(ids, values, strict=True)):
            if chunk * generated.chunk_rows + offset not in rows.shadowed:
                yield pair
    for record in rows.records():
        if not record.get("IsDeleted"):
            yield record["Id"], record.get(name)


def folded(key: Field, value: Any) -> Any:
    """Text compares without regard to case, unless the field says otherwise or holds ids."""
    exact = key.case_sensitive or key.type in ("id", "reference") or not isinstance(value, str)
    return value if exact else value.lower()
