"""The progress line: its text for given values, and what arrives on a real terminal."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from org_shop import SetClock
from shop import PEOPLE, Shop

from tailrace.cli.output.progress import CLEAR_LINE, Phase, ProgressLine, Shown, progress_text
from tailrace.testing import SegmentSimulator

SEND = Shown(name="send vip", unit="members", done=31_000, total=50_000, rate=1_000.0)


@pytest.mark.parametrize(
    ("shown", "width", "text"),
    [
        (
            SEND,
            100,
            "send vip  ████████████░░░░░░░░  62 %  31,000 of 50,000 members  1,000/s  19 s left",
        ),
        (SEND, 70, "send vip  62 %  31,000 of 50,000 members  1,000/s  19 s left"),
        (SEND, 50, "send vip  62 %  31,000 of 50,000 members  1,000/s"),
        (SEND, 41, "send vip  62 %  31,000 of 50,000 members"),
        (SEND, 30, "send vip  62 %"),
        (SEND, 12, "send vip"),
        (SEND, 5, "send "),
        (
            Shown(name="extract Contact", unit="rows", done=1_200, total=0, rate=0.25),
            80,
            "extract Contact  1,200 rows  0.2/s",
        ),
        (Shown(name="plan", unit="audiences", done=0, total=3), 40, "plan  0 %  0 of 3 audiences"),
        (
            Shown(name="send vip", unit="members", done=60, total=50, rate=1.0),
            60,
            "send vip  ████████████████████  100 %  50 of 50 members  1/s",
        ),
        (
            Shown(name="extract Case", unit="rows", done=1, total=1_000_000, rate=50.0),
            75,
            "extract Case  0 %  1 of 1,000,000 rows  50/s  5 h 33 min left",
        ),
    ],
)
def test_a_line_fits_its_terminal(shown: Shown, width: int, text: str) -> None:
    assert text == progress_text(shown, width=width)
    assert len(text) <= width


def test_a_phase_adds_up_its_parts_and_measures_the_last_seconds() -> None:
    phase = Phase("extract")
    phase.update("Contact", 100, 1_000, now=0.0)
    phase.update("Case", 0, 0, now=1.0)
    assert (100, 0, None) == (phase.shown().done, phase.shown().total, phase.shown().rate)
    phase.update("Case", 100, 200, now=10.0)
    shown = phase.shown()
    assert ("extract Case", "rows", 200, 1_200, 10.0) == (
        shown.name, shown.unit, shown.done, shown.total, shown.rate
    )  # fmt: skip
    # What was fast long ago does not count.
    phase.update("Case", 200, 200, now=20.0)
    phase.update("Contact", 200, 1_000, now=30.0)
    assert ("extract Contact", 10.0) == (phase.shown().name, phase.shown().rate)
    phase.update("Contact", 201, 1_000, now=44.0)
    assert pytest.approx(1 / 14) == phase.shown().rate


class Terminal(io.StringIO):
    """A stream that says it is a terminal, without a size."""

    encoding = "ascii"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_a_line_is_painted_at_most_ten_times_a_second_and_cleared() -> None:
    stream, clock = Terminal(), SetClock()
    line = ProgressLine(stream, plain=False, clock=clock)
    for name, done, total, seconds in (
        ("send vip", 0, 10, 0.01),
        ("send vip", 1, 10, 0.19),
        ("send vip", 2, 10, 0.01),
        ("plan vip", 0, 2, 0.0),
    ):
        line(name, done, total)
        clock.sleep(seconds)
    line.clear()
    painted = stream.getvalue().split(CLEAR_LINE)
    assert ["", "send vip", "send vip", "plan vip", ""] == [text[:8] for text in painted]
    assert "[####----------------]  20 %  2 of 10 members  10/s  1 s left" in painted[2]


def test_nothing_is_painted_in_ci() -> None:
    stream = Terminal()
    line = ProgressLine(stream, plain=True)
    line("send vip", 1, 10)
    line.clear()
    assert "" == stream.getvalue()


def test_a_terminal_shows_progress_and_json_stays_whole(tmp_path: Path) -> None:
    columns = 46
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.land([{"id": f"c{n}", "email": f"{n}@example.com"} for n in range(30)])
        terminal, worker = pty.openpty()
        fcntl.ioctl(worker, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = {**os.environ, **shop.environ, "PYTHONUTF8": "1", "TERM": "xterm"}
        environ = {k: v for k, v in environ.items() if k not in ("CI", "NO_COLOR")}
        process = subprocess.Popen(
            [sys.executable, "-m", "tailrace", "sync", "--json"],
            cwd=shop.root,
            env=environ,
            stdin=worker,
            stdout=subprocess.PIPE,
            stderr=worker,
        )
        os.close(worker)
        output, _ = process.communicate(timeout=120)
        text = _read_all(terminal)
    assert 0 == process.returncode, text
    assert 30 == json.loads(output)["audiences"][0]["sent"]
    # Each write begins at the start of a cleared line; logged lines end with a line break.
    painted = [part for part in text.split(CLEAR_LINE) if part and "\n" not in part]
    assert any(part.startswith("send people") and "30 of 30" in part for part in painted)
    assert any(part.startswith("plan people") for part in painted)
    assert all(len(part) < columns for part in painted)
    assert text.endswith(CLEAR_LINE)
    assert not re.search(r"\x1b(?!\[K)", text)


def _read_all(terminal: int) -> str:
    content = b""
    try:
        while chunk := os.read(terminal, 65_536):
            content += chunk
    except OSError:
        # The end of a pseudo-terminal is an error on Linux.
        pass
    finally:
        os.close(terminal)
    return content.decode()
