"""The help of every command at every width, its examples, and what a shell completes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from tailrace.cli import app
from tailrace.cli.help import SHORT_HELP_CHARACTERS_MAX, OrderedGroup

GROUPS = [g for g in (app.tailrace, *app.tailrace.commands.values()) if isinstance(g, click.Group)]
# By their full names.
COMMANDS = {
    f"{prefix}{name}": command
    for group, prefix in ((g, "" if g is app.tailrace else f"{g.name} ") for g in GROUPS)
    for name, command in group.commands.items()
    if command not in GROUPS
}


def help_of(command: click.Command, width: int) -> str:
    context = command.context_class(command, info_name="tailrace", terminal_width=width)
    return command.get_help(context)


@pytest.mark.parametrize("width", [60, 72, 80, 100, 200])
def test_no_help_breaks_a_word_or_leaves_one_out(width: int) -> None:
    """Each text is there whole at any width."""
    for command in (*COMMANDS.values(), *GROUPS):
        words = set(help_of(command, 1_000).split())
        shown = help_of(command, width)
        assert set(shown.split()) == words, command.name
        assert [] == [line for line in shown.splitlines() if len(line) > width], command.name


def test_every_command_has_a_sentence_that_its_group_shows_whole() -> None:
    for group in GROUPS:
        assert isinstance(group, OrderedGroup)
        shown = " ".join(help_of(group, 80).split())
        for name, command in group.commands.items():
            sentence = (command.help or "").split("\n\n")[0].replace("\n", " ").strip()
            assert sentence.endswith("."), name
            assert len(sentence) <= SHORT_HELP_CHARACTERS_MAX, name
            assert f"{name} {sentence}" in shown


def test_every_option_has_a_help_text() -> None:
    without = [
        f"{name} {parameter.name}"
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert [] == without


def test_every_example_is_a_command_with_its_own_options() -> None:
    """Parsed by click, without running it."""
    count = 0
    for name, command in COMMANDS.items():
        for line in (command.epilog or "").splitlines()[2:]:
            program, *words = shlex.split(line)
            assert ("tailrace", name) == (program, " ".join(words[: len(name.split())])), line
            arguments = words[len(name.split()) :]
            if "--plan" in arguments:
                arguments[arguments.index("--plan") + 1] = __file__
            command.make_context(name, arguments)
            count += 1
    assert count > 30


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["destinations", "rebind"], "tailrace destinations rebind --help"),
        (["state", "push", "--nope"], "tailrace state push --help"),
        (["plan", "--nope"], "tailrace plan --help"),
        (["plant"], "tailrace --help"),
    ],
)
def test_a_usage_error_names_the_help_of_its_own_command(
    arguments: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == app.answer(arguments)
    assert f"See: {usage}\n" in capsys.readouterr().err


def completed(*words: str) -> list[str]:
    """What a shell offers in place of the last word."""
    *given, start = words
    shell = ShellComplete(app.tailrace, {}, "tailrace", "_TAILRACE_COMPLETE")
    return [item.value for item in shell.get_completions(given, start)]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["plan", "-s", "vip"], ["vip_contacts"]),
        (["run", "--exclude", "acc"], ["accounts", "account_sales"]),
        (["test", "-s", "staging"], []),
        (["plan", "-s", "object:Cam"], ["object:Campaign", "object:CampaignMember"]),
        (["extract", "-s", "Cam"], ["Campaign", "CampaignMember"]),
        (["retire", "lap"], ["lapsed_customers"]),
        (["history", "vip"], ["vip_contacts"]),
        (["rename", "old", "vip"], ["vip_contacts"]),
        (["retry", "--allow", "vip_contacts:max_e"], ["vip_contacts:max_exited"] * 1),
        (["replay", "vip_contacts", "--to", "seg"], ["segment"]),
        (["destinations", "resume", ""], ["segment"]),
        (["plan", "-t", ""], ["dev", "prod"]),
        (["-t", "d"], ["dev"]),
    ],
)
def test_a_shell_completes_names(
    words: list[str], offered: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".dlt" / "dev.config.toml").touch()
    (project / ".dlt" / "prod.secrets.toml").touch()
    monkeypatch.chdir(project / "models")
    assert set(offered) <= set(completed(*words))
    if words[-1]:
        assert all(value.startswith(words[-1]) for value in completed(*words))
    else:
        assert offered == completed(*words)


def test_a_shell_completes_in_the_project_that_the_command_line_names(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = str(project)
    assert ["vip_contacts"] == completed("--project-dir", folder, "plan", "-s", "vip")
    assert ["vip_contacts"] == completed("plan", "--project-dir", folder, "-s", "vip")
    monkeypatch.setenv("TAILRACE_PROJECT_DIR", folder)
    assert ["vip_contacts"] == completed("plan", "-s", "vip")


@pytest.mark.parametrize("damage", ["no project", "config", "model"])
def test_a_project_with_errors_does_not_disturb_the_shell(
    damage: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path if damage == "no project" else project)
    if damage == "config":
        (project / ".dlt" / "config.toml").write_text("[tailrace\n")
    if damage == "model":
        (project / "models" / "audiences" / "vip_contacts.sql").write_text("SELCT")
    # A broken model is offered as well: `validate -s` shows what is wrong with it.
    assert ([] if damage != "model" else ["vip_contacts"]) == completed("plan", "-s", "vip")


@pytest.mark.parametrize(
    ("shell", "offered"),
    [
        ("bash", "plain,vip_contacts\n"),
        ("zsh", "plain\nvip_contacts\n_\n"),
        ("fish", "plain,vip_contacts\n"),
    ],
)
def test_each_shell_is_answered_without_the_engine(shell: str, offered: str, project: Path) -> None:
    """A person waits for it: the imports of dlt, DuckDB and sqlglot take longer than all else."""
    code = (
        "import atexit, sys; from tailrace.cli.app import main; sys.argv = ['tailrace']\n"
        "heavy = {'dlt', 'duckdb', 'sqlglot', 'pyarrow', 'simple_salesforce'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "main()"
    )
    words = {"COMP_WORDS": "tailrace run --select vip", "COMP_CWORD": "3"}
    if shell == "fish":
        words["COMP_CWORD"] = "vip"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env={**os.environ, **words, "_TAILRACE_COMPLETE": f"{shell}_complete"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, offered, "[]\n") == (done.returncode, done.stdout, done.stderr)
