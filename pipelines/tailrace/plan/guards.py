"""Guards: limits on how much an audience may change, and checks of the data that it reads.

A held audience sends nothing, and the others continue. Each guard reports what it counted and its
limit, and can be allowed once by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from typing import NamedTuple

from tailrace.audience.audience import Audience, Guards, Limit
from tailrace.dataclass import dataclass

EXITED_SHARE_MAX = 0.2
EXITED_FLOOR_ROWS = 100
# Edits that a policy holds, and what members would do because of them.
CHANGES: Mapping[str, str] = {
    "definition": "change because the SQL was edited",
    "mapping": "be sent again because the mapping changed",
    "new_column": "change by a column that is mapped for the first time",
}
# All guards, by the names that `--allow` takes.
NAMES = (
    "upstream",
    "keys",
    "max_exited",
    "max_entered",
    "max_changed",
    "min_rows",
    "first_run",
    *CHANGES,
)


@dataclass(frozen=True, kw_only=True)
class GuardInput:
    """What the guards of one audience look at, in members.

    `bad_keys` are masked samples of the quarantined rows' keys; `shared_message_ids` of these rows
    are quarantined because their messageId is also another row's. `on_hold` maps each kind of edit
    whose action is `hold` (definition, mapping, new_column) to the members that it affects.
    """

    size_before: int
    size_after: int
    entered: int
    changed: int
    exited: int
    quarantined: int
    upstream: tuple[str, ...]
    # Whether only declared sources are the reason, and no Salesforce object.
    upstream_is_declared: bool = False
    bad_keys: tuple[str, ...] = ()
    shared_message_ids: int = 0
    shared_message_id_keys: tuple[str, ...] = ()
    on_hold: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The result of one guard. `allowed`: it would hold the audience, and was allowed once.

    `message` and `hint` are empty below the limit; the hint tells how to fix the cause first, and
    how to send all the same last.
    """

    name: str
    seen: int
    limit: int
    held: bool
    allowed: bool
    message: str
    hint: str = ""

    def as_dict(self) -> dict[str, object]:
        """One entry of `guards` in a `--json` result."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


class _Check(NamedTuple):
    name: str
    seen: int
    limit: int
    over: bool
    message: str


def judge(
    audience: Audience, guard_input: GuardInput, *, allowed: frozenset[str]
) -> tuple[Guard, ...]:
    """The result of every guard of an audience; `allowed` names those that may pass once."""
    return tuple(
        Guard(
            name=check.name,
            seen=check.seen,
            limit=check.limit,
            held=check.over and check.name not in allowed,
            allowed=check.over and check.name in allowed,
            message=check.message if check.over else "",
            hint=_hint(audience, check.name, guard_input) if check.over else "",
        )
        for check in _checks(audience, guard_input)
    )


def _checks(audience: Audience, data: GuardInput) -> Iterator[_Check]:
    upstream = "its data cannot be trusted today: " + "; ".join(data.upstream)
    yield _Check("upstream", len(data.upstream), 0, bool(data.upstream), upstream)
    yield _Check("keys", data.quarantined, 0, data.quarantined > 0, _about_keys(data))
    limits = _limits(audience.guards, data.size_before)
    for name, count in (
        ("max_exited", data.exited),
        ("max_entered", data.entered),
        ("max_changed", data.changed),
    ):
        if name in limits:
            verb = name.removeprefix("max_")
            message = f"{count} of {data.size_before} members would have {verb}"
            yield _Check(name, count, limits[name], count > limits[name], message)
    rows_min = audience.guards.min_rows
    if rows_min is not None:
        message = f"the audience would have {data.size_after} members"
        yield _Check("min_rows", data.size_after, rows_min, data.size_after < rows_min, message)
    for name, count in data.on_hold.items():
        yield _Check(name, count, 0, count > 0, f"{count} members would {CHANGES[name]}")


def judge_first_run(
    audience: Audience, members: int, *, limit: int, allowed: frozenset[str]
) -> Guard:
    """The guard on the first run into an empty ledger, which may be a ledger that was lost.

    Args:
        audience: The audience that it holds.
        members: The members that the run would send, over all of its audiences.
        limit: `first_run_members_max`; 0 removes the limit.
        allowed: The audience's guards that may pass once.
    """
    over = 0 < limit < members
    message = f"the ledger is empty, and this run would send {members:,} members"
    return Guard(
        name="first_run",
        seen=members,
        limit=limit,
        held=over and "first_run" not in allowed,
        allowed=over and "first_run" in allowed,
        message=message if over else "",
        hint=_hint(audience, "first_run") if over else "",
    )


def _about_keys(data: GuardInput) -> str:
    """How many rows have a bad key or the messageId of another row, and which keys."""
    shared, parts = data.shared_message_ids, []
    if bad := data.quarantined - shared:
        rows = f"{bad} rows have" if bad != 1 else "1 row has"
        keys = f": {', '.join(data.bad_keys)}" if data.bad_keys else ""
        parts.append(f"{rows} a NULL or duplicate key{keys}")
    if shared:
        rows = f"{shared} rows have" if shared != 1 else "1 row has"
        keys = ", ".join(data.shared_message_id_keys)
        parts.append(f"{rows} the messageId of another row: {keys}")
    return "; ".join(parts)


def _hint(audience: Audience, guard: str, data: GuardInput | None = None) -> str:
    allow = f"--allow {audience.name}:{guard}"
    if guard == "upstream" and data is not None and data.upstream_is_declared:
        return (
            "Run the job that loads the table, such as dbt, then run again. If the table changed "
            f"on purpose, correct models/sources.yml. To send all the same: {allow}"
        )
    if guard == "keys":
        key = ", ".join(audience.key)
        unique = f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY …) = 1"
        return (
            f"Give one row per key in the SELECT, for example with {unique}. To send the audience "
            f"without these rows: {allow}"
        )
    if guard == "upstream":
        return (
            "Check that the integration user may see the object and its fields, then run: "
            "tailrace extract. If a field changed its type, load its object again: "
            f"tailrace extract --full-refresh -s OBJECT. To send all the same: {allow}"
        )
    if guard == "first_run":
        return (
            "If members were delivered before, the ledger was lost: restore it from a backup. To "
            f"record the members without sending them: tailrace reset {audience.name} --no-send. "
            f"To send them all: {allow}"
        )
    return f"Review with: tailrace plan --show 5 -s {audience.name}. To send all the same: {allow}"


def _limits(guards: Guards, size: int) -> dict[str, int]:
    limits = {
        name: _rows(limit, size)
        for name, limit in (
            ("max_exited", guards.max_exited),
            ("max_entered", guards.max_entered),
            ("max_changed", guards.max_changed),
        )
        # A percentage limit is undefined for an empty audience, so the first run skips it.
        if limit is not None and (size or limit.rows is not None)
    }
    if "max_exited" not in guards.explicit:
        # The default guard is for accidents; a small audience may well lose half of its members.
        limits["max_exited"] = max(int(size * EXITED_SHARE_MAX), EXITED_FLOOR_ROWS)
    return limits


def _rows(limit: Limit, size: int) -> int:
    return limit.rows if limit.rows is not None else int(size * (limit.share or 0.0) + 1e-9)
