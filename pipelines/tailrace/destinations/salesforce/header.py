"""The header block `salesforce:`: what a member becomes in an org.

The block is kept as plain JSON with each run, and is read again from there to finish a run that
crashed. Field names are those of the header; `rules` resolves them against describe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, cast

from tailrace.dataclass import dataclass

Mode = Literal["upsert", "update", "insert"]
ExitKind = Literal["leave", "clear", "delete", "set", "publish"]
Api = Literal["auto", "rest", "bulk"]

CAMPAIGN_MEMBER = "CampaignMember"
PERSON_FIELDS = ("ContactId", "LeadId")
EVENT_SUFFIX = "__e"
# The group of the columns whose change writes the record.
RECORD = "record"

_MEMBER_HINT = "CampaignMember takes CampaignId with ContactId or LeadId."

# A dotted path below the block, a message and a hint.
Problem = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class FieldSource:
    """Where the value of a field comes from: a column, or a constant.

    Attributes:
        keep: A NULL leaves the field as it is; otherwise it clears the field.
    """

    column: str | None = None
    value: Any = None
    keep: bool = False


@dataclass(frozen=True)
class WriteBack:
    """A compiled block. Column names are lower-case."""

    block: Mapping[str, Any]

    @property
    def object(self) -> str:
        """The API name of the object."""
        return str(self.block["object"])

    @property
    def is_event(self) -> bool:
        """Whether the object is a platform event, which can only be published."""
        return self.object.lower().endswith(EVENT_SUFFIX)

    @property
    def is_campaign_member(self) -> bool:
        """Whether rows are matched by campaign and person instead of one external id."""
        return self.object.lower() == CAMPAIGN_MEMBER.lower() and len(self.match) == 2

    @cached_property
    def match(self) -> Mapping[str, str]:
        """The fields that identify a record, each with its column."""
        return {name: str(column).lower() for name, column in self.block.get("match", {}).items()}

    @property
    def match_field(self) -> str | None:
        """The one field that identifies a record; None for events and campaign members."""
        return next(iter(self.match)) if len(self.match) == 1 else None

    @property
    def by_id(self) -> bool:
        """Whether records are matched by their Salesforce id."""
        return (self.match_field or "").lower() == "id"

    @property
    def mode(self) -> Mode:
        """Whether records are created; the default follows from the object and the match."""
        default: Mode = "insert" if self.is_event else "update" if self.by_id else "upsert"
        mode: Mode = self.block.get("mode") or default
        return mode

    @cached_property
    def fields(self) -> Mapping[str, FieldSource]:
        """The fields that are written, sorted by name."""
        keeps = self.block.get("on_null", "clear") == "keep"
        return _sources(self.block.get("fields", {}), keeps=keeps)

    @property
    def exit_kind(self) -> ExitKind:
        """What happens to the record of a member that left."""
        on_exit = self.block.get("on_exit") or "leave"
        return cast("ExitKind", next(iter(on_exit)) if isinstance(on_exit, Mapping) else on_exit)

    @cached_property
    def exit_fields(self) -> Mapping[str, FieldSource]:
        """The fields of `on_exit: {set: …}` or `{publish: …}`."""
        on_exit = self.block.get("on_exit")
        values = next(iter(on_exit.values())) if isinstance(on_exit, Mapping) else {}
        return _sources(values, keeps=False)

    @property
    def assignment_rules(self) -> bool:
        """Whether active assignment rules may change the owner of written records."""
        return bool(self.block.get("assignment_rules", False))

    @property
    def allows_duplicates(self) -> bool:
        """Whether records are saved although a duplicate rule alerts."""
        return bool(self.block.get("duplicate_rules", "block") == "allow")

    @property
    def api(self) -> Api:
        """Which API writes the rows."""
        api: Api = self.block.get("api") or "auto"
        return api

    @property
    def takes_jobs(self) -> bool:
        """Whether the Bulk API can write the rows.

        Its jobs have no header for duplicate rules, and name an assignment rule by its id.
        """
        plain = not (self.assignment_rules or self.allows_duplicates)
        return self.api != "rest" and plain and len(self.match) == 1 and not self.is_event

    @property
    def allows_loop(self) -> bool:
        """Whether the model may read a field that it writes."""
        return bool(self.block.get("loop") == "allow")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column whose value is sent or identifies a record."""
        return tuple(dict.fromkeys((*self.match.values(), *self.value_columns, *self.exit_columns)))

    @property
    def value_columns(self) -> tuple[str, ...]:
        """The columns of the written fields."""
        columns = (source.column for source in self.fields.values())
        return tuple(dict.fromkeys(column for column in columns if column is not None))

    @property
    def exit_columns(self) -> tuple[str, ...]:
        """The columns of the fields that an exit writes."""
        columns = (source.column for source in self.exit_fields.values())
        return tuple(dict.fromkeys(column for column in columns if column is not None))

    @property
    def compared_columns(self) -> tuple[str, ...]:
        """The columns whose change writes the record again."""
        return tuple(dict.fromkeys((*self.match.values(), *self.value_columns)))

    @property
    def parent_columns(self) -> tuple[str, ...]:
        """The columns that name parents, by which rows are sorted: campaigns and lookups.

        Lookups are known by their names: `Account.Key__c`, and `AccountId` of a standard object.
        """
        match = self.match.items() if self.is_campaign_member else ()
        campaigns = [column for name, column in match if name.lower() == "campaignid"]
        lookups = [
            source.column
            for name, source in self.fields.items()
            if source.column is not None and ("." in name or name.endswith("Id"))
        ]
        return tuple(dict.fromkeys((*campaigns, *lookups)))

    def references(self) -> Iterator[tuple[str, str]]:
        """Every place in the block that names a column, as (dotted path, column)."""
        for name, column in self.match.items():
            yield f"match.{name}", column
        for name, source in self.fields.items():
            if source.column is not None:
                yield f"fields.{name}", source.column
        for name, source in self.exit_fields.items():
            if source.column is not None:
                yield f"on_exit.{self.exit_kind}.{name}", source.column

    def problems(self) -> Iterator[Problem]:
        """The contradictions in the block, which its JSON Schema cannot see."""
        yield from self._about_match()
        yield from self._about_fields()
        yield from self._about_exit()
        yield from self._about_api()

    def _about_api(self) -> Iterator[Problem]:
        if self.api == "bulk" and not self.takes_jobs:
            message = "api: bulk cannot write these rows"
            hint = (
                "The Bulk API upserts and updates by one field, without duplicate_rules: allow and"
                " assignment_rules: true. Use api: auto."
            )
            yield "api", message, hint

    def _about_match(self) -> Iterator[Problem]:
        if self.is_event:
            if self.match:
                message = "A platform event has no record to match"
                yield "match", message, "Leave match out: an event is published once a change."
            if self.mode != "insert":
                yield "mode", f"mode is {self.mode}", "Platform events are published: mode: insert."
            return
        if not self.match:
            example = "match: {Crm_Key__c: crm_key}"
            message = "match names no field that identifies a record"
            yield "match", message, f"Name an external id and its column, such as: {example}"
        elif len(self.match) > 1 and not self._matches_member():
            message = "match has several fields"
            yield "match", message, f"One external id, or Id; {_MEMBER_HINT}"
        elif self._matches_half_a_member():
            message = f"match has {self.match_field} alone, which many members have"
            yield "match", message, f"Name an external id, or both: {_MEMBER_HINT}"
        if self.is_campaign_member and self.mode == "update":
            message = "mode: update would add members too: they are matched by campaign and person"
            yield "mode", message, "Leave mode out, or match an external id field."
        if self.mode == "insert":
            message = f"mode: insert would create a second {self.object} when it is repeated"
            yield "mode", message, "Use mode: upsert with an external id. Insert is for events."
        if self.by_id and self.mode == "upsert":
            message = "mode: upsert needs an external id, and match has the record's Id"
            yield "mode", message, "Use mode: update, or match an external id field."

    def _matches_half_a_member(self) -> bool:
        parts = {"campaignid", *(name.lower() for name in PERSON_FIELDS)}
        is_member = self.object.lower() == CAMPAIGN_MEMBER.lower()
        return is_member and (self.match_field or "").lower() in parts

    def _matches_member(self) -> bool:
        names = {name.lower() for name in self.match}
        people = {name.lower() for name in PERSON_FIELDS}
        return (
            self.object.lower() == CAMPAIGN_MEMBER.lower()
            and len(names) == 2
            and "campaignid" in names
            and bool(names & people)
        )

    def _about_fields(self) -> Iterator[Problem]:
        if not self.fields and not self.is_campaign_member:
            yield "fields", "fields is empty: nothing would be written", "Name at least one field."
        matched = {name.lower() for name in self.match}
        yield from _written_twice("fields", self.fields)
        for name in self.fields:
            if written_field(name).lower() in matched:
                message = f"{name} identifies the record, and is written as well"
                yield f"fields.{name}", message, "Leave it out of fields: match writes it."
            if name.lower() == "id":
                yield f"fields.{name}", "The Id of a record cannot be written", "Use match: {Id: …}"
            if name.count(".") > 1:
                message = f"{name} goes over two relationships"
                yield f"fields.{name}", message, "Name the parent's external id: Account.Key__c"

    def _about_exit(self) -> Iterator[Problem]:
        kind = self.exit_kind
        if self.is_event and kind not in ("leave", "publish"):
            message = f"on_exit: {kind} needs a record, and {self.object} is a platform event"
            yield "on_exit", message, "Use leave, or {publish: {…}} to publish another event."
        if not self.is_event and kind == "publish":
            message = f"on_exit: publish needs a platform event, and {self.object} is an object"
            yield "on_exit", message, "Use leave, clear, delete or set."
        if kind == "clear" and not self.value_columns:
            message = "on_exit: clear clears the mapped columns' fields, and there are none"
            yield "on_exit", message, "Use {set: {…}} to reset constants, or leave."
        if kind in ("set", "publish") and not self.exit_fields:
            message = f"on_exit: {{{kind}: …}} is empty: nothing would be written"
            yield "on_exit", message, "Name at least one field, or use leave."
        yield from _written_twice(f"on_exit.{kind}", self.exit_fields)
        for name in self.exit_fields:
            if name.lower() == "id":
                message = "The Id of a record cannot be written"
                yield f"on_exit.{kind}.{name}", message, "Leave it out."
            if written_field(name).lower() in {matched.lower() for matched in self.match}:
                message = f"{name} identifies the record, and would be changed on exit"
                yield f"on_exit.{kind}.{name}", message, "Leave it out."


