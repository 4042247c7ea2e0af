"""REST queries: pages of JSON records, parsed by orjson into Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count as count_from
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow as pa

from tailrace.errors import SalesforceFault
from tailrace.salesforce.client import QUERY_SECONDS_MAX, Api, BrokenOff
from tailrace.salesforce.describe import Field
from tailrace.salesforce.extract.arrow_parsing import BadCell, records_to_batch
from tailrace.salesforce.extract.soql import fits_url

URL_TOO_LONG = frozenset({"414", "431"})


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
    with ThreadPoolExecutor(1, thread_name_prefix="tailrace-page") as beside:
        answer = _first_page(api, soql)
        told = answer.get("totalSize")
        if rows_max is not None and told is not None and told > rows_max:
            raise TooManyRows
        rows = 0
        while answer:
            further = None if answer.get("done", True) else answer.get("nextRecordsUrl")
            # Salesforce makes the next page while this one becomes columns.
            asked = beside.submit(_page, api, str(further)) if further else None
            rows += len(answer["records"])
            yield records_to_batch(answer["records"], fields, bad)
            answer = asked.result() if asked else {}
    if told is not None and rows != told:
        raise SalesforceFault(
            f"Salesforce told of {told} rows and sent {rows}", code="INCOMPLETE_RESULT"
        )


def count(api: Api, soql: str) -> int:
    """The answer of a `SELECT count()`, deleted rows included."""
    return int(api.get("queryAll", q=soql)["totalSize"])


def _first_page(api: Api, soql: str) -> dict[str, Any]:
    """By URL, or in the body of a composite call where the select is too long for one."""
    if fits_url(soql):
        try:
            return _page(api, "queryAll", q=soql)
        except SalesforceFault as fault:
            # A proxy may have a limit of its own.
            if fault.code not in URL_TOO_LONG:
                raise
    call = {"method": "GET", "url": f"{api.data_path}/queryAll?q={quote(soql)}"}
    asked = {"allOrNone": False, "compositeRequest": [{**call, "referenceId": "rows"}]}
    for attempt in count_from(1):
        answer = api.post("composite", asked, timeout=QUERY_SECONDS_MAX)
        (told,) = answer["compositeResponse"]
        body, status = told["body"], int(told["httpStatusCode"])
        if status < 300:
            break
        if attempt >= api.settings.attempts_max or not api.is_transient_in(body, status):
            raise api.fault_in(body, status)
        api.pause(attempt)
    page: dict[str, Any] = body
    return page


def _page(api: Api, path: str, **params: str) -> dict[str, Any]:
    page: dict[str, Any] = api.read(path, lambda answer: _parsed(answer.content), **params)
    return page


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = orjson.loads(body)
    except ValueError:
        raise BrokenOff("a page is not JSON") from None
    return parsed
