"""The requests that write records: collections of up to 200, and queries for the ids of records.

Wire formats: "sObject Collections" in the REST API guide. Rows of one request have the same fields.
Results stand in the order of the request; errors of rows have a `statusCode`, errors of whole
requests an `errorCode`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tailrace.destinations.outcome import safe_text
from tailrace.destinations.salesforce.header import WriteBack
from tailrace.destinations.salesforce.values import Number
from tailrace.errors import AnswerUnreadable
from tailrace.salesforce.answers import as_mapping, as_records, parse_json
from tailrace.salesforce.client import Api
from tailrace.salesforce.soql_literals import literal

COLLECTION_ROWS_MAX = 200
# URI and headers may have 16,384 bytes together.
QUERY_BYTES_MAX = 12_000
CLIENT = "client=tailrace"


@dataclass(frozen=True, slots=True)
class RowResult:
    """What Salesforce answered about one record. `code` is empty for a success."""

    code: str = ""
    message: str = ""
    fields: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.code

    @property
    def reason(self) -> str:
        """The code and the fields: messages of Salesforce may hold values."""
        return f"{self.code}: {', '.join(self.fields)}" if self.fields else self.code


WRITTEN = RowResult()


def headers_of(write_back: WriteBack) -> dict[str, str]:
    """The headers of every write. The defaults of the first two would surprise.

    Without `Sforce-Auto-Assign`, assignment rules run on created and updated records.
    """
    allow = "true" if write_back.allows_duplicates else "false"
    return {
        "Sforce-Auto-Assign": "TRUE" if write_back.assignment_rules else "FALSE",
        "Sforce-Duplicate-Rule-Header": f"allowSave={allow}; includeRecordDetails=false;"
        " runAsCurrentUser=true",
        "Sforce-Call-Options": CLIENT,
        "Content-Type": "application/json",
    }


class Records:
    """Writes records of one object."""

    def __init__(self, api: Api, write_back: WriteBack, *, object_name: str) -> None:
        self._api = api
        self._object = object_name
        self._headers = headers_of(write_back)

    def upsert(self, field: str, records: Sequence[bytes]) -> list[RowResult]:
        """Create records, or update those with the same external id."""
        path = f"composite/sobjects/{quote(self._object)}/{quote(field)}"
        return self._collection("PATCH", path, records)

    def update(self, records: Sequence[bytes]) -> list[RowResult]:
        """Update records by their Id."""
        return self._collection("PATCH", "composite/sobjects", records)

    def insert(self, records: Sequence[bytes]) -> list[RowResult]:
        """Create records, or publish events."""
        return self._collection("POST", "composite/sobjects", records)

    def delete(self, ids: Sequence[str]) -> list[RowResult]:
        """Move records to the recycle bin."""
        query = urlencode({"ids": ",".join(ids), "allOrNone": "false"}, safe=",")
        headers = {k: v for k, v in self._headers.items() if k != "Content-Type"}
        response = self._api.write("DELETE", f"composite/sobjects?{query}", headers=headers)
        return _results(response.content, len(ids))

    def ids_by_key(
        self, field: str, values: Sequence[Any], *, case_sensitive: bool
    ) -> dict[str, list[str]]:
        """The ids of the records with each value; values without a record are left out."""
        found: dict[str, list[str]] = {}
        for chunk in _chunks(values):
            soql = f"SELECT Id, {field} FROM {self._object} WHERE {field} IN {_listed(chunk)}"
            for record in self._query(soql):
                value = fold(record.get(field), case_sensitive=case_sensitive)
                found.setdefault(value, []).append(str(record["Id"]))
        return found

    def values_by_id(self, field: str, ids: Sequence[str]) -> dict[str, Any]:
        """The value of a field by the 15 characters of each id."""
        found: dict[str, Any] = {}
        for chunk in _chunks(ids):
            soql = f"SELECT Id, {field} FROM {self._object} WHERE Id IN {_listed(chunk)}"
            found |= {str(record["Id"])[:15]: record.get(field) for record in self._query(soql)}
        return found

    def member_ids(
        self, person_field: str, pairs: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], str]:
        """The ids of campaign members, by the 15 characters of campaign and person."""
        found: dict[tuple[str, str], str] = {}
        campaigns = sorted({campaign for campaign, _ in pairs})
        for campaign in campaigns:
            people = [person for other, person in pairs if other == campaign]
            for chunk in _chunks(people):
                soql = (
                    f"SELECT Id, CampaignId, {person_field} FROM {self._object} WHERE CampaignId ="
                    f" {literal(campaign)} AND {person_field} IN {_listed(chunk)}"
                )
                for record in self._query(soql):
                    pair = str(record["CampaignId"])[:15], str(record[person_field])[:15]
                    found[pair] = str(record["Id"])
        return found

    def _collection(self, method: str, path: str, records: Sequence[bytes]) -> list[RowResult]:
        body = b'{"allOrNone":false,"records":[' + b",".join(records) + b"]}"
        response = self._api.write(method, path, body=body, headers=self._headers)
        return _results(response.content, len(records))

    def _query(self, soql: str) -> Iterator[Mapping[str, Any]]:
        answer = as_mapping(self._api.get("query", q=soql), "a query for ids")
        while True:
            yield from as_records(answer.get("records"), "records of a query for ids")
            following = answer.get("nextRecordsUrl")
            if answer.get("done") is not False or not isinstance(following, str):
                return
            path, _ = self._api.resolve(following, "query")
            answer = as_mapping(self._api.get(path), "a query for ids")


def fold(value: Any, *, case_sensitive: bool) -> str:
    """A key value as it is compared: Salesforce ignores case unless the field matters it.

    >>> fold("C-1", case_sensitive=False), fold(12.0, case_sensitive=False)
    ('c-1', '12')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    return text if case_sensitive else text.lower()


def _listed(values: Sequence[Any]) -> str:
    return f"({', '.join(literal(value) for value in values)})"


def _chunks(values: Sequence[Any]) -> Iterator[list[Any]]:
    """The values in lists that fit into the URL of a query."""
    chunk: list[Any] = []
    size = 0
    for value in dict.fromkeys(values):
        bytes_of_value = len(quote(literal(value))) + 5
        if chunk and (size + bytes_of_value > QUERY_BYTES_MAX or len(chunk) >= COLLECTION_ROWS_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(value)
        size += bytes_of_value
    if chunk:
        yield chunk


def _results(body: bytes, rows: int) -> list[RowResult]:
    answers = as_records(parse_json(body, "a write of records"), "results of a write")
    if len(answers) != rows:
        raise AnswerUnreadable(f"Salesforce answered {rows} records with {len(answers)} results")
    return [_result(answer) for answer in answers]


def _result(answer: Mapping[str, Any]) -> RowResult:
    # A published event is a success with an entry in `errors`.
    if answer.get("success") is True:
        return WRITTEN
    errors = answer.get("errors")
    error: Any = errors[0] if isinstance(errors, list) and errors else {}
    if not isinstance(error, Mapping):
        error = {}
    fields = error.get("fields")
    return RowResult(
        code=safe_text(str(error.get("statusCode") or error.get("errorCode") or "UNKNOWN_ERROR")),
        message=str(error.get("message") or ""),
        fields=tuple(safe_text(str(name)) for name in fields) if isinstance(fields, list) else (),
    )


def read_record(body: bytes) -> dict[str, Any]:
    """The record of a message; its fractions keep all their digits, as `values.Number`."""
    record: dict[str, Any] = json.loads(body, parse_float=Number)
    return record
