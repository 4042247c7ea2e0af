"""Blocks of a header that a destination type compiles: `webhook:`, for example.

The keys `track`, `identify` and `group` belong to the default type and are fields of `Audience`.
Every other type has one block of its own name. This package knows the shape of a compiled block;
the types are given to it, so that it imports none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

from tailrace.dataclass import dataclass
from tailrace.errors import HeaderInvalid

if TYPE_CHECKING:
    from tailrace.audience.yaml import Header

DEFAULT_TYPE = "segment"
# The kinds of messages whose changes a plan counts apart; see `sql/plan/counts.sql`.
MESSAGE_KINDS_MAX = 4


@dataclass(frozen=True, kw_only=True)
class Transformation:
    """`destinations: {NAME: …}` in a header: what differs on the way to one destination.

    Attributes:
        drop: Names that are not sent.
        rename: Other names, by the name in the header.
        track: Other event names, by operation; for types with events.
    """

    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    track: Mapping[str, str | bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Block:
    """What a member becomes at one destination, compiled from a block of the header.

    Attributes:
        type: The destination type, the only one that reads `values`.
        values: The compiled block as JSON values. They decide everything that is sent.
        references: The places in the header that name a column, with that column.
        columns: The columns whose values are sent, or decide how.
        message_columns: The columns of each kind of message: a change in one of them repeats the
            messages of that kind. At most MESSAGE_KINDS_MAX kinds.
        identity: A column whose value two changes may share; such changes are sent in order, and
            never at the same time. None if every change is independent.
        sort_columns: Columns by which the rows of a large delivery are sorted.
        every_column: `columns` are all columns of the SELECT, which are known once it is bound,
            without those of `excluded`.
        names: Names in messages that the header gives, and that masked messages may show.
        plain_names: Names in messages whose values are the header's own.
    """

    type: str
    values: Mapping[str, Any]
    references: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    message_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    identity: str | None = None
    every_column: bool = False
    sort_columns: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    plain_names: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Block:
        """The block that `dataclasses.asdict` has turned into JSON."""
        known = {name: mapping[name] for name in cls.__dataclass_fields__ if name in mapping}
        for name in ("columns", "sort_columns", "excluded", "names", "plain_names"):
            known[name] = tuple(known.get(name, ()))
        known["message_columns"] = {
            kind: tuple(columns) for kind, columns in known.get("message_columns", {}).items()
        }
        return cls(**known)


class BlockTypes(Protocol):
    """The destination types of a project, as far as headers need them."""

    def type_of(self, section: str) -> str:
        """The type of `[destination.SECTION]`."""
        ...

    def compile(
        self, type_name: str, header: Header, section: str, transformation: Transformation
    ) -> Block:
        """Compile the block `type_name` of a header for one section of the configuration.

        The header has passed its JSON Schema.

        Raises:
            HeaderInvalid: Something in it is wrong; with file and line.
            SeveralModelErrors: Several things are.
        """
        ...


class DefaultType:
    """A project whose every destination has the default type."""

    def type_of(self, section: str) -> str:
        return DEFAULT_TYPE

    def compile(
        self, type_name: str, header: Header, section: str, transformation: Transformation
    ) -> Block:
        raise HeaderInvalid(
            f"{type_name}: no destination of this type is known here",
            file=header.file,
            line=header.line((type_name,)),
        )


def refuse_unknown_names(
    header: Header, section: str, transformation: Transformation, names: Iterable[str]
) -> None:
    """Refuse a transformation of names that are not sent, and new names that two values have.

    Args:
        header: The header, for the line.
        section: The destination.
        transformation: What the header says about it.
        names: The names that are sent.

    Raises:
        HeaderInvalid: With the line of the first such name.
    """
    known = list(dict.fromkeys(names))
    for key, mentioned in (("drop", transformation.drop), ("rename", transformation.rename)):
        for place, name in enumerate(mentioned):
            if name in known:
                continue
            step = str(place) if key == "drop" else name
            message = f'destinations.{section}.{key}: nothing is sent as "{name}"'
            from tailrace.audience.yaml import suggest

            raise HeaderInvalid(
                suggest(message, name, known),
                hint=f"The names are: {', '.join(known)}",
                file=header.file,
                line=header.line(("destinations", section, key, step)),
            )
    for place, name in enumerate(transformation.drop):
        if name in transformation.rename:
            raise HeaderInvalid(
                f'destinations.{section}: "{name}" is dropped and renamed',
                hint="Leave it out of drop or of rename.",
                file=header.file,
                line=header.line(("destinations", section, "drop", str(place))),
            )
    kept = [name for name in known if name not in transformation.drop]
    renamed = [transformation.rename.get(name, name) for name in kept]
    for old, new in transformation.rename.items():
        if old in kept and renamed.count(new) > 1:
            raise HeaderInvalid(
                f'destinations.{section}.rename: two values would be sent as "{new}"',
                file=header.file,
                line=header.line(("destinations", section, "rename", old)),
            )
