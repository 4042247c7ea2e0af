"""REST: objects, describes, records, queries, limits."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tailrace.testing.http.messages import Request, Response
from tailrace.testing.org.definitions import FIELD_DEFINITION, definitions
from tailrace.testing.org.describe import SObject
from tailrace.testing.org.org import Org
from tailrace.testing.org.rows import Rows
from tailrace.testing.salesforce import replication, soql
from tailrace.testing.salesforce.behavior import OrgBehavior
from tailrace.testing.salesforce.pages import Pages, page_key
from tailrace.testing.salesforce.record_writes import RecordWrites
from tailrace.testing.salesforce.refusals import (
    Refused,
    not_found,
    not_played,
    session_invalid,
    wrong_method,
)
from tailrace.testing.salesforce.render import json_records, to_json
from tailrace.testing.salesforce.select import Result, check, repeated, select, too_many_rows

CURSOR_DAYS_MAX = 2
PAGE_ROWS_MAX = 2_000
PAGE_ROWS_MIN = 200
WIDE_FIELDS_MIN = 100
_JSON = {"Content-Type": "application/json;charset=UTF-8"}


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """A query result that a client reads page by page."""

    result: Result
    page_rows: int
    opened_at: datetime
    session: str


class Rest:
    """The resources under `/services/data/vNN.0/`, except jobs."""

    def __init__(self, org: Org, pages: Pages, behavior: OrgBehavior, writes: RecordWrites) -> None:
        self.org = org
        self.writes = writes
        self.behavior = behavior
        self._stale_describes: Counter[str] = Counter()
        self._pages = pages
        self._cursors: dict[str, Cursor] = {}
        self._numbers = itertools.count(1)

    def answer(self, request: Request, version: str, steps: list[str]) -> Response:
        """Answer the resource of a path."""
        if request.method not in ("GET", "HEAD"):
            if steps[0] == "sobjects" and len(steps) > 1:
                return self.writes.sobject(request, version, steps[1:])
            raise wrong_method(request.method, "GET,HEAD")
        if steps == ["sobjects"]:
            listed = [spec.summary(version) for spec in self.org.visible_objects()]
            body = {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed}
            return Response.of_json(body)
        if steps[0] == "sobjects":
            return self._sobject(request, version, steps[1:])
        if steps == ["tooling", "query"]:
            if FIELD_DEFINITION.name not in request.query.get("q", ""):
                raise not_played("Tooling API objects other than FieldDefinition")
            return self._query(request, version, deleted=False)
        if steps[0] in ("query", "queryAll"):
            if len(steps) == 1:
                return self._query(request, version, deleted=steps[0] == "queryAll")
            return self._next_page(request, version, steps[1])
        raise not_found()

    def _sobject(self, request: Request, version: str, steps: list[str]) -> Response:
        rows = self.org.find(steps[0])
        if rows is None:
            raise not_found()
        if len(steps) == 1:
            return Response.of_json({"objectDescribe": rows.spec.summary(version)})
        actions: dict[str, Callable[[], Any]] = {
            "describe": lambda: self._described(rows).describe(version),
            "updated": lambda: replication.updated(self.org, rows, request),
            "deleted": lambda: replication.deleted(self.org, rows, request),
        }
        if len(steps) == 2 and steps[1] in actions:
            with self.org.lock:
                return Response.of_json(actions[steps[1]]())
        if len(steps) == 2:
            return self._record(request, version, rows, steps[1])
        raise not_found()

    def _described(self, rows: Rows) -> SObject:
        """The object as describe shows it, which may be out of date."""
        shown = self._stale_describes[rows.spec.name]
        if rows.spec.hidden and shown < self.behavior.stale_describes:
            self._stale_describes[rows.spec.name] += 1
            return replace(rows.spec, hidden=frozenset())
        return rows.spec

    def _record(self, request: Request, version: str, rows: Rows, record_id: str) -> Response:
        """One record by its id, with the requested fields."""
        names = [field.name for field in rows.spec.visible]
        if "fields" in request.query:
            names = [name.strip() for name in request.query["fields"].split(",")]
        escaped = "".join(c for c in record_id if c.isalnum())
        if escaped != record_id or len(record_id) not in (15, 18):
            raise not_found()
        text = f"SELECT {', '.join(names)} FROM {rows.spec.name} WHERE Id = '{record_id}'"
        result = self._select(text, deleted=False)
        records = json_records(result, result.pieces(0, 1), version)
        if not records:
            raise not_found()
        return Response(body=to_json(records[0]), headers=_JSON)

    def _query(self, request: Request, version: str, *, deleted: bool) -> Response:
        text = request.query.get("q")
        if text is None:
            raise Refused(400, "MALFORMED_QUERY", "SOQL statement is missing")
        result = self._select(text, deleted=deleted)
        if result.query.count:
            size = result.rows + self.behavior.total_size_offset
            return Response.of_json({"totalSize": size, "done": True, "records": []})
        result = repeated(result, self.behavior)
        cursor = Cursor(
            result=result,
            page_rows=_page_rows(request, result),
            opened_at=self.org.now(),
            session=request.headers.get("authorization", ""),
        )
        return self._page(cursor, self._open(cursor), 0, version)

    def _open(self, cursor: Cursor) -> str:
        """Keep a cursor; return its id."""
        name = f"0r8Hs{next(self._numbers):010d}AAA"
        if cursor.result.rows > cursor.page_rows or self.behavior.paging != "ends":
            self._cursors[name] = cursor
        return name

    def _select(self, text: str, *, deleted: bool) -> Result:
        try:
            query = soql.parse(text, now=self.org.now())
            rows = self._rows(query.sobject)
            fields = check(query, rows.spec if rows is not None else None)
            if (query.aggregates and not query.count) or query.group_by:
                raise not_played("aggregates other than count()")
            if sum(field.calculated for field in fields) > self.behavior.formula_fields_max:
                message = (
                    "Query is either selecting too many fields or the filter conditions are too"
                    " complicated."
                )
                raise Refused(400, "QUERY_TOO_COMPLICATED", message)
            assert rows is not None
            with self.org.lock:
                result = select(query, rows, deleted=deleted)
        except soql.SoqlError as error:
            raise Refused(400, error.code, error.message) from None
        except soql.NotPlayed as error:
            raise not_played(str(error)) from None
        too_many = too_many_rows(result, self.behavior)
        if too_many is not None:
            raise Refused(400, self.behavior.query_rows_error, too_many)
        return result

    def _rows(self, sobject: str) -> Rows | None:
        if sobject.lower() == FIELD_DEFINITION.name.lower():
            return definitions(self.org)
        return self.org.find(sobject)

    def _next_page(self, request: Request, version: str, locator: str) -> Response:
        name, _, offset = locator.rpartition("-")
        cursor = self._cursors.get(name)
        expired = cursor and self.org.now() - cursor.opened_at > timedelta(days=CURSOR_DAYS_MAX)
        if cursor is None or expired or not offset.isdecimal():
            raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        if request.headers.get("authorization", "") != cursor.session:
            if self.behavior.cursor_sessions == "unauthorized":
                raise session_invalid()
            if self.behavior.cursor_sessions == "invalid_locator":
                raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(cursor, name, int(offset), version)

    def _page(self, cursor: Cursor, name: str, offset: int, version: str) -> Response:
        result = cursor.result
        end = min(offset + cursor.page_rows, result.rows)
        pieces = list(result.pieces(offset, end - offset))
        key = page_key(result, pieces, "json", version)
        records = self._pages.get(key, lambda: to_json(json_records(result, pieces, version)))
        following = self._following(cursor, name, offset, end)
        head: dict[str, Any] = {
            "totalSize": result.rows + self.behavior.total_size_offset,
            "done": following is None,
        }
        if following is not None:
            # A queryAll also continues under /query/.
            head["nextRecordsUrl"] = f"/services/data/v{version}/query/{following}"
        body = to_json(head)[:-1] + b',"records":' + records + b"}"
        return Response(body=body, headers=_JSON)

    def _following(self, cursor: Cursor, name: str, offset: int, end: int) -> str | None:
        """The locator of the next page; None on the last one."""
        pages_max = self.behavior.rest_pages_max
        if pages_max is not None and end >= pages_max * cursor.page_rows:
            return None
        if self.behavior.paging == "repeats":
            return f"{name}-{offset}"
        if end < cursor.result.rows:
            return f"{name}-{end}"
        return f"{self._open(cursor)}-0" if self.behavior.paging == "endless" else None


def _page_rows(request: Request, result: Result) -> int:
    """Rows per page: the requested size within limits, fewer for wide rows."""
    rows = PAGE_ROWS_MAX
    options = request.headers.get("sforce-query-options", "")
    name, _, value = options.partition("=")
    if name.strip().lower() == "batchsize" and value.strip().isdecimal():
        rows = min(max(int(value), PAGE_ROWS_MIN), PAGE_ROWS_MAX)
    if len(result.fields) >= WIDE_FIELDS_MIN:
        rows = min(rows, 500)
    return rows
