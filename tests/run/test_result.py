"""Exit codes of a run's result."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.errors import ConfigurationError, ServiceFailed
from tailrace.run.result import Progressing


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("command", ["extract", "run"])
def test_an_empty_object_alone_is_no_reason_for_exit_code_3(command: str, empty: bool) -> None:
    """Exit code 3 means that an audience is held."""
    extracted: dict[str, Any] = {"object": "OpportunityContactRole", "empty": empty}
    result = Progressing(run_id="r", command=command, objects=(extracted,)).result()
    assert 0 == result.exit_code
    assert empty == result.as_dict()["objects"][0]["empty"]


@pytest.mark.parametrize(
    ("errors", "exit_code"),
    [
        ([], 0),
        ([ServiceFailed("a")], 1),
        ([ServiceFailed("a"), ConfigurationError("b")], 2),
    ],
)
def test_errors_decide_the_exit_code(errors: list[Any], exit_code: int) -> None:
    assert (
        exit_code == Progressing(run_id="r", command="run").with_errors(errors).result().exit_code
    )
