"""REST queries: pages of JSON records, parsed by orjson into Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from tailrace.cells import BadCell, records_to_batch
from tailrace.errors import SalesforceFault
from tailrace.salesforce_api import Api, BrokenOff
from tailrace.sobject import Field


class TooManyRows(Exception):
    """The query has more rows than REST should be asked for."""


def pages(
    api: Api,
    soql: str,
    fields: Sequence[Field],
    bad: list[BadCell],
    *,
    rows_max: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a query, deleted ones included, a page of at most 2,000 at a time.

    Raises:
        SalesforceFault: Salesforce refuses the query; or the number of rows is not the one told.
        TooManyRows: There are more than `rows_max`, and a bulk job would be quicker.
    """
    path: str | None = "queryAll"
    params: dict[str, Any] = {"q": soql}
    rows, told = 0, None
    while path:
        answer = api.read(path, lambda response: _parsed(response.content), **params)
        told = answer.get("totalSize") if told is None else told
        if rows_max is not None and told is not None and told > rows_max:
            raise TooManyRows
        rows += len(answer["records"])
        yield records_to_batch(answer["records"], fields, bad)
        path = None if answer.get("done", True) else answer.get("nextRecordsUrl")
        params = {}
    if told is not None and rows != told:
        raise SalesforceFault(
            f"Salesforce told of {told} rows and sent {rows}", code="INCOMPLETE_RESULT"
        )


def count(api: Api, soql: str) -> int:
    """The answer of a `SELECT count()`, deleted rows included."""
    return int(api.get("queryAll", q=soql)["totalSize"])


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = orjson.loads(body)
    except ValueError:
        raise BrokenOff("a page is not JSON") from None
    return parsed
