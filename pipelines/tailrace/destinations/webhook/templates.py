"""Elements as templates that the warehouse fills in for a whole page of rows.

Both ways write the same bytes: `outbox/rendered_page` for rows whose values it can write as the
encoder does, and `WebhookMapper.messages` for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tailrace.destinations.families import FAMILIES, columns_of, is_text
from tailrace.destinations.protocol import MessageTemplates
from tailrace.destinations.webhook.body import Body
from tailrace.encoding.values import Encoder
from tailrace.warehouse.statements import Column

# The statement renders up to three messages per row; an element is the last of them.
KINDS = ("", "", "element")


def element_templates(
    body: Body,
    *,
    ops: Iterable[str],
    wrapped: bool,
    with_previous: bool,
    encoder: Encoder,
    columns: Sequence[Column],
    keys: Sequence[Column],
    changes: bool,
) -> MessageTemplates | None:
    """The templates of an audience's elements; None if its rows have to be mapped one by one.

    Args:
        body: The compiled template.
        ops: The operations that are sent.
        wrapped: The object is the member `values` of an element.
        with_previous: Elements of changes have `previous`.
        encoder: Writes names.
        columns: The columns of the outbox without its keys.
        keys: The key's columns.
        changes: The run has changes, for which the old values are read too.
    """
    members = body.flat_columns
    if not body.is_plain or len(keys) != 1 or not is_text(keys[0].type):
        return None
    if changes and members is None:
        return None
    old = [Column(f"old__{column.name}", column.type) for column in columns] if changes else []
    stored = (*keys, *columns, *old)
    families = {name: columns_of(stored, name) for name in FAMILIES}
    types = {column.name: column.type for column in stored}
    if {column.name for family in families.values() for column in family} != types.keys():
        return None
    labelled, end = _labelled(body, types, wrapped=wrapped)
    compared = _compared(members or {}, types, keys) if changes else ()
    return MessageTemplates(
        statement="outbox/rendered_page",
        kinds=KINDS,
        identity=keys[0],
        lists={
            **families,
            **dict.fromkeys(("left_text", "identify_text", "group_text", "group_id"), ()),
            **dict.fromkeys(("moment", "ids_held", "traits_held", "group_held"), ()),
            **dict.fromkeys(("entered_text", "exited_text", "changed_text"), labelled),
            "keys": tuple(keys),
            "held": stored,
            "track_held": compared,
            "previous_text": _previous(members or {}, compared, encoder) if with_previous else (),
        },
        ends={
            **dict.fromkeys(("left_end", "identify_end", "group_end")),
            **{f"{op}_end": end if op in ops else None for op in ("entered", "exited")},
            "changed_end": _changed_end(end, with_previous) if "changed" in ops else None,
            "previous_start": _previous_start(end) if with_previous else "",
            "initial": True,
        },
    )


def _labelled(
    body: Body, types: Mapping[str, str], *, wrapped: bool
) -> tuple[tuple[Column, ...], str]:
    """The columns of the object, each with the text before it, and the text after the last."""
    columns: list[Column] = []
    before = b'{"values":' if wrapped else b""
    for part in body.text():
        if isinstance(part, Column):
            columns.append(Column(part.name, types[part.name], before.decode()))
            before = b""
        else:
            before += part
    return tuple(columns), before.decode() + ("}" if wrapped else "")


def _compared(
    members: Mapping[str, str], types: Mapping[str, str], keys: Sequence[Column]
) -> tuple[Column, ...]:
    """The columns with an old value; a key never changes."""
    names = {name for name in members.values() if name != keys[0].name}
    return tuple(Column(name, types[name]) for name in sorted(names))


def _previous(
    members: Mapping[str, str], compared: Sequence[Column], encoder: Encoder
) -> tuple[Column, ...]:
    """The columns of `previous`, each with its name in the element."""
    types = {column.name: column.type for column in compared}
    return tuple(
        Column(column, types[column], (encoder.dumps(name) + b":").decode())
        for name, column in members.items()
        if column in types
    )


def _previous_start(end: str) -> str:
    """The text between the content and the old values: `previous` goes before the last brace."""
    return end.removesuffix("}") + ',"previous":{'


def _changed_end(end: str, with_previous: bool) -> str:
    return "}}" if with_previous else end
