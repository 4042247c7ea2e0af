"""Writes of records under the rules of the org, row by row.

The rules are those of describe (types, lengths, picklists, required and read-only fields, unique
external ids) and those that describe does not show: assignment and duplicate rules, row locks,
trigger limits, campaign members, converted leads, person accounts and platform events.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace.testing.org.describe import Field, SObject
from tailrace.testing.org.generated_rows import checksum
from tailrace.testing.org.org import Org
from tailrace.testing.org.rows import Record, Rows
from tailrace.testing.salesforce.refusals import Refused
from tailrace.testing.salesforce.value_index import ValueIndex, folded
from tailrace.testing.salesforce.write_settings import RowFault, WriteOptions, WriteSettings
from tailrace.testing.salesforce.write_values import RowRefused, check_id

OPERATIONS = ("insert", "update", "upsert", "delete")
WRITES_KEPT_MAX = 1_000_000
_ASSIGNED = ("Lead", "Case", "Account")
_PERSON_NAMES = ("FirstName", "LastName", "Salutation")


@dataclass(frozen=True, kw_only=True)
class Write:
    """A successful write, as a change event would report it."""

    sobject: str
    id: str
    operation: str
    values: Mapping[str, Any]
    client: str | None
    api: str
    at: datetime

    @property
    def change_origin(self) -> str:
        """The `changeOrigin` of the change event."""
        origin = f"com/salesforce/api/{self.api}/64.0"
        return f"{origin};client={self.client}" if self.client else origin


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The outcome of a row that was written."""

    id: str
    created: bool
    event: str | None = None


