"""Checks a header block against describe: unknown names, rights, keys, and what cannot be cleared.

Field names in the header may have any case; results use the spelling of describe, because a Bulk
job with another spelling returns no results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tailrace.audience.audience import Audience
from tailrace.config.project import did_you_mean
from tailrace.dataclass import dataclass
from tailrace.destinations.salesforce.describe import WritableField, WritableObject
from tailrace.destinations.salesforce.header import FieldSource, Problem, WriteBack, written_field
from tailrace.destinations.salesforce.values import ValueRefused, json_of
from tailrace.errors import HeaderInvalid, ModelError

# A plan knows what the last extract has described.
_EXTRACT_HINT = "`tailrace extract` reads the rights and the fields again."
RIGHTS_HINT = (
    f"Give the integration user edit access to the field, or leave it out. {_EXTRACT_HINT}"
)
UNKNOWN_HINT = f"Correct the name, or give the user access to it. {_EXTRACT_HINT}"
# Values of a picklist that a hint lists.
VALUES_LISTED_MAX = 12
# Fields that Salesforce sets by itself, or that are made of others, whatever the user's rights.
SYSTEM_FIELDS = frozenset(
    {
        *("createddate", "createdbyid", "lastmodifieddate", "lastmodifiedbyid", "systemmodstamp"),
        *("isdeleted", "masterrecordid", "lastactivitydate", "lastvieweddate"),
        *("lastreferenceddate", "isconverted", "converteddate", "photourl", "isarchived"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One written field, resolved.

    Attributes:
        path: The keys of the JSON record: the field, or relationship and external id.
        cleared_as: The key that clears it: a lookup is cleared by its id field.
        field: What describe says; for a lookup, about the parent's external id if it is known.
        lookup: The lookup field, for a parent's external id.
    """

    path: tuple[str, ...]
    cleared_as: str
    field: WritableField | None
    lookup: WritableField | None = None

    @property
    def name(self) -> str:
        """The name as the header of a CSV file has it."""
        return ".".join(self.path)


def header_errors(audience: Audience, described: Mapping[str, WritableObject]) -> list[ModelError]:
    """What describe refuses in an audience's header; nothing if its object is not described.

    Args:
        audience: The audience at its destination.
        described: Described objects by name in lower case; parents may be missing.
    """
    assert audience.block is not None
    write_back = WriteBack(audience.block.values)
    sobject = described.get(write_back.object.lower())
    if sobject is None:
        return []
    return [
        HeaderInvalid(
            message, hint=hint, file=audience.file, line=audience.line(f"salesforce.{path}")
        )
        for path, message, hint in problems(write_back, sobject, described)
    ]


def problems(
    write_back: WriteBack, described: WritableObject, parents: Mapping[str, WritableObject]
) -> Iterator[Problem]:
    """What describe refuses in a block.

    Args:
        described: The object that is written.
        parents: The described parents, by name in lower case, for lookups by external id.
    """
    yield from _about_object(write_back, described)
    for name in write_back.match:
        yield from _about_match(write_back, described, name)
    creates = write_back.mode != "update"
    for name, source in write_back.fields.items():
        path = f"fields.{name}"
        yield from _about_field(
            described, parents, name, path, source, creates=creates, updates=not write_back.is_event
        )
    if write_back.exit_kind in ("set", "publish"):
        for name, source in write_back.exit_fields.items():
            path = f"on_exit.{write_back.exit_kind}.{name}"
            event = write_back.is_event
            yield from _about_field(
                described, parents, name, path, source, creates=event, updates=not event
            )
    yield from _about_clearing(write_back, described)


def target(
    name: str, described: WritableObject | None, parents: Mapping[str, WritableObject]
) -> Target:
    """A field of the header, resolved; without a describe, as Salesforce names such fields."""
    relationship, _, key = name.partition(".")
    if not key:
        field = described.find(name) if described else None
        spelled = field.name if field else name
        return Target(path=(spelled,), cleared_as=spelled, field=field)
    lookup = described.find_lookup(relationship) if described else None
    if lookup is None:
        return Target(path=(relationship, key), cleared_as=written_field(name), field=None)
    field = next(
        (found for parent in _parents(lookup, parents) if (found := parent.find(key))), None
    )
    spelled = field.name if field else key
    path = (lookup.relationship or relationship, spelled)
    return Target(path=path, cleared_as=lookup.name, field=field, lookup=lookup)


def _parents(
    lookup: WritableField, parents: Mapping[str, WritableObject]
) -> Iterator[WritableObject]:
    return (parents[name.lower()] for name in lookup.parents if name.lower() in parents)


def _about_object(write_back: WriteBack, described: WritableObject) -> Iterator[Problem]:
    needs = {"createable": write_back.mode != "update", "updateable": not write_back.is_event}
    if write_back.exit_kind == "delete":
        needs["deletable"] = True
    words = {"createable": "create", "updateable": "update", "deletable": "delete"}
    for right, needed in needs.items():
        if needed and not getattr(described, right):
            message = f"The user may not {words[right]} records of {described.name}"
            hint = f"Give the integration user this right, or write elsewhere. {_EXTRACT_HINT}"
            yield "object", message, hint


