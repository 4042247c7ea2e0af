"""The command line with streams that are closed, full, without a reader or without Unicode."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tailrace.cli.output.streams import prepare_streams


@pytest.mark.parametrize(
    ("redirection", "code", "stderr"),
    [
        (">&-", 0, ""),
        ("--json >&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("| true", 0, ""),
        ("--json | true", 0, ""),
        (">/dev/full", 1, "its output cannot be written: No space left on device"),
        ("--json >/dev/full", 1, "its output cannot be written: No space left on device"),
        ("nosuch --json >/dev/full", 2, "unexpected extra argument"),
    ],
)
def test_a_command_does_its_work_without_its_streams(
    redirection: str, code: int, stderr: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"$PYTHON" -m tailrace init shop {redirection}'],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert code == done.returncode, done.stderr
    assert stderr in done.stderr
    assert bool(stderr) == bool(done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert ("nosuch" not in redirection) == (tmp_path / "shop").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_file_never_gets_the_number_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    program = (
        "import sys; from tailrace.cli.output.streams import prepare_streams; prepare_streams()\n"
        "sys.exit(40 + open('file', 'w').fileno())"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {closed}', sys.executable, program], cwd=tmp_path, check=False
    )
    assert 43 == done.returncode


def test_characters_that_stdout_lacks_are_written_in_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    prepare_streams()
    print("0 → 31, Zoë, 😀, \udcff", flush=True)
    assert rb"0 -> 31, Zo\xeb, \U0001f600, \udcff" == written.getvalue().strip()