def written_field(name: str) -> str:
    """The field that a name in `fields` writes, as Salesforce names the fields of lookups.

    >>> [written_field(name) for name in ("Tier__c", "Account.Key__c", "Plan__r.Key__c")]
    ['Tier__c', 'AccountId', 'Plan__c']
    """
    relationship, _, key = name.partition(".")
    if not key:
        return name
    custom = relationship.lower().endswith("__r")
    return f"{relationship[:-3]}__c" if custom else f"{relationship}Id"


def _written_twice(path: str, names: Iterable[str]) -> Iterator[Problem]:
    """The names that write a field which another name writes."""
    seen: dict[str, str] = {}
    for name in names:
        field = written_field(name)
        other = seen.setdefault(field.lower(), name)
        if other == name:
            continue
        if name.lower() == other.lower():
            message, hint = f"{name} and {other} are one field", "Salesforce ignores case. "
        else:
            message, hint = f"{name} and {other} both write {field}", ""
        yield f"{path}.{name}", message, f"{hint}Leave one of them out."


def _sources(written: Mapping[str, Any], *, keeps: bool) -> dict[str, FieldSource]:
    sources: dict[str, FieldSource] = {}
    for name in sorted(written):
        entry = written[name]
        if isinstance(entry, str):
            sources[name] = FieldSource(column=entry.lower(), keep=keeps)
        elif "column" in entry:
            keep = keeps if entry.get("on_null") is None else entry["on_null"] == "keep"
            sources[name] = FieldSource(column=str(entry["column"]).lower(), keep=keep)
        else:
            sources[name] = FieldSource(value=entry.get("value"))
    return sources
