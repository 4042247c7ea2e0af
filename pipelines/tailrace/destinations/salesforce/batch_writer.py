"""Writes the records of one batch, and repeats rows that may succeed in a smaller request.

Salesforce runs triggers and takes locks for each request of 200 rows. Rows that fail for one of
these reasons are sent again in requests of 50, 10 and 1, after a pause with jitter; a limit of a
trigger is remembered, so that later requests are small from the start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from tailrace.clock import Clock
from tailrace.destinations.messages import Message
from tailrace.destinations.salesforce import codes
from tailrace.destinations.salesforce.describe import WritableField, WritableObject
from tailrace.destinations.salesforce.header import PERSON_FIELDS, WriteBack
from tailrace.destinations.salesforce.records import (
    COLLECTION_ROWS_MAX,
    WRITTEN,
    Records,
    RowResult,
    fold,
    read_record,
)
from tailrace.destinations.salesforce.values import dumps
from tailrace.errors import DeliveryIncomplete, QuotaSpent, TailraceError
from tailrace.retry import RetryPolicy
from tailrace.salesforce.client import Api

log = logging.getLogger(__name__)

CHUNK_ROWS = (COLLECTION_ROWS_MAX, 50, 10, 1)
# After the smallest request, a row gets as many attempts as these pauses.
SINGLE_ATTEMPTS_MAX = 3
PAUSES = RetryPolicy(attempts_max=9, backoff_seconds=0.5, backoff_seconds_max=8.0)
NO_RECORD = RowResult(code="NO_RECORD", message="no record has this key")
SEVERAL = RowResult(code="DUPLICATE_EXTERNAL_ID", message="several records have this key")

# The rows of a request: their place in the batch, their message and its record.
Row = tuple[int, Message, dict[str, Any]]
Send = Callable[[Sequence[Row]], list[RowResult]]
# The kinds of messages of members who exit.
EXIT_KINDS = frozenset({"delete", "clear", "set"})


class BatchWriter:
    """Writes batches of one audience; safe to use from several threads.

    Args:
        described: The object, as far as describe is known.
        match: The matched fields, spelled as in the records.
    """

    def __init__(
        self,
        api: Api,
        write_back: WriteBack,
        *,
        described: WritableObject | None,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._write_back = write_back
        self._described = described
        self._clock = clock
        self._jitter = jitter
        name = described.name if described else write_back.object
        self._records = Records(api, write_back, object_name=name)
        self._match = tuple(self._spelled(name) for name in write_back.match)
        self._rows_max = COLLECTION_ROWS_MAX

    def write(self, messages: Sequence[Message], results: dict[str, RowResult]) -> list[RowResult]:
        """The result of each message, in order.

        Args:
            results: Results of an earlier attempt by message id; those rows are not sent again.
                It is filled as results arrive, so that a request that fails loses none.

        Raises:
            SalesforceFault: A request was refused as a whole.
            ServiceFailed, Unreachable: A request has no answer.
            QuotaSpent: No further call may be made.
        """
        # Bodies are sent as they are; `_with_id` reads those again that are not.
        rows = [(i, m, orjson.loads(m.body)) for i, m in enumerate(messages)]
        for kind, group in _groups(rows, results):
            for chunk in _cut(group, self._rows_max):
                self._write_chunk(kind, chunk, results)
        return [results[message.message_id] for message in messages]

    def _write_chunk(self, kind: str, rows: Sequence[Row], results: dict[str, RowResult]) -> None:
        """Send rows of one kind, and those that may succeed later again in smaller requests."""
        waiting = [(rows, 0)]
        while waiting:
            chunk, attempts = waiting.pop(0)
            answers = self._sender(kind)(chunk)
            again: list[Row] = []
            limited = False
            for row, answer in zip(chunk, answers, strict=True):
                action = (
                    codes.action_for_row(answer.code, answer.message, exits=kind in EXIT_KINDS)
                    if answer.code
                    else "row"
                )
                if action == "again" and not self._exhausted(len(chunk), attempts):
                    again.append(row)
                    limited = limited or codes.is_trigger_limit(answer.code, answer.message)
                    continue
                if action == "stop":
                    raise _stopped(answer)
                results[row[1].message_id] = WRITTEN if action == "present" else answer
            if again:
                waiting += self._smaller(again, len(chunk), attempts, limited=limited)

    def _exhausted(self, rows: int, attempts: int) -> bool:
        return rows == 1 and attempts >= len(CHUNK_ROWS) + SINGLE_ATTEMPTS_MAX

    def _smaller(
        self, rows: Sequence[Row], size: int, attempts: int, *, limited: bool
    ) -> list[tuple[Sequence[Row], int]]:
        smaller = next((rows_max for rows_max in CHUNK_ROWS if rows_max < size), 1)
        log.info(
            "%s %s; sent again in requests of %d",
            f"{len(rows):,} rows were" if len(rows) > 1 else "1 row was",
            "over the limits of a trigger" if limited else "locked, or the org was busy",
            smaller,
        )
        if limited:
            self._rows_max = min(self._rows_max, smaller)
        else:
            self._clock.sleep(PAUSES.pause_seconds(attempts + 1, None, self._jitter()))
        return [(chunk, attempts + 1) for chunk in _cut(rows, smaller)]

    def _sender(self, kind: str) -> Send:
        if kind in ("insert", "publish"):
            return lambda rows: self._records.insert([row[1].body for row in rows])
        if kind == "upsert":
            return lambda rows: self._records.upsert(self._match[0], [row[1].body for row in rows])
        if len(self._match) == 2:
            return self._delete_members if kind == "delete" else self._write_members(kind)
        if kind == "delete":
            return self._delete
        return self._update_by_id if self._write_back.by_id else self._update_by_key(kind)

    def _update_by_id(self, rows: Sequence[Row]) -> list[RowResult]:
        return self._records.update([row[1].body for row in rows])

    def _update_by_key(self, kind: str) -> Send:
        """Update records by an external id without creating any: by their ids, asked before.

        The upsert of collections cannot be kept from creating records.
        """
        missing = NO_RECORD if kind == "update" else WRITTEN

        def send(rows: Sequence[Row]) -> list[RowResult]:
            return self._by_ids(
                rows,
                self._ids(rows),
                missing,
                lambda pairs: self._records.update(
                    [_with_id(message, found, self._match) for (_, message, _), found in pairs]
                ),
            )

        return send

    def _delete(self, rows: Sequence[Row]) -> list[RowResult]:
        if self._write_back.by_id:
            return self._records.delete([str(record[self._match[0]]) for _, _, record in rows])
        # A record that is gone already is what an exit asks for.
        return self._by_ids(rows, self._ids(rows), WRITTEN, self._delete_pairs)

    def _delete_pairs(self, pairs: Sequence[tuple[Row, str]]) -> list[RowResult]:
        return self._records.delete([found for _, found in pairs])

    def _ids(self, rows: Sequence[Row]) -> list[Sequence[str]]:
        """The ids of the records that each row matches."""
        field = self._match[0]
        case_sensitive = (
            bool(described.case_sensitive) if (described := self._field(field)) else False
        )
        values = [record[field] for _, _, record in rows]
        found = self._records.ids_by_key(field, values, case_sensitive=case_sensitive)
        return [found.get(fold(value, case_sensitive=case_sensitive), ()) for value in values]

    def _by_ids(
        self,
        rows: Sequence[Row],
        ids: Sequence[Sequence[str]],
        missing: RowResult,
        send: Callable[[Sequence[tuple[Row, str]]], list[RowResult]],
    ) -> list[RowResult]:
        """Send the rows that match one record; the others have their result without a request."""
        pairs = [(row, found[0]) for row, found in zip(rows, ids, strict=True) if len(found) == 1]
        answers = iter(send(pairs) if pairs else ())
        return [
            next(answers) if len(found) == 1 else SEVERAL if found else missing for found in ids
        ]

    def _write_members(self, kind: str) -> Send:
        """Add campaign members, and update those who are members already.

        CampaignId and the person can only be set on creation.
        """

        def send(rows: Sequence[Row]) -> list[RowResult]:
            known = self._member_ids(rows)
            results: list[RowResult | None] = [None] * len(rows)
            new = [place for place, found in enumerate(known) if found is None]
            if kind != "member":
                for place in new:
                    results[place] = WRITTEN
                new = []
            if new:
                answers = self._records.insert([rows[place][1].body for place in new])
                for place, answer in zip(new, answers, strict=True):
                    results[place] = answer
                present = [p for p in new if _is_present(results[p])]
                found = self._member_ids([rows[place] for place in present]) if present else []
                for place, record_id in zip(present, found, strict=True):
                    known[place] = record_id
            updates = [(rows[p], r) for p, r in enumerate(known) if r is not None]
            places = [p for p, r in enumerate(known) if r is not None]
            for place, answer in zip(places, self._update_members(updates), strict=True):
                results[place] = answer
            return [result or NO_RECORD for result in results]

        return send

    def _update_members(self, updates: Sequence[tuple[Row, str]]) -> list[RowResult]:
        bodies = [
            _with_id(message, found, ("CampaignId", *PERSON_FIELDS))
            for (_, message, _), found in updates
        ]
        # A member without mapped fields is as wanted already.
        if not bodies or all(len(orjson.loads(body)) == 2 for body in bodies):
            return [WRITTEN] * len(bodies)
        return self._records.update(bodies)

    def _delete_members(self, rows: Sequence[Row]) -> list[RowResult]:
        ids = [[found] if found else [] for found in self._member_ids(rows)]
        return self._by_ids(rows, ids, WRITTEN, self._delete_pairs)

    def _member_ids(self, rows: Sequence[Row]) -> list[str | None]:
        person = next(name for name in self._match if name.lower() != "campaignid")
        campaign = next(name for name in self._match if name.lower() == "campaignid")
        pairs = [(str(record[campaign]), str(record[person])) for _, _, record in rows]
        found = self._records.member_ids(person, pairs)
        return [found.get((left[:15], right[:15])) for left, right in pairs]

    def _field(self, name: str) -> WritableField | None:
        return self._described.find(name) if self._described else None

    def _spelled(self, name: str) -> str:
        field = self._field(name)
        return field.name if field else name


def _groups(
    rows: Sequence[Row], results: Mapping[str, RowResult]
) -> Iterator[tuple[str, list[Row]]]:
    """The rows without a result, by kind and exact set of fields, in order."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        _, message, record = row
        if message.message_id not in results:
            groups.setdefault((message.kind, *_paths(record)), []).append(row)
    return ((names[0], group) for names, group in groups.items())


def _paths(record: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(record):
        value = record[name]
        yield f"{name}.{next(iter(value))}" if isinstance(value, dict) else name


def _cut(rows: Sequence[Row], rows_max: int) -> Iterator[Sequence[Row]]:
    return (rows[start : start + rows_max] for start in range(0, len(rows), rows_max))


def _with_id(message: Message, record_id: str, without: Sequence[str]) -> bytes:
    """A record by its id, without the fields that identified it."""
    record = read_record(message.body)
    left_out = {name.lower() for name in without}
    kept = {name: value for name, value in record.items() if name.lower() not in left_out}
    return dumps({**kept, "Id": record_id})


def _is_present(result: RowResult | None) -> bool:
    return result is not None and codes.is_member_already(result.code, result.message)


def _stopped(result: RowResult) -> TailraceError:
    hint = "Nothing is lost: run the same command again when the limit allows writes."
    error = QuotaSpent if "LIMIT" in result.code else DeliveryIncomplete
    return error(f"Salesforce takes no writes now ({result.code})", hint=hint)
