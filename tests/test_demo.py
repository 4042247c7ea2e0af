"""The demo: what the README promises to whoever types its first command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    """The demo's three runs."""
    command = [sys.executable, "-m", "tailrace", "demo", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told: list[dict[str, Any]] = json.loads(done.stdout)["runs"]
    return told


def test_two_days_move_members_and_the_third_run_sends_nothing(runs: list[dict[str, Any]]) -> None:
    first, second, third = runs
    assert [0, 0, 0] == [each["exit_code"] for each in runs]
    assert all(each["entered"] == each["size_after"] > 0 for each in first["audiences"])
    for move in ("entered", "changed", "exited"):
        assert any(each[move] for each in second["audiences"])
    assert 0 == third["segment"]["calls"]
    assert {"unchanged"} == {each["status"] for each in third["audiences"]}


def test_everyone_who_moved_is_named(runs: list[dict[str, Any]]) -> None:
    for chapter in runs:
        for audience in chapter["audiences"]:
            who = chapter["who"].get(audience["audience"], {})
            counts = {move: audience[move] for move in ("entered", "changed", "exited")}
            assert {k: v for k, v in counts.items() if v} == {k: len(v) for k, v in who.items()}


def test_the_demo_reads_as_a_story_and_leaves_nothing_behind(command: Any, tmp_path: Any) -> None:
    done = command("demo", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert 3 == len(re.findall(r"^── Day \d", done.stdout, re.MULTILINE))
    assert re.search(r"^vip_contacts: 0 → \d+ members$", done.stdout, re.MULTILINE)
    assert re.search(r"^  - \d+ exited: \w", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("Nothing to send: Segment is up to date.\n\n")
    assert [] == list(tmp_path.iterdir())
