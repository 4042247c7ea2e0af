"""Makes an audience of its header, and checks the keys that depend on each other.

The JSON Schema checks each key alone. Mappings are sorted by name, so that their order in a header
has no effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from tailrace.audience.audience import (
    Audience,
    Calls,
    Consent,
    Field,
    Group,
    Guards,
    Identify,
    Limit,
    Payload,
    Track,
)
from tailrace.audience.blocks import (
    DEFAULT_TYPE,
    Block,
    BlockTypes,
    DefaultType,
    Transformation,
    refuse_unknown_names,
)
from tailrace.audience.event_log import event_log
from tailrace.audience.yaml import Header, check, raise_all, suggest
from tailrace.errors import HeaderInvalid, ModelError

# The keys of a header that belong to a destination type, each with a block of its name.
BLOCKS = ("salesforce", "webhook")
CALLS = ("track", "identify", "group")

PLAIN_EVENTS = ("Segment Entered", "Segment Exited")
ENGAGE_EVENTS = ("Audience Entered", "Audience Exited")

# The engine writes these itself; a mapped one would be overwritten, or overwrite.
RESERVED_PROPERTIES = frozenset({"audience_key", "previous"})
RESERVED_CONTEXT = {"externalIds": "external_ids", "consent": "consent.categories"}


def read_audience(
    header: Header, *, default_name: str, types: BlockTypes | None = None
) -> Audience:
    """Make an audience of a header, and report all errors in it at once.

    Args:
        header: The header as it was written.
        default_name: The audience's name if the header gives none.
        types: The destination types of the project, which compile their blocks.

    Raises:
        HeaderInvalid: One thing is wrong; its file and line are given.
        SeveralModelErrors: Several things are.
    """
    raise_all(check(header, "audience"))
    values = {name: value for name, value in header.values.items() if value is not None}
    payload: Payload = values.get("payload", "plain")
    audience = Audience(
        name=values.get("audience", default_name),
        description=values.get("description", ""),
        owner=values.get("owner"),
        tags=tuple(values.get("tags", ())),
        key=_names(values["key"]),
        user_id=_lower(values.get("user_id")),
        anonymous_id=_lower(values.get("anonymous_id")),
        external_ids=_lowered(values.get("external_ids", {})),
        track=_track(values.get("track", False), payload),
        identify=_identify(values.get("identify")),
        group=_group(values.get("group")),
        payload=payload,
        context=_canonical(values.get("context", {})),
        integrations=_canonical(values.get("integrations", {})),
        consent=_consent(values.get("consent")),
        guards=_guards(values.get("guards", {})),
        on_definition_change=values.get("on_definition_change"),
        on_mapping_change=values.get("on_mapping_change"),
        on_new_column=values.get("on_new_column"),
        file=header.file,
        header_lines={".".join(path): line for path, line in header.lines.items()},
    )
    audience = _with_destinations(audience, header, values, types or DefaultType())
    errors = list(_contradictions(audience))
    for section in audience.calls:
        # A transformation may give names that contradict each other.
        errors += _contradictions(audience.for_destination(section))
    raise_all(_distinct(errors))
    return audience


def read_event_model(
    header: Header, *, default_name: str, types: BlockTypes | None = None
) -> Audience:
    """Make an audience of the header of an event model; see `event_log`.

    Raises:
        HeaderInvalid: One thing is wrong; its file and line are given.
        SeveralModelErrors: Several things are.
    """
    raise_all(check(header, "events"))
    values = {name: value for name, value in header.values.items() if value is not None}
    log = event_log(header, values)
    name = values["event"] if log.event_column is None else ""
    audience = Audience(
        name=values.get("events", default_name),
        description=values.get("description", ""),
        owner=values.get("owner"),
        tags=tuple(values.get("tags", ())),
        key=_names(values["key"]),
        user_id=_lower(values.get("user_id")),
        anonymous_id=_lower(values.get("anonymous_id")),
        external_ids=_lowered(values.get("external_ids", {})),
        track=Track(
            entered=name,
            changed=None,
            exited=None,
            properties=_fields(values.get("properties", {})),
            timestamp=log.timestamp,
        ),
        context=_canonical(values.get("context", {})),
        integrations=_canonical(values.get("integrations", {})),
        consent=_consent(values.get("consent")),
        guards=_guards(values.get("guards", {})),
        log=log,
        file=header.file,
        header_lines={".".join(path): line for path, line in header.lines.items()},
    )
    written = {"track": True, **values} if _goes_to_segment(values) else values
    audience = _with_destinations(audience, header, written, types or DefaultType())
    if _goes_to_segment(values) and not (audience.user_id or audience.anonymous_id):
        raise HeaderInvalid(
            "Neither user_id nor anonymous_id is there, and Segment takes no call without one",
            hint="Name the column with the user's id, such as: user_id: contact_id",
            file=header.file,
            line=header.line(("key",)),
        )
    return audience


def _goes_to_segment(values: Mapping[str, Any]) -> bool:
    """Whether an event model has calls: without a block, or with the ids that calls need."""
    ids = values.get("user_id") or values.get("anonymous_id")
    return bool(ids) or not any(name in values for name in BLOCKS)


def _distinct(errors: Sequence[ModelError]) -> list[ModelError]:
    """Each error once: a block may be compiled for several destinations."""
    flat = [entry for error in errors for entry in error.flattened()]
    return list({(entry.line, entry.message): cast(ModelError, entry) for entry in flat}.values())


def _with_destinations(
    audience: Audience, header: Header, values: Mapping[str, Any], types: BlockTypes
) -> Audience:
    """The audience with its destinations, and what it becomes at each of them.

    Raises:
        HeaderInvalid: A destination's type has no block in the header, or a block is wrong.
        SeveralModelErrors: Several of these.
    """
    errors: list[ModelError] = []
    sections = _sections(header, values, types, errors)
    transformations = {
        name: Transformation(
            drop=tuple(written.get("drop") or ()),
            rename=written.get("rename") or {},
            track=written.get("track") or {},
        )
        for name, written in (values.get("destinations") or {}).items()
    }
    for name in transformations:
        if name not in sections:
            message = f'destinations.{name}: the audience is not sent to "{name}"'
            errors.append(
                HeaderInvalid(
                    suggest(message, name, sections),
                    hint=f"It is sent to: {', '.join(sections)}",
                    file=header.file,
                    line=header.line(("destinations", name)),
                )
            )
    blocks: dict[str, Block] = {}
    calls: dict[str, Calls] = {}
    for section, type_name in sections.items():
        transformation = transformations.get(section, Transformation())
        try:
            if type_name != DEFAULT_TYPE:
                blocks[section] = types.compile(type_name, header, section, transformation)
            elif section in transformations:
                calls[section] = _transformed(audience, header, section, transformation)
        except ModelError as error:
            errors.append(error)
    raise_all(_distinct(errors))
    names = tuple(sections)
    one = names[0] if len(names) == 1 else None
    return replace(
        audience,
        destination=None if one == DEFAULT_TYPE else one,
        destinations=names if len(names) > 1 else (),
        blocks=blocks,
        calls=calls,
    )


def _sections(
    header: Header, values: Mapping[str, Any], types: BlockTypes, errors: list[ModelError]
) -> dict[str, str]:
    """The sections that the audience goes to, each with its type."""
    has_calls = any(values.get(name, False) is not False for name in CALLS)
    blocks = [name for name in BLOCKS if name in values]
    written = values.get("destination")
    if written is None:
        named = [*([DEFAULT_TYPE] if has_calls or not blocks else []), *blocks]
    else:
        named = [written] if isinstance(written, str) else list(written)
    sections = {section: types.type_of(section) for section in named}
    for place, (section, type_name) in enumerate(sections.items()):
        has_block = has_calls if type_name == DEFAULT_TYPE else type_name in blocks
        if has_block or not (has_calls or blocks):
            continue
        wanted = ", ".join(CALLS) if type_name == DEFAULT_TYPE else type_name
        path = ("destination", str(place)) if isinstance(written, list) else ("destination",)
        message = f"[destination.{section}] is of type {type_name}, and the header has no {wanted}"
        errors.append(
            HeaderInvalid(
                suggest(message, section, blocks),
                hint=f"Add {wanted}: to the header, or set type under [destination.{section}].",
                file=header.file,
                line=header.line(path if written is not None else (section,)),
            )
        )
    raise_all(errors)
    return sections


def _transformed(
    audience: Audience, header: Header, section: str, transformation: Transformation
) -> Calls:
    """The calls of an audience as they go to one destination.

    Raises:
        HeaderInvalid: A transformation names what the calls do not have.
    """
    track, identify, group = audience.track, audience.identify, audience.group
    names = [
        *(track.properties if track else ()),
        *(identify.traits if identify else ()),
        *(group.traits if group else ()),
    ]
    refuse_unknown_names(header, section, transformation, names)
    if transformation.track and track is None:
        raise HeaderInvalid(
            f"destinations.{section}.track: the header has no track",
            file=header.file,
            line=header.line(("destinations", section, "track")),
        )
    if track is not None:
        defaults = ENGAGE_EVENTS if audience.payload == "engage" else PLAIN_EVENTS
        events: dict[str, Any] = {
            op: _event(name, getattr(track, op) or defaults[op == "exited"])
            for op, name in transformation.track.items()
        }
        track = replace(track, properties=_renamed(track.properties, transformation), **events)
    if identify is not None:
        identify = replace(identify, traits=_renamed(identify.traits, transformation))
    if group is not None:
        group = replace(group, traits=_renamed(group.traits, transformation))
    return Calls(track=track, identify=identify, group=group)


def _renamed(mapped: Mapping[str, Field], transformation: Transformation) -> dict[str, Field]:
    """The mapping without the dropped names, under the new ones, sorted by name."""
    renamed = {
        transformation.rename.get(name, name): field
        for name, field in mapped.items()
        if name not in transformation.drop
    }
    return {name: renamed[name] for name in sorted(renamed)}


def _track(written: Any, payload: Payload) -> Track | None:
    if written is False:
        return None
    values: Mapping[str, Any] = {} if written is True else written
    entered, exited = ENGAGE_EVENTS if payload == "engage" else PLAIN_EVENTS
    return Track(
        entered=_event(values.get("entered", True), entered),
        changed=_event(values.get("changed", False), ""),
        exited=_event(values.get("exited", True), exited),
        properties=_fields(values.get("properties", {})),
        timestamp=_lower(values.get("timestamp")),
        message_id=_lower(values.get("message_id")),
        initial=values.get("initial", "send"),
    )


def _event(written: str | bool, default: str) -> str | None:
    if isinstance(written, str):
        return written
    return default if written else None


def _identify(written: Any) -> Identify | None:
    if written is None:
        return None
    traits = _fields(written.get("traits", {}))
    return Identify(traits=traits, membership_trait=written.get("membership_trait"))


def _group(written: Any) -> Group | None:
    if written is None:
        return None
    traits = _fields(written.get("traits", {}))
    return Group(group_id=written["group_id"].lower(), traits=traits)


def _consent(written: Any) -> Consent | None:
    if written is None:
        return None
    return Consent(
        suppress_when=_lower(written.get("suppress_when")),
        categories=_lowered(written.get("categories", {})),
    )


def _guards(written: Mapping[str, Any]) -> Guards:
    return Guards(
        min_rows=None if written.get("min_rows") is None else int(written["min_rows"]),
        max_exited=_limit(written.get("max_exited")),
        max_entered=_limit(written.get("max_entered")),
        max_changed=_limit(written.get("max_changed")),
        explicit=frozenset(written),
    )


def _limit(written: Any) -> Limit | None:
    if written is None:
        return None
    if isinstance(written, str):
        return Limit(share=float(written.removesuffix("%")) / 100)
    return Limit(rows=int(written))


def _fields(written: Mapping[str, Any]) -> dict[str, Field]:
    made: dict[str, Field] = {}
    for name in sorted(written):
        value = {"column": written[name]} if isinstance(written[name], str) else written[name]
        made[name] = Field(
            **{
                **value,
                "column": _lower(value.get("column")),
                "value": _canonical(value.get("value")),
            }
        )
    return made


def _lowered(written: Mapping[str, str]) -> dict[str, str]:
    return {name: written[name].lower() for name in sorted(written)}


def _lower(column: str | None) -> str | None:
    return None if column is None else column.lower()


def _names(written: str | Sequence[str]) -> tuple[str, ...]:
    columns = [written] if isinstance(written, str) else written
    return tuple(dict.fromkeys(column.lower() for column in columns))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _canonical(value[name]) for name in sorted(value)}
    return [_canonical(item) for item in value] if isinstance(value, list) else value


def _contradictions(audience: Audience) -> Iterator[ModelError]:
    """Errors for keys that require or exclude each other."""
    found = (*_about_calls(audience), *_about_names(audience), *_about_fields(audience))
    for path, message, hint in found:
        yield HeaderInvalid(message, hint=hint, file=audience.file, line=audience.line(path))


def _about_calls(audience: Audience) -> Iterator[tuple[str, str, str]]:
    track, identify = audience.track, audience.identify
    if not (track or identify or audience.group):
        if not (audience.blocks or audience.block):
            hint = "Add track: true, or identify:, group: or webhook:."
            yield "key", "The audience sends nothing", hint
    elif not (audience.user_id or audience.anonymous_id):
        yield (
            "key",
            "Neither user_id nor anonymous_id is there, and Segment takes no call without one",
            "Name the column with the user's id, such as: user_id: contact_id",
        )
    if track and not (track.entered or track.changed or track.exited):
        yield "track", "track sends nothing", "Leave track out, or name an event."
    if audience.payload == "engage" and not (track or identify):
        yield (
            "payload",
            "payload: engage needs track or identify to carry the membership",
            "Add track: true, or use payload: plain.",
        )


def _about_names(audience: Audience) -> Iterator[tuple[str, str, str]]:
    """Names that the engine writes itself: a mapped one would overwrite, or be overwritten."""
    engage = audience.payload == "engage"
    own = {*RESERVED_PROPERTIES, *([audience.name] if engage else [])}
    # A dotted name is a path: `previous.x` is written into `previous`.
    properties = audience.track.properties if audience.track else {}
    for name in sorted(name for name in properties if name in own or name.split(".")[0] in own):
        message = f'The property "{name}" is written by Tailrace itself'
        yield f"track.properties.{name}", message, "Leave it out, or give it another name."
    if audience.identify:
        membership = audience.identify.membership_trait or (audience.name if engage else None)
        for name in audience.identify.traits:
            if membership is not None and membership in (name, name.split(".")[0]):
                message = f'The trait "{membership}" says who is a member, and is mapped as well'
                yield f"identify.traits.{name}", message, "Give one of the two another name."
    for name, instead in RESERVED_CONTEXT.items():
        if name in audience.context:
            yield f"context.{name}", f"context.{name} is made from {instead}", f"Use {instead}."


def _about_fields(audience: Audience) -> Iterator[tuple[str, str, str]]:
    for path, mapped in (
        ("track.properties", audience.track.properties if audience.track else {}),
        ("identify.traits", audience.identify.traits if audience.identify else {}),
        ("group.traits", audience.group.traits if audience.group else {}),
    ):
        for name in mapped:
            steps = name.split(".")
            outer = next(
                (o for n in range(1, len(steps)) if (o := ".".join(steps[:n])) in mapped), None
            )
            if outer is not None and all(steps):
                message = f"{path}.{name} lies inside {path}.{outer}, which is a value of its own"
                yield f"{path}.{name}", message, "Give one of the two another name."
        for name, field in mapped.items():
            if field.hash and field.mask:
                inner = f"{path}.{name}"
                yield inner, f"{inner} has both hash and mask", "Choose one of them."
