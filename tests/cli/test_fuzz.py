"""Nothing that a file or a command line holds ends in an internal error."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tailrace.cli import app

CASES = 120
CONFIG = (
    "[tailrace]\nwarehouse = 'duckdb'\ndataset = 'salesforce'\nmemory_share_max = 0.5\n"
    "[destination.duckdb]\ncredentials = 'warehouse.duckdb'\n"
    "[sources.salesforce]\nobjects = ['Contact', 'Account']\napi_version = '64.0'\n"
    "[sources.salesforce.object.Contact]\nformula = 'land'\n"
    "[destination.segment]\nhost = 'https://api.segment.io'\nwrite_key = 'k'\n"
)
AUDIENCE = (
    "/* ---\naudience: people\nkey: id\nuser_id: id\ntags: [a]\ntrack:\n  changed: Changed\n"
    "  properties: {city: city, on: {value: 1}}\nidentify:\n  traits: {email: {column: email, "
    "hash: sha256}}\nguards: {min_rows: 1, max_exited: 20%}\nconsent: {suppress_when: no}\n--- */\n"
    "SELECT id, city, email, no FROM salesforce.contact\n"
)
VALUES = (
    *("1", "-1", "true", "''", "[]", "{}", "nan", "inf", "1e999", "[[1]]", "{a = 1}", "null"),
    *("'\u202e\x1b[31m'", "9" * 400, "1979-05-27", "07:32:00", "'../../x'", "[1, 'a']", "'é'"),
    *("0x7fffffffffffffffffff", "{a: {b: [}", "!!python/object:os.system", "&a [*a]", "2024-01-01"),
)
WORDS = (
    *("people", "nobody", "tag:a", "object:Contact", "object:*", "[", "*", "", "a:b:c", "\u202e"),
    *("--json", "--show", "3", "--at", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59.999-12:00"),
    *("--older-than", "99999999d", "0h", "-1d", "--to", "segment", "-s", "--exclude", "--dry-run"),
    *("--yes", "--allow", "people:keys", "--plan", ".dlt/config.toml", "--send", "-t", "../x"),
    *("--full-refresh", "--show-values", "--detailed-exitcode", "--format", "markdown", "-q"),
)


def mutated(text: str, choose: random.Random) -> str:
    """A text with one to three mistakes: a value, a character, a line, or a cut."""
    for _ in range(choose.randint(1, 3)):
        lines = text.split("\n")
        place = choose.randrange(len(lines))
        line = lines[place]
        mistake = choose.randrange(6)
        if mistake == 0 and "=" in line:
            lines[place] = f"{line.partition('=')[0]}= {choose.choice(VALUES)}"
        elif mistake == 1 and ":" in line:
            lines[place] = f"{line.partition(':')[0]}: {choose.choice(VALUES)}"
        elif mistake == 2:
            lines.insert(place, choose.choice(lines))
        elif mistake == 3 and line:
            position = choose.randrange(len(line))
            lines[place] = line[:position] + choose.choice("\x00\x1b\t]}{:='\"é☃") + line[position:]
        elif mistake == 4:
            del lines[place]
        else:
            lines[place] = line[: choose.randrange(len(line) + 1)]
        text = "\n".join(lines) or "x"
    return text


def write_config(project: Path, choose: random.Random) -> list[str]:
    (project / ".dlt" / "config.toml").write_text(mutated(CONFIG, choose), encoding="utf-8")
    return [choose.choice(["validate", "ls", "plan", "status"])]


def write_header(project: Path, choose: random.Random) -> list[str]:
    file = project / "models" / "audiences" / "people.sql"
    file.write_text(mutated(AUDIENCE, choose), encoding="utf-8")
    return [choose.choice(["validate", "ls"])]


def write_flags(_: Path, choose: random.Random) -> list[str]:
    names = sorted(set(app.tailrace.commands) - {"init", "demo", "run", "extract", "doctor"})
    return [choose.choice(names), *choose.choices(WORDS, k=choose.randint(0, 5))]


@pytest.mark.parametrize("mistake", [write_config, write_header, write_flags])
def test_no_mistake_of_a_user_is_an_internal_error(
    mistake: Callable[[Path, random.Random], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / ".dlt").mkdir()
    (tmp_path / "models" / "audiences").mkdir(parents=True)
    choose = random.Random(20_261_127)
    for case in range(CASES):
        (tmp_path / ".dlt" / "config.toml").write_text(CONFIG)
        (tmp_path / "models" / "audiences" / "people.sql").write_text(AUDIENCE)
        arguments = mistake(tmp_path, choose)
        code = app.answer([*arguments, "--project-dir", str(tmp_path)])
        printed = capsys.readouterr()
        assert "Internal error" not in printed.out + printed.err, (case, arguments, printed.err)
        assert "Traceback" not in printed.err, (case, arguments)
        assert code in (0, 1, 2, 3, 75), (case, arguments)
        assert "\x1b" not in printed.out + printed.err, (case, arguments)
