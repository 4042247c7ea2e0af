"""Compiles the block `webhook:` of a header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.audience.blocks import Block, Transformation, refuse_unknown_names
from tailrace.audience.yaml import Header, raise_all
from tailrace.destinations.messages import OPS
from tailrace.destinations.webhook.body import (
    Problem,
    Template,
    columns_in,
    names_in,
    read_template,
    transformed,
)
from tailrace.errors import HeaderInvalid

NAME = "webhook"
KIND = "element"
MEMBERS = ("id", "op", "audience", "key", "at", "values", "previous")
FORMATS = ("array", "single", "ndjson")


def compile_block(header: Header, section: str, transformation: Transformation) -> Block:
    """The block, with what the header drops or renames for one section.

    Raises:
        HeaderInvalid: Something in it is wrong; with file and line.
        SeveralModelErrors: Several things are.
    """
    written: Mapping[str, Any] = header.values[NAME]
    if transformation.track:
        raise HeaderInvalid(
            f"destinations.{section}.track: a webhook has no event names",
            hint="Give the name as a constant in webhook.body, such as: {event: {value: vip}}",
            file=header.file,
            line=header.line(("destinations", section, "track")),
        )
    values = {
        "body": None,
        "send": [op for op in OPS if op in (written.get("send") or OPS)],
        "batch": written.get("batch") or FORMATS[0],
    }
    if written.get("body") is None:
        return _of_every_column(values, section, transformation)
    problems: list[Problem] = []
    path = (NAME, "body")
    template = read_template(written["body"], path, problems)
    if "object" not in template:
        hint = "Name what is sent, such as: {email: email}"
        problems.append((path, "webhook.body must be an object", hint))
    raise_all(
        [
            HeaderInvalid(message, hint=hint, file=header.file, line=header.line(place))
            for place, message, hint in problems
        ]
    )
    refuse_unknown_names(header, section, transformation, names_in(template))
    sent = transformed(template, transformation)
    drop = transformation.drop
    kept = [n for n in names_in(template) if not any(f"{n}.".startswith(f"{d}.") for d in drop)]
    if len(kept) != len(list(names_in(sent))):
        raise HeaderInvalid(
            f"destinations.{section}.rename: two values would be sent under one name",
            hint="Give one of them another name.",
            file=header.file,
            line=header.line(("destinations", section, "rename")),
        )
    return _of_template(values, template, sent)


def _of_template(values: dict[str, Any], template: Template, sent: Template) -> Block:
    references = dict(columns_in(template, (NAME, "body")))
    columns = tuple(dict.fromkeys(column for _, column in columns_in(sent, ())))
    names = {step for name in names_in(sent) for step in name.split(".")}
    return Block(
        type=NAME,
        values=values | {"body": sent},
        references=references,
        columns=columns,
        message_columns={KIND: columns},
        names=tuple(sorted(names.union(MEMBERS))),
        plain_names=("op",) if "op" not in sent["object"] else (),
    )


def _of_every_column(values: dict[str, Any], section: str, transformation: Transformation) -> Block:
    """A block whose elements have all columns of the SELECT, but for those that are dropped."""
    drop = tuple(name.lower() for name in transformation.drop)
    rename = {name.lower(): new for name, new in transformation.rename.items()}
    place = f"destinations.{section}"
    references = {f"{place}.drop.{index}": name for index, name in enumerate(drop)}
    references |= {f"{place}.rename.{name}": name.lower() for name in transformation.rename}
    return Block(
        type=NAME,
        values=values | {"drop": list(drop), "rename": rename},
        references=references,
        message_columns={KIND: ()},
        every_column=True,
        excluded=drop,
        names=tuple(sorted({*MEMBERS, *rename.values()})),
        plain_names=("op", "audience"),
    )
