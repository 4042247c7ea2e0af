"""The command that runs the tests of engines: no part hides another, and none passes unseen."""

from __future__ import annotations

import fcntl
import re
import sys
import time
from pathlib import Path

import engines
import pytest
from engines import ROOT, Deadline, Outcome, Part, closing, outcomes

# How the files of tests say that they need an engine: by a mark, or by a list of `stores`.
NEEDS_ENGINE = re.compile(
    r"mark\.(engines|ducklake|snowflake|spark)\b"
    r"|from warehouses\.stores import (\([^)]*|[^\n]*)"
    r"\b(LOCAL_ENGINES|ENGINES|DUCKLAKE|MARIADB|SPARK)\b"
)


def part(folder: Path, name: str, body: str) -> Part:
    file = folder / f"test_{name}.py"
    file.write_text(f"import pytest\ndef test_it():\n    {body}\n")
    return Part(name=name, files=(str(file),), options=("-p", "no:cacheprovider"), core=())


def test_all_parts_run_and_each_has_its_status(tmp_path: Path) -> None:
    """A failure stops no other part, and a part without a test that passed is a failure."""
    parts = [
        part(tmp_path, "broken", "assert False"),
        part(tmp_path, "absent", "pytest.skip('its server is missing')"),
        part(tmp_path, "whole", "assert True"),
    ]
    results = outcomes(parts, Deadline(None), workers=0)
    assert ["failed", "failed", "passed"] == [result.status for result in results]
    assert [(0, 1, 0), (0, 0, 1), (1, 0, 0)] == [
        (result.passed, result.failed, result.skipped) for result in results
    ]
    assert "engines: passed: whole; failed: broken, absent" == closing(results)


def test_what_does_not_fit_is_named_and_nothing_of_it_begins(tmp_path: Path) -> None:
    missing = Part(name="npm", files=(), options=(), core=(), missing=lambda: "npm is missing")
    long = Part(name="long", files=("nowhere",), options=(), core=(), seconds=600)
    never = Part(name="image", files=("nowhere",), options=())
    results = outcomes([long, never, missing], Deadline(60), workers=0)
    assert {"left out"} == {result.status for result in results}
    reasons = {result.part: result.reason for result in results}
    assert "it needs 600 s" in reasons["long"]
    assert "not run in a limited time" == reasons["image"]
    assert "npm is missing" == reasons["npm"]
    assert "engines: left out: long, image, npm" == closing(results)


@pytest.mark.parametrize(
    ("is_limited", "failed", "status"),
    [(True, 0, "stopped"), (True, 1, "failed"), (False, 0, "failed")],
)
def test_a_part_that_is_stopped_fails_unless_its_time_was_limited(
    is_limited: bool, failed: int, status: str
) -> None:
    counts = {"passed": 3, "failed": failed, "skipped": 0}
    judged = engines.judged(None, counts, 7.0, is_limited=is_limited)
    assert (status, "did not finish in 7 s") == judged
    assert f"engines: {status}: one" == closing([Outcome(part="one", status=status)])


def test_nothing_is_left_of_a_part_that_is_stopped(tmp_path: Path) -> None:
    """Neither its process nor one that it started: both have the lock of a file, and lose it."""
    file = tmp_path / "lock"
    program = (
        "import fcntl, os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        f"file = open({str(file)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX); os.fork();"
        "file.write('it has the lock'); file.flush(); time.sleep(600)"
    )
    with engines.process_group([sys.executable, "-c", program], {}) as process:
        while not (file.exists() and file.read_text()):
            time.sleep(0.005)
        assert engines.wait(process, 0.01, report_seconds=0.01) is None
    with file.open() as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)


def test_each_test_of_an_engine_belongs_to_a_part() -> None:
    covered = [ROOT / name for listed in engines.PARTS for name in listed.files]
    files = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if NEEDS_ENGINE.search(path.read_text(encoding="utf-8"))
    ]
    assert len(files) > 8
    assert [] == [path for path in files if not {path, *path.parents} & {*covered}]
