"""The command line: quick, thin, honest in its exit codes, never a traceback."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tailrace import Project, __version__
from tailrace.__main__ import GC_OBJECTS
from tailrace.cli import app
from tailrace.errors import LockHeld, SeveralModelErrors, SqlDoesNotParse, UnknownColumn

HEAVY = ("dlt", "duckdb", "sqlglot", "rich", "requests", "pyarrow", "yaml", "simple_salesforce")


def imported_by(*arguments: str) -> set[str]:
    """The modules that a command line imports."""
    code = (
        "import sys\n"
        "from tailrace.cli.app import answer\n"
        f"code = answer({list(arguments)!r})\n"
        "print(*sys.modules, sep=chr(10), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["plan", "--help"]]
)
def test_help_imports_nothing_that_takes_time(arguments: list[str]) -> None:
    assert set() == imported_by(*arguments).intersection(HEAVY)


@pytest.mark.parametrize("arguments", [["validate"], ["ls"]])
def test_offline_commands_import_nothing_that_talks(arguments: list[str], project: Path) -> None:
    modules = imported_by(*arguments, "--project-dir", str(project))
    assert set() == modules.intersection({"dlt", "requests", "simple_salesforce"})


def test_the_process_collects_garbage_less_often_before_it_imports_anything() -> None:
    code = (
        "import gc, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click':\n"
        "            print(gc.get_threshold()[0])\n"
        "sys.meta_path.insert(0, Watch())\n"
        "sys.argv = ['tailrace', '--version']\n"
        "from tailrace.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    threshold, version = done.stdout.splitlines()
    assert GC_OBJECTS == int(threshold)
    assert f"tailrace, version {__version__}" == version


def test_help_shows_the_exit_codes(command: Any) -> None:
    said = command("--help").stdout
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "75 ", "130 "):
        assert f"  {code}" in said


def test_a_bare_command_shows_the_help(command: Any) -> None:
    done = command()
    assert (0, command("--help").stdout) == (done.returncode, done.stdout)


@pytest.mark.parametrize("arguments", [["plant"], ["ls", "--foo"], ["run", "extra"]])
def test_a_usage_error_is_exit_2_with_a_hint(arguments: list[str], command: Any) -> None:
    done = command(*arguments)
    assert (2, "") == (done.returncode, done.stdout)
    assert "--help" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--log-format", "json"], '"message": "No such option '),
        (["--log-format=github"], "::error::No such option '--nope'"),
        ([], "error: No such option '--nope'"),
    ],
)
def test_a_usage_error_is_logged_as_the_command_line_says(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if an earlier command of this process had another stderr."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    app.answer(["ls", "--project-dir", "/nowhere"])
    sys.stderr.close()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert 2 == app.answer(["history", *arguments, "--nope"])
    assert line in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_a_usage_error_is_one_json_object_when_asked_for(command: Any) -> None:
    done = command("ls", "--foo", "--json")
    result = json.loads(done.stdout)
    assert (2, 2) == (done.returncode, result["exit_code"])
    assert ("ls", 1) == (result["command"], result["schema_version"])
    assert ["UsageError"] == [each["error"] for each in result["errors"]]


def test_an_error_names_its_file_its_line_and_the_next_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = SeveralModelErrors(
        [
            UnknownColumn("there is no column mail", file="models/audiences/vip.sql", line=4),
            SqlDoesNotParse("expected a table", file="models/staging/contacts.sql", line=7),
        ]
    )
    fails(monkeypatch, error)
    assert 2 == app.answer(["ls"])
    said = capsys.readouterr()
    assert "" == said.out
    assert "error: models/audiences/vip.sql:4: there is no column mail\n" in said.err
    assert "error: models/staging/contacts.sql:7: expected a table\n" in said.err
    assert "tailrace validate" in said.err


def test_json_holds_every_error_and_the_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, LockHeld("host-7 holds the lock since 05:00"))
    assert 75 == app.answer(["ls", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert 75 == result["exit_code"]
    expected = {
        "error": "LockHeld",
        "message": "host-7 holds the lock since 05:00",
        "hint": LockHeld.hint,
        "file": None,
        "line": None,
    }
    assert [expected] == result["errors"]


def test_a_crash_is_one_line_that_quotes_no_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, ValueError("jane@example.com is not a number"))
    assert 1 == app.answer(["ls"])
    said = capsys.readouterr().err
    assert "ValueError at test_app.py:" in said
    assert "--debug" in said
    assert "jane" not in said
    assert "Traceback" not in said


def test_debug_shows_the_traceback_of_a_crash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, ValueError("a defect"))
    assert 1 == app.answer(["ls", "--debug"])
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("TAILRACE_DEBUG", "1")
    assert 1 == app.answer(["ls"])
    assert "ValueError: a defect" in capsys.readouterr().err


def test_log_format_json_makes_every_line_of_stderr_an_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, LockHeld())
    assert 75 == app.answer(["ls", "--log-format", "json"])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert ["LockHeld"] == [each["error"] for each in lines]
    assert {"time", "level", "message", "hint"} <= set(lines[0])


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")],
)
@pytest.mark.parametrize("stopped", ["raise", "raise KeyboardInterrupt from None"])
def test_a_signal_ends_in_its_code_and_one_line(
    number: int, code: int, word: str, stopped: str
) -> None:
    """DuckDB replaces the exception of the handler."""
    slow = (
        "import time\n"
        "from tailrace import Project\n"
        "from tailrace.cli import app\n"
        "def waits(*_, **__):\n"
        "    print('waiting', flush=True)\n"
        "    try:\n"
        "        time.sleep(60)\n"
        "    except BaseException:\n"
        f"        {stopped}\n"
        "Project.load = waits\n"
        "import sys\n"
        "sys.argv = ['tailrace', 'ls']\n"
        "app.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "waiting\n" == process.stdout.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert code == process.returncode
    assert [word] == [line.partition(".")[0] for line in said.strip().splitlines()]


def test_a_reader_that_goes_away_is_no_crash(project: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "ls", "--json", "--project-dir", str(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (0, "") == (process.wait(timeout=30), said)


def test_init_makes_a_project_that_is_valid(command: Any, tmp_path: Path) -> None:
    assert 0 == command("init", "shop").returncode
    done = command("validate", cwd=tmp_path / "shop")
    assert (0, "") == (done.returncode, done.stderr)
    assert "valid" in done.stdout


def test_validate_warns_with_the_place_and_goes_on(command: Any, project: Path) -> None:
    (project / "models" / "audiences" / "listed.sql").write_text(
        "/* ---\nkey: id\nuser_id: id\ntrack: {properties: {all: names}}\n--- */\n"
        "SELECT account_id AS id, array_agg(first_name) AS names\n"
        "FROM contacts GROUP BY account_id\n"
    )
    done = command("validate", "--json", cwd=project)
    assert 0 == done.returncode
    warnings = json.loads(done.stdout)["warnings"]
    assert ["models/audiences/listed.sql"] == [each["file"] for each in warnings]
    assert "warning: models/audiences/listed.sql:" in done.stderr


def test_init_never_overwrites(command: Any, tmp_path: Path) -> None:
    mine = tmp_path / "shop" / ".dlt" / "config.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# mine\n")
    result = json.loads(command("init", "shop", "--json").stdout)
    assert "# mine\n" == mine.read_text()
    assert ".dlt/config.toml" in result["kept"]
    assert ".dlt/config.toml" not in result["created"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_init_where_no_folder_can_be_is_exit_2(place: str, command: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("init", place)
    assert 2 == done.returncode
    assert "Cannot write the project" in done.stderr


def test_a_folder_without_a_project_is_exit_2(command: Any) -> None:
    done = command("validate")
    assert 2 == done.returncode
    assert "tailrace init" in done.stderr


def test_output_survives_a_terminal_without_unicode(command: Any, project: Path) -> None:
    done = command("ls", "--project-dir", str(project), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (0, "") == (done.returncode, done.stderr)


def fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let `tailrace ls` meet an error."""

    def raises(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Project, "ls", raises)
    monkeypatch.setattr(Project, "load", lambda *_, **__: Project.__new__(Project))


def test_a_full_disk_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(monkeypatch, OSError(28, "No space left on device"))
    assert 1 == app.answer(["ls"])
    assert "Make room on the disk" in capsys.readouterr().err


def test_a_folder_that_was_removed_is_no_place_to_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert 2 == app.answer(["plan", "--project-dir", str(tmp_path)])
    assert "Change to another one: cd /" in capsys.readouterr().err
