"""No command shows a personal value: on stdout, on stderr, in a log, or in what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shop import Shop

from tailrace.cli import app
from tailrace.testing import Fault, SegmentSimulator

# The key itself is an address: the worst that a header can do.
AUDIENCE = """/* ---
audience: people
key: email
user_id: email
track:
  changed: City Changed
  properties: {city: city}
identify:
  traits: {email: email, city: city}
--- */
SELECT email, city FROM salesforce.contact WHERE NOT is_deleted
"""
TYPED = AUDIENCE.replace("SELECT email, city", "SELECT email, CAST(city AS INTEGER) AS city")
PERSONAL = ("zwetschge", "mirabelle", "quitte", "hagebutten", "schlehen")
FIRST = [
    {"id": "1", "email": "zwetschge@example.com", "city": "hagebuttenweg 1"},
    {"id": "2", "email": "mirabelle@example.com", "city": "schlehenhof 2"},
]
SECOND = [
    {"id": "1", "email": "zwetschge@example.com", "city": "schlehenhof 7"},
    {"id": "3", "email": "quitte@example.com", "city": "hagebuttenweg 9"},
]
TWICE = [*SECOND, {"id": "4", "email": "quitte@example.com", "city": "schlehenhof 2"}]
LOUD = ("--debug", "--log-format", "json")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    with SegmentSimulator() as segment:
        made = Shop(tmp_path / "shop", segment)
        made.audience(AUDIENCE)
        made.land(FIRST)
        yield made


def run(command: Any, shop: Shop, code: int, *arguments: str) -> str:
    """Everything that a command prints and logs with --debug."""
    ran = command(*arguments, cwd=shop.root, TAILRACE_DEBUG="1", **shop.environ)
    printed = ran.stdout + ran.stderr
    assert code == ran.returncode, printed
    assert [] == personal(printed), arguments
    return printed


def personal(text: str) -> list[str]:
    return [value for value in PERSONAL if value in text.lower()]


def test_no_command_shows_a_personal_value(shop: Shop, command: Any) -> None:
    """Plans, runs, refusals that quote the row, broken connections, a bad key, a bad cast."""
    segment = shop.segment
    assert segment is not None
    segment.faults.append(
        Fault(
            poison={"userId": "mirabelle@example.com"},
            status=400,
            body={"message": "no mirabelle@example.com in 'schlehenhof 2', \"mirabelle\""},
        )
    )
    segment.faults.append(Fault(path="/v1/batch", cut="after", nth=1))
    run(command, shop, 4, "sync", "--json", *LOUD)
    assert '"kind": "identify"' in run(command, shop, 0, "rejected", "--json")
    assert [] == personal(str(shop.query("SELECT * FROM tailrace.rejections")))
    shop.land(SECOND)
    assert "+1" in run(command, shop, 0, "plan", "--format", "markdown")
    shop.land(TWICE)
    assert "NULL or duplicate key" in run(command, shop, 3, "sync", *LOUD)
    shop.audience(TYPED)
    assert "ConversionException" in run(command, shop, 1, "sync", *LOUD)
    run(command, shop, 0, "status", "--json")


def test_the_words_of_the_warehouse_are_shown_when_asked_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By --debug with --show-values; otherwise `--debug` tells how."""
    for name, value in shop.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(shop.root)
    shop.audience(TYPED)

    def printed(*arguments: str) -> str:
        assert 1 == app.answer(arguments)
        captured = capsys.readouterr()
        return captured.out + captured.err

    for command in ("plan", "sync"):
        for options in ((), ("--json",), ("--log-format", "json")):
            shown = printed(command, "--debug", "--show-values", *options)
            assert "Could not convert string" in shown and personal(shown)
            masked = printed(command, "--debug", *options)
            assert "add --show-values" in masked and not personal(masked)
            plain = printed(command, *options)
            assert "show-values" not in plain and not personal(plain)
