"""The state of an org: objects, records, a clock, a delete log, and operations on them.

The org has its own clock. It starts at a given time and runs with the system clock unless
`ticking` is False; `advance` moves it forward. SystemModstamp has whole seconds, as in Salesforce.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tailrace.clock import Clock, SystemClock
from tailrace.testing.org import catalog, catalog_special
from tailrace.testing.org.derived_fields import derived, formulas
from tailrace.testing.org.describe import Field, SObject
from tailrace.testing.org.generated_rows import GeneratedRows, checksum
from tailrace.testing.org.rows import Record, Rows

ORG_ID = "00DHs0000000001MAA"
START = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
DELETE_LOG_DAYS = 15
UPDATED_DAYS = 30
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class OrgStore:
    """An org in memory, without records; safe to use from several threads.

    Args:
        seed: seed of everything that is invented.
        start: the org's time at the start.
        ticking: False = the clock moves by `advance` only.
        clock: source of elapsed time.
        org_id: the 18-character id of the org.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        start: datetime = START,
        ticking: bool = True,
        clock: Clock | None = None,
        org_id: str = ORG_ID,
    ) -> None:
        self.seed = seed
        self.lock = threading.RLock()
        self.days = 0
        self.replication_ids_max = 600_000
        self._clock: Clock = clock or SystemClock()
        self._ticking = ticking
        self._moment = start.astimezone(UTC)
        self._since = self._clock.monotonic()
        self._rows: dict[str, Rows] = {}
        self._numbers: dict[str, int] = {}
        self._delete_log: dict[str, dict[str, datetime]] = {}
        self._log_starts: dict[str, datetime] = {}
        self._open: set[Transaction] = set()
        self._held_back: datetime | None = None
        self.created_at = start - timedelta(days=3 * 365)
        for module in (catalog, catalog_special):
            for value in list(vars(module).values()):
                if isinstance(value, SObject):
                    self.add_object(value)
        self.hidden_objects: set[str] = set()
        self._org_id = ""
        self.org_id = org_id

    @property
    def org_id(self) -> str:
        """The id of the org; a sandbox that is refreshed gets another one."""
        return self._org_id

    @org_id.setter
    def org_id(self, org_id: str) -> None:
        with self.lock:
            rows = self.rows("Organization")
            rows.remove(self._org_id)
            self._org_id = org_id
            values = {"Name": "Sandbox", "OrganizationType": "Enterprise Edition"}
            record = {"Id": org_id, **values, "InstanceName": "CS1", "IsSandbox": True}
            self._save(rows, record, at=self.created_at, new=True)

    # Clock.

    def now(self) -> datetime:
        """The org's time."""
        with self.lock:
            if not self._ticking:
                return self._moment
            passed = self._clock.monotonic() - self._since
            return self._moment + timedelta(seconds=passed)

    def advance(self, **by: float) -> datetime:
        """Move the clock forward: `advance(hours=3)`; returns the new time."""
        with self.lock:
            self._moment += timedelta(**by)
            return self.now()

    def set_now(self, moment: datetime) -> None:
        """Set the clock."""
        with self.lock:
            self._moment = moment.astimezone(UTC)
            self._since = self._clock.monotonic()

    # Objects and fields.

    def spec(self, sobject: str) -> SObject:
        """An object's definition; raises KeyError."""
        return self.rows(sobject).spec

    def find(self, sobject: str) -> Rows | None:
        """The rows of an object that the user can see, by its name in any case."""
        if sobject.lower() in self.hidden_objects:
            return None
        return self._rows.get(sobject.lower())

    def rows(self, sobject: str) -> Rows:
        """An object's rows; raises KeyError."""
        return self._rows[sobject.lower()]

    def objects(self) -> list[SObject]:
        """All objects."""
        return [rows.spec for rows in self._rows.values()]

    def add_object(self, spec: SObject) -> None:
        """Create an object."""
        with self.lock:
            self._rows[spec.name.lower()] = Rows(spec)
            self._delete_log.setdefault(spec.name, {})

    def hide_object(self, sobject: str, *, hidden: bool = True) -> None:
        """Remove or restore the user's permission for the object; its rows stay."""
        self.rows(sobject)
        change = self.hidden_objects.add if hidden else self.hidden_objects.discard
        change(sobject.lower())

    def visible_objects(self) -> list[SObject]:
        """The objects that the user can see."""
        return [spec for spec in self.objects() if spec.name.lower() not in self.hidden_objects]

    def add_field(self, sobject: str, field: Field) -> None:
        """Create or redefine a field; values that do not convert are lost."""
        with self.lock:
            rows = self.rows(sobject)
            rows.reshape(rows.spec.with_field(field))

    def remove_field(self, sobject: str, name: str) -> None:
        """Delete a field and its values."""
        with self.lock:
            rows = self.rows(sobject)
            rows.reshape(rows.spec.without_field(name))

    def change_type(self, sobject: str, name: str, kind: str, **more: Any) -> None:
        """Change a field's type."""
        field = self.spec(sobject).find(name)
        if field is None:
            raise KeyError(name)
        self.add_field(sobject, replace(field, type=kind, **more))

    def hide_field(self, sobject: str, name: str) -> None:
        """Hide the field from the user by field-level security; its values stay."""
        self._hidden(sobject, lambda hidden: hidden | {name.lower()})

    def show_field(self, sobject: str, name: str) -> None:
        """Undo `hide_field`."""
        self._hidden(sobject, lambda hidden: hidden - {name.lower()})

    def lock_field(self, sobject: str, name: str, *, locked: bool = True) -> None:
        """Make the field read-only for this user by field-level security, or writable again."""
        with self.lock:
            rows = self.rows(sobject)
            others = rows.spec.read_only - {name.lower()}
            read_only = others | {name.lower()} if locked else others
            rows.spec = replace(rows.spec, read_only=frozenset(read_only))

    def _hidden(self, sobject: str, change: Any) -> None:
        with self.lock:
            rows = self.rows(sobject)
            rows.spec = replace(rows.spec, hidden=frozenset(change(rows.spec.hidden)))

    def add_mass(self, sobject: str, rows: int, *, seed: int | None = None) -> None:
        """Add generated rows to the object, all older than the org's time."""
        with self.lock:
            target = self.rows(sobject)
            if target.generated is not None:
                raise ValueError(f"{sobject} already has generated rows")
            target.generated = GeneratedRows(
                target.spec,
                rows=rows,
                before=self.now(),
                seed=self.seed if seed is None else seed,
                ids={name: self.rows(name).ids() for name in ("User", "Account", "Campaign")},
            )
            target.version += 1

    # Records.

    def get(self, sobject: str, record_id: str) -> Record:
        """A copy of a record, including soft-deleted ones; raises KeyError."""
        with self.lock:
            record = self.rows(sobject).get(record_id)
            if record is None:
                raise KeyError(f"{sobject} {record_id}")
            return dict(record)

    def insert(
        self, sobject: str, values: Mapping[str, Any] | None = None, *, at: datetime | None = None
    ) -> str:
        """Create a record; returns its id."""
        with self.lock:
            rows = self.rows(sobject)
            record_id = self._next_id(rows.spec.key_prefix)
            self._save(rows, {"Id": record_id, **(values or {})}, at=at, new=True)
            return record_id

    def update(
        self, sobject: str, record_id: str, values: Mapping[str, Any], *, at: datetime | None = None
    ) -> None:
        """Change fields of a record. A changed stage of an opportunity is added to its history."""
        with self.lock:
            before = self.get(sobject, record_id)
            self._save(self.rows(sobject), {**before, **values}, at=at)
            stage = values.get("StageName")
            if sobject == "Opportunity" and stage not in (None, before["StageName"]):
                history = {
                    "OpportunityId": record_id,
                    "Field": "StageName",
                    "DataType": "DynamicEnum",
                    "OldValue": before["StageName"],
                    "NewValue": stage,
                }
                self.insert("OpportunityFieldHistory", history, at=at)

    def silently(self, sobject: str, record_id: str, values: Mapping[str, Any]) -> None:
        """Change fields without moving SystemModstamp, as a formula does."""
        with self.lock:
            self.rows(sobject).put({**self.get(sobject, record_id), **values})

    def touch(
        self, sobject: str, rows: int, values: Mapping[str, Any] | None = None
    ) -> tuple[str, ...]:
        """Change the first `rows` rows, generated rows first; returns their ids."""
        with self.lock:
            target = self.rows(sobject)
            generated = target.generated.rows if target.generated else 0
            ids = [
                target.generated.id_of(index)
                for index in range(min(rows, generated))
                if target.generated
            ]
            ids += target.ids()[: rows - len(ids)]
            at = self._when(None)
            for record in target.many(ids):
                self._save(target, {**record, **(values or {})}, at=at)
            return tuple(ids)

    def delete(self, sobject: str, *record_ids: str, at: datetime | None = None) -> None:
        """Move records, and the campaign memberships of people, to the recycle bin."""
        with self.lock:
            for record_id in record_ids:
                moment = self._when(at)
                self.update(sobject, record_id, {"IsDeleted": True}, at=moment)
                self._delete_log[self.spec(sobject).name][record_id] = moment
                for member in self._memberships(sobject, record_id):
                    if not member["IsDeleted"]:
                        self.delete("CampaignMember", member["Id"], at=moment)

    def undelete(self, sobject: str, *record_ids: str, at: datetime | None = None) -> None:
        """Restore records from the recycle bin, and memberships deleted with them."""
        with self.lock:
            if not self.spec(sobject).undeletable:
                raise ValueError(f"{sobject} has no recycle bin")
            for record_id in record_ids:
                deleted = self.get(sobject, record_id)
                self._restore(sobject, deleted, at)
                for member in self._memberships(sobject, record_id):
                    if member["SystemModstamp"] == deleted["SystemModstamp"]:
                        self._restore("CampaignMember", member, at)

    def _restore(self, sobject: str, record: Record, at: datetime | None) -> None:
        values: dict[str, Any] = {"IsDeleted": False}
        if record.get("MasterRecordId"):
            values["MasterRecordId"] = None
        self.update(sobject, record["Id"], values, at=at)
        self._delete_log[self.spec(sobject).name].pop(record["Id"], None)

    def purge(
        self, sobject: str, *record_ids: str, at: datetime | None = None, logged: bool = True
    ) -> None:
        """Hard-delete records: `queryAll` omits them; the delete log lists them if `logged`."""
        with self.lock:
            name = self.spec(sobject).name
            for record_id in record_ids:
                self.get(sobject, record_id)
                self.rows(sobject).remove(record_id)
                if logged:
                    self._delete_log[name].setdefault(record_id, self._when(at))
                else:
                    self._delete_log[name].pop(record_id, None)

    def merge(self, sobject: str, winner: str, *losers: str, at: datetime | None = None) -> None:
        """Merge records: losers are deleted, their children move to the winner."""
        with self.lock:
            moment = self._when(at)
            for loser in losers:
                self._move_children(sobject, loser, winner, moment)
                gone = {"MasterRecordId": winner, "IsDeleted": True}
                self.update(sobject, loser, gone, at=moment)
                self._delete_log[self.spec(sobject).name][loser] = moment
            self.update(sobject, winner, {}, at=moment)

    def recalculate(self) -> dict[str, tuple[str, ...]]:
        """Recalculate formulas and roll-ups; returns the ids of changed records per object."""
        with self.lock:
            changed = formulas(self.rows)
            for sobject, records in changed.items():
                for record_id, values in records.items():
                    self.silently(sobject, record_id, values)
            return {sobject: tuple(records) for sobject, records in changed.items() if records}

    def begin(self) -> Transaction:
        """Open a transaction: its changes have the time of the call and appear on commit."""
        with self.lock:
            transaction = Transaction(self, self._when(None))
            self._open.add(transaction)
            return transaction

    # Replication.

    def hold_back(self, until: datetime | None) -> None:
        """Limit `latestDateCovered` to a time; None removes the limit."""
        self._held_back = until

    def latest_date_covered(self, end: datetime) -> datetime:
        """`latestDateCovered`: the end, or the start of the oldest open transaction."""
        with self.lock:
            limits = [end, self.now().replace(microsecond=0)]
            limits += [transaction.started_at for transaction in self._open]
            if self._held_back is not None:
                limits.append(self._held_back)
            return min(limits)

    def deleted_between(
        self, sobject: str, start: datetime, end: datetime
    ) -> list[tuple[str, datetime]]:
        """The entries of the delete log in a span of time."""
        with self.lock:
            begins = self.delete_log_begins(sobject)
            log = self._delete_log[self.spec(sobject).name].items()
            return [
                (record_id, moment)
                for record_id, moment in sorted(log, key=lambda entry: entry[1])
                if start <= moment < end and moment >= begins
            ]

    def delete_log_begins(self, sobject: str) -> datetime:
        """`earliestDateAvailable`: the delete log has no entries before this time."""
        oldest = self.now().replace(microsecond=0) - timedelta(days=DELETE_LOG_DAYS)
        return max(oldest, self._log_starts.get(self.spec(sobject).name, oldest))

    def purge_delete_log(self, sobject: str, before: datetime) -> None:
        """Remove entries before a time from the delete log, as Salesforce does under load."""
        self._log_starts[self.spec(sobject).name] = before.replace(microsecond=0)

    def _save(
        self, rows: Rows, record: Record, *, at: datetime | None = None, new: bool = False
    ) -> None:
        moment = self._when(at)
        fields = rows.fields
        if new:
            record = {**self._defaults(rows, moment), **record}
        stamps = {
            "LastModifiedDate": moment,
            "LastModifiedById": record.get("OwnerId") or self.user_id(),
            "SystemModstamp": moment,
        }
        record |= {name: value for name, value in stamps.items() if name in fields}
        full = derived(rows.spec.name, record)
        rows.put({name: value for name, value in full.items() if name in fields or name in record})

    def _defaults(self, rows: Rows, moment: datetime) -> Record:
        fields = rows.fields
        record: Record = {name: False for name, field in fields.items() if field.type == "boolean"}
        created = {"CreatedDate": moment, "CreatedById": self.user_id(), "OwnerId": self.user_id()}
        return record | {name: value for name, value in created.items() if name in fields}

    def user_id(self) -> str | None:
        """The default user for changes."""
        return next(iter(self.rows("User").ids()), None)

    def _when(self, at: datetime | None) -> datetime:
        return (at or self.now()).astimezone(UTC).replace(microsecond=0)

    def _memberships(self, sobject: str, record_id: str) -> list[Record]:
        field = {"contact": "ContactId", "lead": "LeadId"}.get(sobject.lower())
        if field is None:
            return []
        return [
            member
            for member in self.rows("CampaignMember").records()
            if member.get(field) == record_id
        ]

    def _move_children(self, sobject: str, loser: str, winner: str, at: datetime) -> None:
        for rows in list(self._rows.values()):
            fields = [
                field.name
                for field in rows.spec.fields
                if self.spec(sobject).name in field.refers_to and field.name != "MasterRecordId"
            ]
            for record in rows.records():
                moved = {name: winner for name in fields if record.get(name) == loser}
                if moved and not record.get("IsDeleted"):
                    self.update(rows.spec.name, record["Id"], moved, at=at)

    def _next_id(self, key_prefix: str) -> str:
        number = self._numbers.get(key_prefix, 0) + 1
        self._numbers[key_prefix] = number
        digits = ""
        while number:
            number, digit = divmod(number, 62)
            digits = _BASE62[digit] + digits
        short = f"{key_prefix}Hs{digits:0>10}"
        return short + checksum(short)


