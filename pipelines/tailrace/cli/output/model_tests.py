"""The result of `tailrace test` as text: a table of differences for each test that failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.cli.output.table import Table

_COLUMNS = ("problem", "row", "column", "expected", "actual")


def tests_blocks(result: Mapping[str, Any]) -> Iterable[str | Table]:
    """The failed tests with their differences, and how many passed."""
    if not result["tests"] and not result["errors"]:
        yield "There are no tests. Write them in NAME.test.yml beside a model's NAME.sql."
        return
    for test in result["tests"]:
        if test["passed"]:
            continue
        yield f"FAILED {test['model']}: {test['name']} ({test['file']}:{test['line']})"
        error = test["error"]
        if error:
            place = f"{error['file']}:{error['line']}: " if error["line"] else ""
            yield f"  {place}{error['message']}"
            yield from [f"  {error['hint']}"] if error["hint"] else []
        yield Table(_COLUMNS, tuple(_row(difference) for difference in test["differences"]))
        yield ""
    yield f"{result['passed']} passed, {result['failed']} failed."


def _row(difference: Mapping[str, Any]) -> tuple[str, ...]:
    values = ("", "")
    if difference["column"]:
        values = (_json(difference["expected"]), _json(difference["actual"]))
    return (
        f"{difference['problem']} in {difference['of']}",
        difference["row"],
        difference["column"],
        *values,
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
