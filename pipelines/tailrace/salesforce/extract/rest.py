"""REST queries: pages of JSON records, parsed by orjson into Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from tailrace.errors import AnswerUnreadable, CredentialRefused, SalesforceFault
from tailrace.salesforce.answers import as_count, as_flag, as_mapping, as_records, as_text
from tailrace.salesforce.arrow import pa
from tailrace.salesforce.client import QUERY_SECONDS_MAX, Api
from tailrace.salesforce.describe import Field
from tailrace.salesforce.extract.arrow_parsing import RejectedValue, records_to_batch
from tailrace.salesforce.extract.soql import fits_url
from tailrace.salesforce.faults import LOST_CURSOR_CODES, URL_TOO_LONG_CODES

EMPTY_PAGES_MAX = 3


class TooManyRows(Exception):
    """The query has more rows than a read by REST is meant for."""


class QueryIncomplete(Exception):
    """The pages of a query hold another number of rows than `totalSize`, or its cursor is lost."""


def pages(
    api: Api,
    soql: str,
    fields: Sequence[Field],
    rejected: list[RejectedValue],
    *,
    rows_max: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a query, deleted ones included, at most 2,000 a page.

    Args:
        rejected: Gets the values that do not fit their fields.

    Raises:
        SalesforceFault: Salesforce refuses the query.
        TooManyRows: There are more than `rows_max`, so that a bulk job would be faster.
        QueryIncomplete: The rows are not complete; the query may be started again.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="tailrace-page") as worker:
        page = _first_page(api, soql)
        total = as_count(page.get("totalSize"), "totalSize")
        if rows_max is not None and total > rows_max:
            raise TooManyRows
        rows = empty_pages = 0
        path = f"{api.data_path}/queryAll"
        seen: set[str] = set()
        while True:
            following = _following(api, page, path)
            records = as_records(page.get("records"), "records")
            rows += len(records)
            empty_pages += not records
            if following is not None:
                if following in seen or rows >= total or empty_pages > EMPTY_PAGES_MAX:
                    raise QueryIncomplete("the pages of a query do not end")
                seen.add(following)
            # Salesforce prepares the next page while this one is parsed.
            next_page = worker.submit(_next_page, api, following) if following else None
            if records:
                yield records_to_batch(records, fields, rejected)
            if next_page is None:
                break
            path, page = str(following), next_page.result()
    if rows != total:
        raise QueryIncomplete(f"a query has {total:,} rows, and its pages have {rows:,}")


def count(api: Api, soql: str) -> int:
    """The result of a `SELECT count()`, deleted rows included."""
    answer = as_mapping(api.get("queryAll", q=soql), "a count")
    return as_count(answer.get("totalSize"), "totalSize")


def edge_id(api: Api, object_name: str, *, is_last: bool) -> str:
    """The smallest or the largest id of an object; empty when it has no rows."""
    order = " DESC" if is_last else ""
    soql = f"SELECT Id FROM {object_name} ORDER BY Id{order} LIMIT 1"
    answer = as_mapping(api.get("queryAll", q=soql), "a query")
    records = as_records(answer.get("records"), "records")
    return as_text(records[0].get("Id"), "Id") if records else ""


def _first_page(api: Api, soql: str) -> Mapping[str, Any]:
    """The first page: by URL, or in the body of a composite call where the query is too long."""
    if fits_url(soql):
        try:
            return as_mapping(_page(api, "queryAll", q=soql), "a query")
        except SalesforceFault as fault:
            # A proxy may have a shorter limit.
            if fault.code not in URL_TOO_LONG_CODES:
                raise
    call = {"method": "GET", "url": f"{api.data_path}/queryAll?q={quote(soql)}"}
    request = {"allOrNone": False, "compositeRequest": [{**call, "referenceId": "rows"}]}
    for attempt in api.attempts():
        answer = as_mapping(
            api.post("composite", request, timeout=QUERY_SECONDS_MAX), "a composite call"
        )
        responses = as_records(answer.get("compositeResponse"), "compositeResponse")
        if len(responses) != 1:
            raise AnswerUnreadable("Salesforce answered a composite call without its response")
        body = responses[0].get("body")
        status = as_count(responses[0].get("httpStatusCode"), "httpStatusCode")
        if status < 300:
            return as_mapping(body, "a query")
        if attempt.is_last or not api.is_transient_in(body, status):
            raise api.fault_in(body, status)
    raise AssertionError("the last attempt returns or raises")


def _next_page(api: Api, path: str) -> Mapping[str, Any]:
    try:
        return as_mapping(_page(api, path), "a page of a query")
    except SalesforceFault as fault:
        if fault.code in LOST_CURSOR_CODES:
            raise QueryIncomplete(f"the cursor of a query is lost ({fault.code})") from None
        raise
    except CredentialRefused:
        # A cursor belongs to the session that opened it, and a new session may not read it. If the
        # credential itself is refused, the next query says so.
        raise QueryIncomplete("the cursor of a query does not work in a new session") from None


def _page(api: Api, path: str, **params: str) -> Any:
    return api.get(path, timeout=QUERY_SECONDS_MAX, **params)


def _following(api: Api, page: Mapping[str, Any], path: str) -> str | None:
    """The path of the next page; None at the end."""
    link = page.get("nextRecordsUrl")
    is_done = as_flag(page.get("done", not link), "done")
    if is_done:
        return None
    following, params = api.resolve(as_text(link, "nextRecordsUrl"), path)
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in params.items())
    return f"{following}?{query}" if query else following
