"""What an audience is: what it is keyed by, and which of its columns are sent as what.

An `Audience` is made from a header, travels into the ledger as plain JSON with each run, and
comes back from there to finish a run that died. It knows columns by name only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, Literal

from tailrace.audience.blocks import DEFAULT_TYPE, Block
from tailrace.audience.event_log import EventLog, log_references
from tailrace.audience.ledger_keys import DEFAULT_DESTINATION, ledger_key
from tailrace.dataclass import dataclass

Initial = Literal["send", "skip"]
Payload = Literal["plain", "engage"]
OnDefinitionChange = Literal["send", "hold", "rebaseline"]
OnMappingChange = Literal["send", "hold", "absorb"]

# Messages depend on these and on the ledger key; owner, tags, guards and the like do not matter.
DELIVERED = (
    "key",
    "user_id",
    "anonymous_id",
    "external_ids",
    "track",
    "identify",
    "group",
    "payload",
    "context",
    "integrations",
    "consent",
    "retiring",
)


@dataclass(frozen=True, kw_only=True)
class Field:
    """A mapped value: a column of the SELECT, or a constant."""

    column: str | None = None
    value: Any = None
    hash: Literal["sha256"] | None = None
    normalize: Literal["email", "phone", "name", "none"] | None = None
    mask: bool = False
    drop_if_null: bool = False


@dataclass(frozen=True, kw_only=True)
class Track:
    """The track events of an audience; a name that is None is not sent."""

    entered: str | None
    changed: str | None = None
    exited: str | None
    properties: Mapping[str, Field] = field(default_factory=dict)
    timestamp: str | None = None
    message_id: str | None = None
    initial: Initial = "send"


@dataclass(frozen=True, kw_only=True)
class Identify:
    """The traits that identify calls carry."""

    traits: Mapping[str, Field] = field(default_factory=dict)
    membership_trait: str | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """The group that a member belongs to, by the column with its id."""

    group_id: str
    traits: Mapping[str, Field] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Calls:
    """The calls of an audience at one destination, where they differ from those of the others."""

    track: Track | None = None
    identify: Identify | None = None
    group: Group | None = None


@dataclass(frozen=True, kw_only=True)
class Consent:
    """The columns that suppress members without consent, and the consent categories."""

    suppress_when: str | None = None
    categories: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """At most so many members, or such a share of them; exactly one is set."""

    rows: int | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What holds an audience. A name in `explicit` was written in the header, null included."""

    min_rows: int | None = None
    max_exited: Limit | None = None
    max_entered: Limit | None = None
    max_changed: Limit | None = None
    explicit: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Audience:
    """An audience's header. Column names are lower-case."""

    name: str
    description: str = ""
    owner: str | None = None
    tags: tuple[str, ...] = ()
    key: tuple[str, ...]
    user_id: str | None = None
    anonymous_id: str | None = None
    external_ids: Mapping[str, str] = field(default_factory=dict)
    track: Track | None = None
    identify: Identify | None = None
    group: Group | None = None
    payload: Payload = "plain"
    context: Mapping[str, Any] = field(default_factory=dict)
    integrations: Mapping[str, Any] = field(default_factory=dict)
    consent: Consent | None = None
    guards: Guards = field(default_factory=Guards)
    # None if the header does not set it; see `plan/policy`.
    on_definition_change: OnDefinitionChange | None = None
    on_mapping_change: OnMappingChange | None = None
    on_new_column: OnMappingChange | None = None
    destination: str | None = None
    # Set if the header names several; each of the `syncs` has one of them as `destination`.
    destinations: tuple[str, ...] = ()
    # Set for an event model, whose rows are events that enter once.
    log: EventLog | None = None
    # What the audience becomes at its destination, if that has another type than the default one.
    block: Block | None = None
    # The blocks and the transformed calls of its destinations, by section; empty in a sync.
    blocks: Mapping[str, Block] = field(default_factory=dict)
    calls: Mapping[str, Calls] = field(default_factory=dict)
    # Set only by a retirement, which sends the audience's trait as null.
    retiring: bool = False
    file: str | None = field(default=None, compare=False)
    header_lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def destination_name(self) -> str:
        """The section of the configuration that the audience goes to."""
        return self.destination or DEFAULT_DESTINATION

    @property
    def destination_type(self) -> str:
        """The type of its destination."""
        return self.block.type if self.block else DEFAULT_TYPE

    @property
    def ledger_key(self) -> str:
        """The ledger's key for the audience at its destination; part of table names."""
        return ledger_key(self.name, self.destination_name)

    @property
    def identity_column(self) -> str | None:
        """The column that identifies a person: the user ID, else the anonymous ID.

        Changes with the same value are sent in order. A block may have another such column.
        """
        return self.block.identity if self.block else self.user_id or self.anonymous_id

    @property
    def counts_users(self) -> bool:
        """Whether its members are users of the destination, which may bill them."""
        return self.block is None and self.identity_column is not None

    @property
    def person_columns(self) -> tuple[str, ...]:
        """The columns by which a person is looked up: the key and the ids."""
        return _distinct(
            *self.key,
            self.user_id,
            self.anonymous_id,
            *self.external_ids.values(),
            self.identity_column,
        )

    def syncs(self) -> tuple[Audience, ...]:
        """The audience once for each destination, each with its own ledger key."""
        return self._syncs

    @cached_property
    def _syncs(self) -> tuple[Audience, ...]:
        return tuple(map(self.for_destination, self.destinations or (self.destination_name,)))

    def for_destination(self, destination: str) -> Audience:
        """The audience at one destination, with what it becomes there and nothing else."""
        section = None if destination == DEFAULT_DESTINATION else destination
        here = replace(self, destinations=(), destination=section, blocks={}, calls={})
        block = self.blocks.get(destination, self.block)
        if block is None:
            own = self.calls.get(destination)
            if own is not None:
                here = replace(here, track=own.track, identify=own.identify, group=own.group)
            return here
        return replace(
            here,
            block=block,
            user_id=None,
            anonymous_id=None,
            external_ids={},
            track=None,
            identify=None,
            group=None,
            payload="plain",
            context={},
            integrations={},
            consent=Consent(suppress_when=self.suppress_when) if self.suppress_when else None,
        )

    def with_columns(self, columns: Sequence[str]) -> Audience:
        """The audience with the columns of its SELECT, which a block may send all of."""
        block = self.block
        if block is None or not block.every_column:
            return self
        sent = tuple(column for column in columns if column not in block.excluded)
        kinds = dict.fromkeys(block.message_columns, sent)
        return replace(self, block=replace(block, columns=sent, message_columns=kinds))

    @property
    def suppress_when(self) -> str | None:
        """The boolean column whose true rows are not members."""
        return self.consent.suppress_when if self.consent else None

    @property
    def sort_columns(self) -> tuple[str, ...]:
        """The columns by which a large delivery is sorted; empty if any order will do."""
        return self.block.sort_columns if self.block else ()

    @cached_property
    def mapped_columns(self) -> tuple[str, ...]:
        """Every column whose value is sent, or decides an id or a time."""
        log = (self.log.timestamp, self.log.event_column) if self.log else ()
        if self.block is not None:
            return _distinct(*self.block.columns, self.block.identity, *log)
        track = self.track
        return _distinct(
            *self._id_columns(),
            *log,
            *_columns(track.properties if track else {}),
            *(() if track is None else (track.timestamp, track.message_id)),
            *_columns(self.identify.traits if self.identify else {}),
            *self._group_columns(),
            *(self.consent.categories.values() if self.consent else ()),
        )

    @cached_property
    def compared_columns(self) -> tuple[str, ...]:
        """The mapped columns whose change makes a member changed.

        A time or a messageId alone says nothing new, unless it is sent as a value as well. An event
        that was sent does not change.
        """
        if self.log is not None:
            return ()
        groups = self.column_groups.values()
        wanted = {column for columns in groups for column in columns}
        wanted |= set(() if self.block else self._id_columns())
        return tuple(c for c in self.mapped_columns if c in wanted - set(self.key))

    @cached_property
    def column_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The columns whose change repeats the messages of a kind, by the name of the group."""
        if self.block is not None:
            return self.block.message_columns
        return {
            "track": self.track_columns,
            "identify": self.identify_columns,
            "group": self.group_columns,
            "consent": tuple(self.consent.categories.values()) if self.consent else (),
        }

    @property
    def condition_columns(self) -> tuple[str, ...]:
        """The columns without whose values some kind of message is left out."""
        return (self.group.group_id,) if self.group else ()

    @property
    def message_id_column(self) -> str | None:
        """A column with message ids of its own, for the messages of entering and changing."""
        track = self.track
        if track is None or (track.entered or track.changed) is None:
            return None
        return track.message_id

    @property
    def skips_initial(self) -> bool:
        """Whether members of the first delivery enter without an event."""
        return self.track is not None and self.track.initial == "skip"

    @property
    def track_columns(self) -> tuple[str, ...]:
        """The columns whose change repeats the track event."""
        if self.track is None:
            return ()
        return _distinct(*_columns(self.track.properties), *self._id_columns())

    @property
    def identify_columns(self) -> tuple[str, ...]:
        """The columns whose change repeats the identify call."""
        if self.identify is None:
            return ()
        return _distinct(*_columns(self.identify.traits), *self._id_columns())

    @property
    def group_columns(self) -> tuple[str, ...]:
        """The columns whose change repeats the group call."""
        if self.group is None:
            return ()
        return _distinct(*self._group_columns(), *self._id_columns())

    @cached_property
    def mapping_fingerprint(self) -> str:
        """Equal for two headers that make the same calls of the same rows."""
        delivered = {name: _set(getattr(self, name)) for name in DELIVERED}
        delivered["name"] = self.ledger_key
        if self.block is not None:
            # The columns follow from the values, or are those of the SELECT.
            delivered["block"] = [self.block.type, self.block.values, self.block.identity]
        text = json.dumps(delivered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def mapping(self) -> dict[str, Any]:
        """The audience as JSON values, enough to restore it; the line marks stay behind."""
        # What is left out below is not copied first: a header has more lines than values.
        plain = asdict(replace(self, header_lines={}, blocks={}, calls={}))
        unset = [name for name in ("block", "log") if getattr(self, name) is None]
        for name in ("header_lines", "blocks", "calls", *unset):
            del plain[name]
        plain["key"], plain["tags"] = list(self.key), list(self.tags)
        plain["destinations"] = list(self.destinations)
        plain["guards"]["explicit"] = sorted(self.guards.explicit)
        return plain

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Audience:
        """The audience that `mapping()` was made of; what it does not hold has its default."""
        values = _known(cls, mapping)
        # Older mappings hold the ledger key as `name`, and as `called` the name if it differs.
        values["name"] = mapping.get("called") or mapping["name"]
        values["key"], values["tags"] = tuple(mapping["key"]), tuple(mapping.get("tags", ()))
        values["destinations"] = tuple(mapping.get("destinations", ()))
        block = mapping.get("block")
        values["block"] = Block.from_mapping(block) if block else None
        log = mapping.get("log")
        values["log"] = EventLog(**_known(EventLog, log)) if log else None
        for name, shape in (("track", Track), ("identify", Identify), ("group", Group)):
            values[name] = _restored_calls(shape, mapping.get(name))
        consent = mapping.get("consent")
        values["consent"] = Consent(**_known(Consent, consent)) if consent else None
        values["guards"] = _restored_guards(mapping.get("guards", {}))
        return cls(**values)

    def references(self) -> tuple[tuple[str, str], ...]:
        """Every place in the header that names a column, as (dotted path, column)."""
        return tuple(dict.fromkeys(_references(self)))

    def line(self, path: str) -> int | None:
        """The line of a dotted path in the header, or of what is around it."""
        while path and path not in self.header_lines:
            path = path.rpartition(".")[0]
        return self.header_lines.get(path)

    def _id_columns(self) -> tuple[str, ...]:
        return _distinct(self.user_id, self.anonymous_id, *self.external_ids.values())

    def _group_columns(self) -> tuple[str, ...]:
        return (self.group.group_id, *_columns(self.group.traits)) if self.group else ()


def _set(value: Any) -> Any:
    """A value without what has its default, so that a new option changes no fingerprint."""
    if is_dataclass(value):
        named = {one.name: getattr(value, one.name) for one in fields(value)}
        return {name: _set(inner) for name, inner in named.items() if inner not in (None, False)}
    if isinstance(value, Mapping):
        return {name: _set(inner) for name, inner in value.items()}
    return value


def _known(shape: type, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a recorded mapping that this version's shape has."""
    return {one.name: mapping[one.name] for one in fields(shape) if one.name in mapping}


