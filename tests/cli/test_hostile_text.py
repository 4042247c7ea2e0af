"""Text from outside reaches no terminal, comment or log as anything but text."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

import pytest

from tailrace.cli import app
from tailrace.cli.output import escape, logs, markdown, text
from tailrace.cli.output.table import Table, table_lines, wrapped

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\u202eevil\r\n::error::x\n| <img src=x> `@all` [a](javascript:b)\x00"
)
WIDTHS = (60, 72, 80, 100, 120, 160, 200)


def result(name: str) -> dict[str, Any]:
    counts = ("entered", "changed", "exited", "sent", "rejected", "held", "quarantined")
    return {
        "command": "plan",
        "run_id": name,
        "exit_code": 0,
        "audiences": [
            {
                "audience": name,
                "destination": name,
                "status": "held",
                "size_before": 1_204_331,
                "size_after": 1_204_335,
                **dict.fromkeys(counts, 0),
                "by_reason": {},
                "guards": [{"name": "keys", "seen": 1, "limit": 0, "held": True, "message": name}],
                "notes": [name],
                "samples": [{"op": "entered", "key": name}],
                "rows": [
                    {
                        "op": "changed",
                        "reason": name,
                        "key": [name],
                        "changes": [{"column": name, "old": name, "new": name}],
                        "messages": [{"event": name}],
                        "problem": "",
                    }
                ],
            }
        ],
        "orphans": [name],
        "segment": {},
        "errors": [{"error": "ModelError", "message": name, "hint": name, "file": name, "line": 1}],
    }


def status(name: str) -> dict[str, Any]:
    run = {"run_id": name, "command": name, "phase": name, "exit_code": 1, "error": name}
    runs = [{**run, "started_at": name, "finished_at": name}]
    return {"command": "status", "runs": runs, "audiences": [], "errors": []}


def rejected(name: str) -> dict[str, Any]:
    entry = {"audience": name, "kind": name, "reason": name, "path": name, "last_seen": name}
    row = {**entry, "op": name, "key": {name: name}}
    entries = [{**entry, "rows": 1}]
    return {"command": "rejected", "rejected": entries, "rows": [row], "errors": []}


def doctor(name: str) -> dict[str, Any]:
    check = {"status": "failed", "check": name, "found": name, "hint": name}
    return {"command": "doctor", "checks": [check], "errors": []}


def unsafe(printed: str) -> set[str]:
    return {c for c in printed if c in "\x1b\x07\x00\r\u202e"}


@pytest.mark.parametrize("shape", [result, status, rejected, doctor])
def test_a_terminal_gets_no_control_characters(shape: Any) -> None:
    out = io.StringIO()
    text.show(shape(HOSTILE), out, plain=True)
    assert set() == unsafe(out.getvalue())


def test_a_comment_gets_no_markup() -> None:
    comment = markdown.markdown(result(HOSTILE), HOSTILE)
    outside_code = re.sub("`[^`]*`", "", comment.partition("```json")[0])
    assert set() == unsafe(comment)
    assert "<img" not in outside_code
    assert "@\u200ball" in outside_code
    assert 1 == comment.count("<!--") == comment.count("-->")


@pytest.mark.parametrize("log_format", ["text", "json", "github"])
def test_a_log_line_stays_one_line(log_format: str) -> None:
    stream = io.StringIO()
    logs.set_up(log_format, stream)
    logs.log_entries([{"error": "E", "message": HOSTILE, "file": HOSTILE, "line": 3}])
    (line,) = stream.getvalue().splitlines()
    assert set() == unsafe(line)
    if log_format == "github":
        assert line.startswith("::error file=") and 0 == line.count("\n::")
    if log_format == "json":
        assert "evil" in json.loads(line)["message"]


def test_a_long_text_is_cut() -> None:
    assert escape.TEXT_CHARACTERS_MAX == len(escape.printable("x" * 1_000_000))
    (cell,) = {part for row in table_lines(Table(("a",), (("y" * 9_999,),)))[1:] for part, _ in row}
    assert len(cell) <= 400


def test_html_and_github_properties_are_escaped() -> None:
    assert "<" not in escape.html(HOSTILE)
    assert not set(escape.github_property(HOSTILE)) & set(":,\n\r")


def test_the_libraries_log_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """What they log quotes requests and rows."""
    for debug, expected in ((False, ""), (True, "warning: jane@example.com\n")):
        stream = io.StringIO()
        logs.set_up("text", stream, debug=debug)
        logging.getLogger("segment").warning("jane@example.com")
        assert expected == stream.getvalue()
    logs.set_up("text", io.StringIO())
    assert ("", "") == capsys.readouterr()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_word_is_broken_at_any_width(width: int) -> None:
    """Neither a name, nor a number, nor a heading, nor a sentence."""
    shown = result("emailable_contacts_of_the_newsletter")
    words = {word.strip(",.:") for block in text.blocks(shown) for word in words_of(block)}
    lines = []
    for block in text.blocks(shown):
        if isinstance(block, Table):
            lines += ["".join(part for part, _ in line) for line in table_lines(block, width)]
        else:
            lines += wrapped(block, width)
    printed = {word.strip(",.:") for line in lines for word in line.split()}
    assert printed <= words
    assert [] == [line for line in lines if len(line) > width and " " in line.strip()]


def words_of(block: str | Table) -> list[str]:
    if isinstance(block, str):
        return block.split()
    return [word for row in (block.columns, *block.rows) for cell in row for word in cell.split()]


def test_a_zero_has_no_colour() -> None:
    table = Table(("audience", "rejected"), (("vip", "0"), ("lost", "3")), first_number=1)
    styles = {part.strip(): style for line in table_lines(table)[1:] for part, style in line}
    assert ("", "red") == (styles["0"], styles["3"])


def test_a_usage_error_with_hostile_arguments_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == app.answer(["ls", f"--{HOSTILE}"])
    assert 2 == app.answer([HOSTILE])
    assert set() == unsafe(capsys.readouterr().err)
