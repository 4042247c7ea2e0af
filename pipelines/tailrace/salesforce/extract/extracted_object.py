"""What an extract knows about one object that it read, and what it remembers for the next one."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tailrace.dataclass import dataclass
from tailrace.salesforce.answers import parse_timestamp
from tailrace.salesforce.describe import SObject
from tailrace.salesforce.extract.arrow_parsing import RejectedValue
from tailrace.salesforce.extract.parquet_writer import ParquetFiles
from tailrace.salesforce.extract.soql import Window
from tailrace.salesforce.extract.table_layout import TableLayout

ApiName = Literal["rest", "bulk"]


@dataclass(kw_only=True)
class ExtractedObject:
    """An object as it was extracted.

    Attributes:
        window: The time that was read.
        watermark: Where the next window begins; None when the object has no cursor.
        whole: All rows of the object were read.
        first: Nothing of it has landed before.
        changed: The number of rows in the window, if Salesforce reported it beforehand.
        rejected: Values that did not fit their fields.
        seconds: How long it took to read them.
    """

    sobject: SObject
    layout: TableLayout
    api: ApiName
    window: Window
    watermark: datetime | None
    read_at: datetime
    whole: bool
    first: bool
    parquet: ParquetFiles
    changed: int | None = None
    windows: int = 0
    rejected: list[RejectedValue] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return self.parquet.rows

    @property
    def files(self) -> list[tuple[Path, int]]:
        """The Parquet files with their rows."""
        return self.parquet.listed()


def window_start(sobject: SObject, state: Mapping[str, Any]) -> datetime | None:
    """Where the window begins: the watermark, if it is one of the same cursor."""
    if state.get("watermark") and state.get("cursor") == sobject.cursor:
        return parse_timestamp(str(state["watermark"]))
    return None


def record_state(state: MutableMapping[str, Any], extracted: ExtractedObject) -> None:
    """Put into the state what the next extract needs to know."""
    sobject = extracted.sobject
    state["object"] = sobject.name
    state["cursor"] = sobject.cursor
    state["fields"] = sorted(sobject.names)
    if extracted.watermark is not None:
        state["watermark"] = extracted.watermark.isoformat()