def _about_match(write_back: WriteBack, described: WritableObject, name: str) -> Iterator[Problem]:
    path = f"match.{name}"
    field = described.find(name)
    if field is None:
        yield path, _unknown(described, name), UNKNOWN_HINT
    elif write_back.is_campaign_member:
        if not field.createable:
            yield path, f"The user may not write {described.name}.{field.name}", RIGHTS_HINT
    elif field.type != "id" and not field.key:
        message = f"{described.name}.{field.name} is not an external id"
        keys = [entry.name for entry in described.fields.values() if entry.key]
        hint = f"External ids are: {', '.join(keys)}." if keys else "Match by Id, or add one."
        yield path, message, hint
    elif write_back.mode == "upsert" and not field.createable:
        message = f"The user may not write {described.name}.{field.name}, by which upsert creates"
        hint = "Give the integration user edit access to the field, or use mode: update."
        yield path, message, f"{hint} {_EXTRACT_HINT}"


def _about_field(
    described: WritableObject,
    parents: Mapping[str, WritableObject],
    name: str,
    path: str,
    source: FieldSource,
    *,
    creates: bool,
    updates: bool,
) -> Iterator[Problem]:
    relationship, _, key = name.partition(".")
    resolved = described.find_lookup(relationship) if key else described.find(name)
    if resolved is None:
        message = _no_lookup(described, relationship) if key else _unknown(described, name)
        yield path, message, UNKNOWN_HINT
        return
    if key:
        yield from _about_lookup(resolved, parents, key, path)
    if resolved.calculated:
        message = f"{described.name}.{resolved.name} is calculated by Salesforce"
        yield path, message, "Leave it out, or write the fields that it is calculated from."
    elif resolved.name.lower() in SYSTEM_FIELDS and not resolved.updateable:
        message = f"{described.name}.{resolved.name} is set by Salesforce itself"
        yield path, message, "Leave it out."
    elif not (resolved.updateable or resolved.createable) and (
        parts := described.parts_of(resolved.name)
    ):
        message = f"{described.name}.{resolved.name} is made of other fields"
        yield path, message, f"Write its parts instead: {', '.join(parts)}."
    elif updates and not resolved.updateable and not (creates and resolved.createable):
        yield path, f"The user may not write {described.name}.{resolved.name}", RIGHTS_HINT
    elif updates and not resolved.updateable:
        message = f"{described.name}.{resolved.name} can only be set when a record is created"
        yield path, message, "Leave it out: a repeated write would be refused."
    elif creates and not resolved.createable:
        message = f"{described.name}.{resolved.name} cannot be set when a record is created"
        yield path, message, "Leave it out, or use mode: update."
    if source.column is None:
        yield from _about_constant(described, resolved, path, source)


def _about_lookup(
    lookup: WritableField, parents: Mapping[str, WritableObject], key: str, path: str
) -> Iterator[Problem]:
    if len(lookup.parents) > 1:
        message = f"{lookup.name} refers to several objects ({', '.join(lookup.parents)})"
        yield path, message, f"Write the parent's id into {lookup.name} instead."
        return
    for parent in _parents(lookup, parents):
        field = parent.find(key)
        if field is None:
            yield path, _unknown(parent, key), "Name an external id of the parent."
        elif not field.key:
            message = f"{parent.name}.{field.name} is not an external id"
            yield path, message, "Name an external id of the parent."


def _about_constant(
    described: WritableObject, field: WritableField, path: str, source: FieldSource
) -> Iterator[Problem]:
    try:
        value = json_of(source.value, field)
    except ValueRefused as refused:
        listed = ", ".join(field.values[:VALUES_LISTED_MAX])
        hint = f"Its values are: {listed}." if field.restricted else "Correct the constant."
        yield path, f"The constant for {described.name}.{field.name} {refused}", hint
        return
    if value is None and field.type == "boolean":
        message = f"{described.name}.{field.name} is a checkbox and cannot be empty"
        yield path, message, "Use true or false."
    elif value is None and not field.nillable and not field.defaulted:
        message = f"{described.name}.{field.name} is required and cannot be cleared"
        yield path, message, "Give it a value."


def _about_clearing(write_back: WriteBack, described: WritableObject) -> Iterator[Problem]:
    if write_back.exit_kind != "clear":
        return
    for name, source in write_back.fields.items():
        relationship, _, key = name.partition(".")
        field = described.find_lookup(relationship) if key else described.find(name)
        if source.column is None or field is None or field.type == "boolean":
            continue
        if not field.nillable:
            message = f"on_exit: clear cannot clear {described.name}.{field.name}: it is required"
            hint = "Name what to reset instead: on_exit: {set: {Field__c: {value: null}}}"
            yield "on_exit", message, hint


def _no_lookup(described: WritableObject, relationship: str) -> str:
    """The message for an unknown relationship, with the name that may be meant."""
    field = described.find(relationship)
    relationships = [entry.relationship for entry in described.fields.values()]
    if field is not None and field.relationship:
        meant = f' Did you mean "{field.relationship}"?'
    else:
        meant = did_you_mean(relationship, [name for name in relationships if name])
    return f"{described.name} has no lookup {relationship}.{meant}"


def _unknown(described: WritableObject, name: str) -> str:
    meant = did_you_mean(name, described.fields)
    return f"{described.name} has no field {name} that this user may see.{meant}"