class Transaction:
    """Changes that get their time when they are made and appear on commit."""

    def __init__(self, org: OrgStore, started_at: datetime) -> None:
        self.org = org
        self.started_at = started_at
        self._steps: list[tuple[str, str, str | None, Mapping[str, Any], datetime]] = []

    def insert(self, sobject: str, values: Mapping[str, Any]) -> str:
        """Create a record; its id is returned at once, the record appears on commit."""
        record_id = self.org._next_id(self.org.spec(sobject).key_prefix)
        self._step("insert", sobject, record_id, values)
        return record_id

    def update(self, sobject: str, record_id: str, values: Mapping[str, Any]) -> None:
        """Change a record."""
        self._step("update", sobject, record_id, values)

    def delete(self, sobject: str, record_id: str) -> None:
        """Move a record to the recycle bin."""
        self._step("delete", sobject, record_id, {})

    def commit(self) -> None:
        """Apply the changes with the times at which they were made."""
        org = self.org
        with org.lock:
            for verb, sobject, record_id, values, at in self._steps:
                assert record_id is not None
                if verb == "insert":
                    org._save(org.rows(sobject), {"Id": record_id, **values}, at=at, new=True)
                elif verb == "update":
                    org.update(sobject, record_id, values, at=at)
                else:
                    org.delete(sobject, record_id, at=at)
            self.roll_back()

    def roll_back(self) -> None:
        """Discard the changes."""
        self._steps.clear()
        self.org._open.discard(self)

    def _step(self, verb: str, sobject: str, record_id: str, values: Mapping[str, Any]) -> None:
        self._steps.append((verb, sobject, record_id, values, self.org._when(None)))
