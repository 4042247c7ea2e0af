"""Compares what a test expects with what its model gives, and lists the differences.

Only the columns and keys that the test names are compared, in any order of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from tailrace.dataclass import dataclass
from tailrace.model_tests.file import Row

Problem = Literal["missing", "unexpected", "different"]

# Numbers are compared as JSON carries them: with the precision of a double.
_RELATIVE_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference.

    Attributes:
        of: What was compared: `rows`, `members` or `calls`.
        problem: `missing`: expected, and not there. `unexpected`: there, and not expected.
            `different`: there, with another value.
        row: What identifies the row or call, as text.
        column: The column, or the path in the call; only if `different`.
    """

    of: str
    problem: Problem
    row: str
    column: str = ""
    expected: Any = None
    actual: Any = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "of": self.of,
            "problem": self.problem,
            "row": self.row,
            "column": self.column,
            "expected": self.expected,
            "actual": self.actual,
        }


def compare_rows(
    of: str, expected: Sequence[Row], actual: Sequence[Row], *, key: Sequence[str]
) -> list[Difference]:
    """The differences between rows, which are matched by their key.

    Without a key they are matched by the first column that the test names.
    """
    by_key = bool(key) and all(set(key) <= row.keys() for row in expected)
    names = tuple(key) if by_key else tuple(next((iter(row) for row in expected if row), ()))[:1]
    return list(_Matching(of, names).differences(expected, actual))


def compare_calls(expected: Sequence[Row], actual: Sequence[Row]) -> list[Difference]:
    """The differences between calls. A call that names fewer keys matches any that has them."""
    return list(_Matching("calls", ("type", "event", "userId")).differences(expected, actual))


class _Matching:
    """Pairs each expected row with the actual one that is most like it."""

    def __init__(self, of: str, names: Sequence[str]) -> None:
        self.of = of
        self.names = names

    def differences(self, expected: Sequence[Row], actual: Sequence[Row]) -> Iterator[Difference]:
        left = list(range(len(actual)))
        pairs: dict[int, int] = {}
        # Exact matches first, so that a similar row does not take another one's place.
        for exact in (True, False):
            for place, row in enumerate(expected):
                if place in pairs:
                    continue
                found = self._nearest(row, [actual[i] for i in left], exact=exact)
                if found is not None:
                    pairs[place] = left.pop(found)
        for place, row in enumerate(expected):
            if place not in pairs:
                yield Difference(of=self.of, problem="missing", row=self._named(row))
                continue
            for path, wanted, given in _unequal(row, actual[pairs[place]], ()):
                yield Difference(
                    of=self.of,
                    problem="different",
                    row=self._named(row),
                    column=".".join(path),
                    expected=wanted,
                    actual=given,
                )
        for i in left:
            yield Difference(of=self.of, problem="unexpected", row=self._named(actual[i]))

    def _nearest(self, row: Row, candidates: Sequence[Row], *, exact: bool) -> int | None:
        """The place of the candidate with the fewest unequal values, among those of its names."""
        best: tuple[int, int] | None = None
        for place, candidate in enumerate(candidates):
            unequal = sum(1 for _ in _unequal(row, candidate, ()))
            if exact and unequal:
                continue
            named = [name for name in self.names if name in row]
            if not exact and (
                not named or any(not equal(row[name], candidate.get(name)) for name in named)
            ):
                continue
            if best is None or unequal < best[0]:
                best = unequal, place
        return None if best is None else best[1]

    def _named(self, row: Row) -> str:
        named = [name for name in self.names if row.get(name) is not None] or list(row)
        return ", ".join(f"{name} {_shown(row[name])}" for name in named)


def _unequal(
    expected: Mapping[str, Any], actual: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    for name, wanted in expected.items():
        given = actual.get(name)
        if isinstance(wanted, dict) and isinstance(given, dict):
            yield from _unequal(wanted, given, (*path, name))
        elif not equal(wanted, given):
            yield (*path, name), wanted, given


def equal(expected: Any, actual: Any) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, and a time is the same in every notation.

    >>> equal("2026-01-31T09:00:00Z", "2026-01-31T09:00:00.000Z"), equal(True, 1), equal(1, 1.0)
    (True, False, True)
    """
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        return math.isclose(expected, actual, rel_tol=_RELATIVE_TOLERANCE)
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(equal, expected, actual))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            equal(value, actual[name]) for name, value in expected.items()
        )
    if isinstance(expected, str) and isinstance(actual, str) and expected != actual:
        one, other = _time(expected), _time(actual)
        return one is not None and one == other
    return bool(expected == actual)


def _time(text: str) -> datetime | None:
    if len(text) < len("2026-01-31T09:00Z") or not text[:4].isdigit():
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None


def _shown(value: Any) -> str:
    return "NULL" if value is None else str(value)
