"""An audience's header as people read it: one line for each subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tailrace.audience.audience import Audience, Field, Limit


def header_lines(audience: Audience) -> tuple[tuple[str, str], ...]:
    """Pairs of a subject and a sentence, without what has its default."""
    return tuple(_lines(audience))


def _lines(audience: Audience) -> Iterator[tuple[str, str]]:
    yield "A member is", f"one {' and '.join(audience.key)}"
    ids = [("user id", audience.user_id), ("anonymous id", audience.anonymous_id)]
    ids += [(f"external id {name}", column) for name, column in audience.external_ids.items()]
    known = [f"{name} from {column}" for name, column in ids if column]
    if known:
        yield "Identified by", ", ".join(known)
    if audience.block:
        mapped = [f"{path} from {column}" for path, column in audience.block.references.items()]
        yield f"Sent as {audience.block.type}", ", ".join(mapped) or "all columns"
    yield from _track_lines(audience)
    if audience.identify:
        traits = _fields(audience.identify.traits)
        if audience.identify.membership_trait:
            traits.append(f"{audience.identify.membership_trait} (true for members)")
        yield "Traits", ", ".join(traits)
    if audience.group:
        yield "Group", f"by {audience.group.group_id}: {', '.join(_fields(audience.group.traits))}"
    if audience.consent and audience.consent.suppress_when:
        yield "Left out", f"rows where {audience.consent.suppress_when} is true"
    if audience.consent and audience.consent.categories:
        pairs = (f"{name} from {column}" for name, column in audience.consent.categories.items())
        yield "Consent categories", ", ".join(pairs)
    yield "Held when", _guards(audience)
    if audience.payload == "engage":
        yield "Payload", "as Segment Engage sends it"


def _track_lines(audience: Audience) -> Iterator[tuple[str, str]]:
    track = audience.track
    if track is None:
        return
    events = (("enters", track.entered), ("changes", track.changed), ("leaves", track.exited))
    named = [f"“{event}” when a member {moment}" for moment, event in events if event]
    yield "Events", ", ".join(named) or "none"
    if track.properties:
        yield "Properties", ", ".join(_fields(track.properties))
    if track.initial == "skip":
        yield "First result", "recorded, not sent as events"
    if track.timestamp:
        yield "Event time", f"from {track.timestamp}"


def _fields(mapped: Mapping[str, Field]) -> list[str]:
    return [_field(name, field) for name, field in mapped.items()]


def _field(name: str, field: Field) -> str:
    """`email from e_mail (sha256)`; the column is left out where it has the same name."""
    if field.column is None:
        return f"{name} = {field.value}"
    source = "" if field.column == name else f" from {field.column}"
    marks = [mark for mark in (field.hash, "masked" if field.mask else None) if mark]
    return f"{name}{source}" + (f" ({', '.join(marks)})" if marks else "")


def _guards(audience: Audience) -> str:
    guards = audience.guards
    parts = [f"fewer than {guards.min_rows:,} rows"] if guards.min_rows else []
    for name, verb in (
        ("max_exited", "leave"),
        ("max_entered", "enter"),
        ("max_changed", "change"),
    ):
        limit: Limit | None = getattr(guards, name)
        if limit is not None:
            amount = f"{limit.share:.0%}" if limit.share is not None else f"{limit.rows or 0:,}"
            parts.append(f"more than {amount} {verb}")
    if guards.max_exited is None and "max_exited" not in guards.explicit:
        parts.append("more than 20% and more than 100 members leave (the default)")
    return "; ".join(parts) or "nothing"
