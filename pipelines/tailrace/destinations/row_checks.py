"""What a destination knows about rows before a request: what would be refused, what is there.

The warehouse finds the rows that may be refused; the mapper decides about each of them, as it does
in a run. So the number in a plan is the number of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from tailrace.dataclass import dataclass
from tailrace.destinations.messages import Message
from tailrace.warehouse.statements import Column

# The lists of `plan/suspects`, each with the condition that it stands for there.
SUSPECT_LISTS = ("required", "long_texts", "picklists", "numbers", "days", "moments")
# The lists of `plan/mark_shared`: texts that are compared without their case, and others.
UNIQUE_LISTS = ("unique_folded", "unique_exact")
# The lists that identify landed records.
KEY_LISTS = ("keys_folded", "keys_exact", "keys_by_id")
# The lists of `plan/mark_current`.
CURRENT_LISTS = (
    *KEY_LISTS,
    *("texts", "numbers", "flags", "days"),
    *("kept_texts", "kept_numbers", "kept_flags", "kept_days"),
    *("constant_texts", "constant_flags", "constant_numbers", "constant_nulls"),
)


@dataclass(frozen=True, kw_only=True)
class LandedRecords:
    """The landed records that transitions write to.

    Attributes:
        object: The API name of the object.
        lists: The column lists of `plan/mark_current`: names are those of the model, pairs those of
            the landed table; constants have the name of the landed column and a label.
    """

    object: str
    lists: Mapping[str, tuple[Column, ...]]


@dataclass(frozen=True, kw_only=True)
class CreatedRecords:
    """Rows that create a record, because no landed record has their key.

    Attributes:
        landed: The object, with the lists that identify its records.
        refusal: Why the receiver refuses to create a record by this message; empty if it does not.
    """

    landed: LandedRecords
    refusal: Callable[[Message], str]


@dataclass(frozen=True, kw_only=True)
class RowChecks:
    """Checks of an audience's rows without a call.

    Attributes:
        suspects: The column lists of `plan/suspects`.
        every_row: Some value can only be checked by the mapper, so that it sees every row.
        unique: The column lists of `plan/mark_shared`: the values that only one row may have.
        landed: Where a record may already have the values; None if they cannot be compared.
        created: What is refused of rows that create a record; None if nothing is.
    """

    suspects: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    every_row: bool = False
    unique: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    landed: LandedRecords | None = None
    created: CreatedRecords | None = None