def _restored_calls(shape: type, mapping: Mapping[str, Any] | None) -> Any:
    if mapping is None:
        return None
    values = _known(shape, mapping)
    for name in ("properties", "traits"):
        if name in values:
            values[name] = {key: Field(**_known(Field, v)) for key, v in values[name].items()}
    return shape(**values)


def _restored_guards(mapping: Mapping[str, Any]) -> Guards:
    values = _known(Guards, mapping)
    for name in ("max_exited", "max_entered", "max_changed"):
        if values.get(name) is not None:
            values[name] = Limit(**values[name])
    return Guards(**{**values, "explicit": frozenset(mapping.get("explicit", ()))})


def _distinct(*columns: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column.lower() for column in columns if column is not None))


def _columns(mapped: Mapping[str, Field]) -> Iterator[str]:
    return (value.column for value in mapped.values() if value.column is not None)


def _references(audience: Audience) -> Iterator[tuple[str, str]]:
    named: list[tuple[str, str | None]] = [("key", column) for column in audience.key]
    named += [("user_id", audience.user_id), ("anonymous_id", audience.anonymous_id)]
    named += _under("external_ids", audience.external_ids)
    if audience.log and audience.track:
        named += [*log_references(audience.log)]
        named += _under("properties", audience.track.properties)
    elif audience.track:
        named += _under("track.properties", audience.track.properties)
        named += [("track.timestamp", audience.track.timestamp)]
        named += [("track.message_id", audience.track.message_id)]
    if audience.identify:
        named += _under("identify.traits", audience.identify.traits)
    if audience.group:
        named += [("group.group_id", audience.group.group_id)]
        named += _under("group.traits", audience.group.traits)
    if audience.consent:
        named += [("consent.suppress_when", audience.consent.suppress_when)]
        named += _under("consent.categories", audience.consent.categories)
    for block in (audience.block, *audience.blocks.values()):
        named += block.references.items() if block else ()
    return ((path, column) for path, column in named if column is not None)


def _under(
    path: str, mapped: Mapping[str, Field] | Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    for name, value in mapped.items():
        yield f"{path}.{name}", value.column if isinstance(value, Field) else value
