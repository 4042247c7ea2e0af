"""What a test of a model expects, compared with what is there."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.model_tests.comparison import compare_calls, compare_rows, equal

VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["a", "b", ""]))
ROWS = st.lists(
    st.fixed_dictionaries({"id": st.uuids().map(str), "n": VALUES, "t": VALUES}),
    max_size=6,
    unique_by=lambda row: row["id"],
)


@given(rows=ROWS, data=st.data())
def test_equal_rows_in_any_order_have_no_differences(rows: Any, data: Any) -> None:
    shuffled = data.draw(st.permutations(rows))
    assert compare_rows("members", rows, shuffled, key=("id",)) == []
    without_key = [{"n": row["n"], "t": row["t"]} for row in rows]
    assert compare_rows("rows", without_key, shuffled, key=()) == []


@given(rows=ROWS.filter(bool), data=st.data())
def test_one_change_is_one_difference(rows: Any, data: Any) -> None:
    changed = data.draw(st.sampled_from(rows))
    less = [row for row in rows if row is not changed]
    (missing,) = compare_rows("members", rows, less, key=("id",))
    assert (missing.problem, missing.row) == ("missing", f"id {changed['id']}")
    (unexpected,) = compare_rows("members", less, rows, key=("id",))
    assert unexpected.problem == "unexpected"
    edited = copy.deepcopy(rows)
    edited[rows.index(changed)]["n"] = "another"
    (different,) = compare_rows("members", rows, edited, key=("id",))
    assert (different.problem, different.column) == ("different", "n")
    assert (different.expected, different.actual) == (changed["n"], "another")


def test_only_named_columns_are_compared() -> None:
    assert compare_rows("members", [{"id": "c1"}], [{"id": "c1", "n": 1}], key=("id",)) == []


def test_each_row_is_matched_once() -> None:
    twice = [{"n": 1}, {"n": 1}]
    (missing,) = compare_rows("rows", twice, twice[:1], key=())
    assert missing.problem == "missing"


def test_a_call_is_compared_as_deep_as_it_is_named() -> None:
    call = {"type": "track", "event": "E", "userId": "c1", "properties": {"a": 1, "b": 2}}
    assert compare_calls([{"type": "track", "properties": {"a": 1}}], [call]) == []
    (different,) = compare_calls([{"type": "track", "properties": {"a": 2}}], [call])
    assert (different.row, different.column) == ("type track", "properties.a")
    assert (different.expected, different.actual) == (2, 1)
    (missing, unexpected) = compare_calls([{"type": "group"}], [call])
    assert (missing.problem, unexpected.problem) == ("missing", "unexpected")


@pytest.mark.parametrize(
    "one, other, is_equal",
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (1, True, False),
        (None, 0, False),
        ("2026-01-31T09:00:00Z", "2026-01-31T10:00:00+01:00", True),
        ("2026-01-31", "2026-01-31T00:00:00Z", False),
        ("2026-01-31T09:00:00", "2026-01-31T09:00:00Z", False),
        ([1, 2], [2, 1], False),
        ({"a": 1}, {"a": 1, "b": None}, False),
    ],
)
def test_values_are_equal_as_json(one: Any, other: Any, is_equal: bool) -> None:
    assert equal(one, other) is is_equal
    assert equal(other, one) is is_equal