class Writer:
    """Applies writes to an org; keeps a list of them and of published events."""

    def __init__(self, org: Org, settings: WriteSettings) -> None:
        self.org = org
        self.settings = settings
        self.row_faults: list[RowFault] = []
        self.writes: list[Write] = []
        self.events: list[Write] = []
        self._fired: Counter[int] = Counter()
        self._indexes: dict[tuple[str, str], ValueIndex] = {}
        self._undo: list[tuple[str, str, Record | None]] | None = None

    @contextmanager
    def all_or_none(self, active: bool) -> Iterator[Callable[[], None]]:
        """Undo the writes of the block if the function that it yields is called."""
        self._undo = [] if active else None
        failed: list[bool] = []
        kept = (len(self.writes), len(self.events))
        try:
            yield lambda: failed.append(True)
            if active and failed:
                self._roll_back(*kept)
        finally:
            self._undo = None

    def _roll_back(self, writes: int, events: int) -> None:
        for sobject, record_id, before in reversed(self._undo or []):
            if before is None:
                self.org.rows(sobject).remove(record_id)
            else:
                self.org.rows(sobject).put(before)
        del self.writes[writes:]
        del self.events[events:]

    def spec(self, sobject: str) -> SObject:
        """The definition of an object that the user can see.

        Raises:
            Refused: There is no such object.
        """
        rows = self.org.find(sobject)
        if rows is None:
            message = f"sObject type '{sobject}' is not supported."
            raise Refused(400, "INVALID_TYPE", message)
        return rows.spec

    def key_field(self, spec: SObject, name: str) -> Field:
        """The field by which an upsert matches records.

        Raises:
            Refused: The field is not an external id or idLookup.
        """
        key = spec.find(name)
        if key is None or not key.id_lookup or key.type == "id":
            message = f"Provided external ID field does not exist or is not accessible: {name}"
            raise Refused(404, "NOT_FOUND", message)
        return key

    def insert(self, spec: SObject, values: Mapping[str, Any], options: WriteOptions) -> Saved:
        """Create a record, or publish a platform event."""
        self._check_writable(spec)
        self._check_fields(spec, values, creating=True)
        self._check_required(spec, values)
        if spec.name.endswith("__e"):
            self._check_faults(spec, "create", values)
            return self._publish(spec, values, options)
        values = _person_account(spec, dict(values), None)
        self._check_member(spec, values)
        self._check_references(spec, values)
        self._check_unique(spec, values, own_id=None)
        self._check_duplicates(spec, values, options, own_id=None)
        self._check_faults(spec, "create", values)
        filled = {**_defaults(spec), **values}
        if options.assign and spec.name in _ASSIGNED and self.settings.assignment_owner:
            filled["OwnerId"] = self.settings.assignment_owner
        record_id = self._apply(spec, "", lambda: self.org.insert(spec.name, filled))
        self._log(spec, record_id, "create", values, options)
        return Saved(id=record_id, created=True)

    def update(
        self, spec: SObject, record_id: str, values: Mapping[str, Any], options: WriteOptions
    ) -> Saved:
        """Change a record by its id."""
        self._check_writable(spec)
        if spec.name.endswith("__e"):
            raise RowRefused("INVALID_TYPE_FOR_OPERATION", "Platform events can only be inserted")
        record = self._record(spec, record_id)
        if spec.name == "Lead" and record.get("IsConverted"):
            raise RowRefused("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        self._check_fields(spec, values, creating=False)
        values = _person_account(spec, dict(values), record)
        if spec.name == "CampaignMember":
            _check_status(spec, values)
        self._check_references(spec, values)
        self._check_unique(spec, values, own_id=record["Id"])
        self._check_duplicates(spec, {**record, **values}, options, own_id=record["Id"])
        self._check_faults(spec, "update", values)
        stored = dict(values)
        if options.assign and spec.name in _ASSIGNED and self.settings.assignment_owner:
            stored["OwnerId"] = self.settings.assignment_owner
        self._apply(spec, record["Id"], lambda: self.org.update(spec.name, record["Id"], stored))
        self._log(spec, record["Id"], "update", values, options)
        return Saved(id=record["Id"], created=False)

    def upsert(
        self,
        spec: SObject,
        key: Field,
        key_value: Any,
        values: Mapping[str, Any],
        options: WriteOptions,
    ) -> Saved:
        """Change the record with this external id, or create it."""
        if key_value is None:
            raise RowRefused("MISSING_ARGUMENT", f"{key.name} not specified", key.name)
        ids = self.matches(spec, key, key_value)
        if len(ids) > 1:
            message = f"More than one record found for external id field: [{', '.join(ids)}]"
            raise RowRefused("DUPLICATE_EXTERNAL_ID", message, key.name)
        if ids:
            return self.update(spec, ids[0], values, options)
        return self.insert(spec, {key.name: key_value, **values}, options)

    def delete(self, spec: SObject, record_id: str, options: WriteOptions) -> Saved:
        """Move a record to the recycle bin."""
        self._check_writable(spec)
        record = self._record(spec, record_id)
        self._check_faults(spec, "delete", record)
        self._apply(spec, record["Id"], lambda: self.org.delete(spec.name, record["Id"]))
        self._log(spec, record["Id"], "delete", {}, options)
        return Saved(id=record["Id"], created=False)

    def matches(self, spec: SObject, key: Field, value: Any) -> list[str]:
        """The ids of living records with this value, without regard to case unless it matters."""
        return list(self._index(spec, key).ids.get(folded(key, value), ()))

    def check_trigger(self, spec: SObject, rows: int) -> None:
        """Fail a chunk of rows that the object's triggers cannot process.

        Raises:
            RowRefused: The error of each row of the chunk.
        """
        rows_max = self.settings.trigger_rows_max.get(spec.name)
        if rows_max is not None and rows > rows_max:
            message = f"{spec.name}Trigger: System.LimitException: Too many SOQL queries: 101"
            raise RowRefused("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)

    def parent_id(self, spec: SObject, lookup: Field, key_name: str, value: Any) -> str:
        """The id of the record that a lookup names by its external id.

        Raises:
            RowRefused: No record, or more than one, has this external id.
        """
        for target in lookup.refers_to:
            rows = self.org.find(target)
            key = rows.spec.find(key_name) if rows else None
            if rows is None or key is None or not key.id_lookup:
                continue
            ids = self.matches(rows.spec, key, value)
            if len(ids) == 1:
                return ids[0]
            if ids:
                message = f"More than one record found for external id field: [{', '.join(ids)}]"
                raise RowRefused("DUPLICATE_EXTERNAL_ID", message, lookup.name)
            message = (
                f"Foreign key external ID: {value} not found for field {key.name} in entity"
                f" {target}"
            )
            raise RowRefused("INVALID_FIELD", message, lookup.name)
        raise Refused(400, "INVALID_FIELD", f"{key_name} is not an external id of {lookup.name}")

    def _record(self, spec: SObject, record_id: str) -> Record:
        id_field = spec.find("Id")
        assert id_field is not None
        check_id(id_field, record_id)
        rows = self.org.rows(spec.name)
        record = rows.get(record_id) if len(record_id) == 18 else _by_short_id(rows, record_id)
        if record is None:
            raise RowRefused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if record.get("IsDeleted"):
            raise RowRefused("ENTITY_IS_DELETED", "entity is deleted")
        return dict(record)

    def _check_writable(self, spec: SObject) -> None:
        if not spec.writable:
            message = f"entity type cannot be inserted: {spec.label or spec.name}"
            raise RowRefused("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)

    def _check_fields(self, spec: SObject, values: Mapping[str, Any], *, creating: bool) -> None:
        allowed = spec.createable if creating else spec.updateable
        fields = [spec.find(name) for name in values]
        refused = [item.name for item in fields if item is not None and not allowed(item)]
        if refused:
            message = (
                f"Unable to create/update fields: {', '.join(refused)}. Please check the security"
                " settings of this field and verify that it is read/write for your profile or"
                " permission set."
            )
            raise RowRefused("INVALID_FIELD_FOR_INSERT_UPDATE", message, *refused)

    def _check_required(self, spec: SObject, values: Mapping[str, Any]) -> None:
        missing = [
            item.name
            for item in spec.required
            if values.get(item.name) is None
            and not (item.name == "Name" and item.compound and values.get("LastName"))
        ]
        if missing:
            message = f"Required fields are missing: [{', '.join(missing)}]"
            raise RowRefused("REQUIRED_FIELD_MISSING", message, *missing)

    def _check_references(self, spec: SObject, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            item = spec.find(name)
            if item is None or item.type != "reference" or value is None:
                continue
            targets = [rows for name in item.refers_to if (rows := self.org.find(name))]
            if not targets:
                continue
            record = next((row for rows in targets if (row := rows.get(value))), None)
            if record is None:
                message = "invalid cross reference id"
                raise RowRefused("INVALID_CROSS_REFERENCE_KEY", message, item.name)
            if record.get("IsDeleted"):
                raise RowRefused("ENTITY_IS_DELETED", "entity is deleted", item.name)

    def _check_unique(
        self, spec: SObject, values: Mapping[str, Any], *, own_id: str | None
    ) -> None:
        for name, value in values.items():
            item = spec.find(name)
            if item is None or not item.unique or value is None:
                continue
            others = [other for other in self.matches(spec, item, value) if other != own_id]
            if others:
                message = (
                    f"duplicate value found: {item.name} duplicates value on record with id:"
                    f" {others[0][:15]}"
                )
                raise RowRefused("DUPLICATE_VALUE", message)

    def _check_duplicates(
        self,
        spec: SObject,
        values: Mapping[str, Any],
        options: WriteOptions,
        *,
        own_id: str | None,
    ) -> None:
        compared = self.settings.duplicate_rules.get(spec.name, ())
        fields = [item for name in compared if (item := spec.find(name))]
        if not fields or any(values.get(item.name) is None for item in fields):
            return
        same = [set(self.matches(spec, item, values[item.name])) for item in fields]
        others = set.intersection(*same) - {own_id}
        if others and (self.settings.duplicate_rules_block or not options.allow_duplicates):
            raise RowRefused("DUPLICATES_DETECTED", "Use one of these records?")

    def _check_member(self, spec: SObject, values: Mapping[str, Any]) -> None:
        """A person is a member of a campaign once; a member is a contact or a lead."""
        if spec.name != "CampaignMember":
            return
        _check_status(spec, values)
        person = next((name for name in ("ContactId", "LeadId") if values.get(name)), None)
        if person is None:
            message = "Required fields are missing: [ContactId, LeadId]"
            raise RowRefused("REQUIRED_FIELD_MISSING", message, "ContactId", "LeadId")
        item = spec.find(person)
        assert item is not None
        rows = self.org.rows(spec.name)
        for record_id in self.matches(spec, item, values[person]):
            record = rows.get(record_id)
            if record and record.get("CampaignId") == values.get("CampaignId"):
                raise RowRefused("DUPLICATE_VALUE", "Already a campaign member.")

    def _check_faults(self, spec: SObject, operation: str, values: Mapping[str, Any]) -> None:
        for fault in self.row_faults:
            if not fault.matches(spec.name, operation, values):
                continue
            if fault.times is None or self._fired[id(fault)] < fault.times:
                self._fired[id(fault)] += 1
                raise RowRefused(fault.code, fault.message, *fault.fields)

    def _publish(self, spec: SObject, values: Mapping[str, Any], options: WriteOptions) -> Saved:
        event_id = str(uuid.uuid4())
        number = f"e00x{len(self.events):011d}AAA"
        event = Write(
            sobject=spec.name,
            id=number,
            operation="publish",
            values=dict(values),
            client=options.client,
            api=options.api,
            at=self.org.now(),
        )
        self.events.append(event)
        return Saved(id=number, created=True, event=event_id)

    def _log(
        self,
        spec: SObject,
        record_id: str,
        operation: str,
        values: Mapping[str, Any],
        options: WriteOptions,
    ) -> None:
        if len(self.writes) < WRITES_KEPT_MAX:
            self.writes.append(
                Write(
                    sobject=spec.name,
                    id=record_id,
                    operation=operation,
                    values=dict(values),
                    client=options.client,
                    api=options.api,
                    at=self.org.now(),
                )
            )

    def _apply(self, spec: SObject, record_id: str, change: Callable[[], Any]) -> str:
        """Change one record, or create one if `record_id` is empty; return its id."""
        rows = self.org.rows(spec.name)
        indexes = [
            index
            for (sobject, _), index in self._indexes.items()
            if sobject == spec.name and index.version == rows.version
        ]
        before = rows.get(record_id) if record_id else None
        changed_id = record_id or str(change())
        if record_id:
            change()
        if self._undo is not None:
            self._undo.append((spec.name, changed_id, dict(before) if before else None))
        record = rows.get(changed_id)
        for index in indexes:
            index.put(changed_id, record)
            index.version = rows.version
        return changed_id

    def _index(self, spec: SObject, key: Field) -> ValueIndex:
        """The ids by value of a field, built again after the rows changed in another way."""
        rows = self.org.rows(spec.name)
        index = self._indexes.get((spec.name, key.name))
        if index is None or index.version != rows.version:
            index = self._indexes[spec.name, key.name] = ValueIndex(rows, key)
        return index


def _by_short_id(rows: Rows, record_id: str) -> Record | None:
    return rows.get(record_id + checksum(record_id))


def _check_status(spec: SObject, values: Mapping[str, Any]) -> None:
    """The status of a campaign member is one of its campaign's."""
    item = spec.find("Status")
    status = values.get("Status")
    if item is not None and status is not None and status not in item.values:
        message = f"Status: bad value for restricted picklist field: {status}"
        raise RowRefused("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, "Status")


def _person_account(spec: SObject, values: dict[str, Any], record: Record | None) -> dict[str, Any]:
    """A person account has a first and last name and no `Name`; a business account only `Name`."""
    if spec.name != "Account" or spec.find("IsPersonAccount") is None:
        return values
    person = bool(record.get("IsPersonAccount") if record else values.get("LastName"))
    wrong = ["Name"] if person else [*_PERSON_NAMES, "PersonEmail", "PersonHasOptedOutOfEmail"]
    used = [name for name in wrong if values.get(name) is not None]
    if used:
        message = f"Account: bad field names on insert/update call: {', '.join(used)}"
        raise RowRefused("INVALID_FIELD_FOR_INSERT_UPDATE", message, *used)
    return {**values, "IsPersonAccount": person} if record is None else values


def _defaults(spec: SObject) -> dict[str, Any]:
    return {item.name: item.default for item in spec.fields if item.default is not None}
