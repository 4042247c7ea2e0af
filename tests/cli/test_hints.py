"""Every command that a hint or a message names is a command that runs."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from shop import PEOPLE, Shop

from tailrace import errors
from tailrace.cli import app
from tailrace.config import project as config_project
from tailrace.config import settings as config_settings
from tailrace.destinations.webhook import settings as webhook_settings
from tailrace.plan.guards import NAMES as GUARDS
from tailrace.testing import SegmentSimulator
from tailrace.warehouse.sandbox import duckdb_functions

PACKAGE = Path(app.__file__).parents[1]
# The project of the test has one audience, which is not removed, and no destination is stopped.
EXPECTED = "still declares|is the name that the audience has|is not stopped|leaves no model"
# What a message leaves for the reader to fill in, or fills in itself.
EXAMPLES = {
    "NEW_NAME": "persons",
    "AUDIENCE": "people",
    "DIR": "another",
    "FILE": "rows.jsonl",
    "NAME": "other",
    "OBJECT": "Contact",
    "OLD": "people",
}
COMMAND = re.compile(r"tailrace((?: (?:--?[\w-]+|\.?[\w*:-]+(?:\.[\w*:-]+)*|\{\}))+)")

# A command with its options, up to the end of the sentence.
OPTIONS = re.compile(r"tailrace ((?:[a-z][\w-]*)(?: (?:--?[a-z][\w-]*|[\w*:.{}-]+))*)")


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a module, docstrings and nested parts left out; `{}` for what is filled in."""
    nodes = list(ast.walk(tree))
    docstrings = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    for node in joined:
        parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
        yield "".join(map(str, parts))
    left_out = docstrings | {id(part) for node in joined for part in node.values}
    for node in nodes:
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in left_out:
            yield text


def hinted() -> list[str]:
    """The command lines in the messages of the package."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "testing" in path.parts or path.name in ("demo.py", "init.py"):
            continue
        source = path.read_text(encoding="utf-8")
        # Every worker collects the tests; most modules name no command.
        for text in texts(ast.parse(source)) if "tailrace " in source else ():
            for match in COMMAND.finditer(text):
                words = match[1].rstrip(".,:").split()
                # A sentence may go on after the command; a command begins with its name.
                if words[0] in app.tailrace.commands:
                    found.add(" ".join(word.rstrip(".,:;") for word in words))
    return sorted(found)


def runnable(line: str) -> list[str]:
    """A hinted command with its placeholders filled in, without the words of the sentence."""
    words = [EXAMPLES.get(word, word).replace("{}", "people") for word in shlex.split(line)]
    if words[0] == "destinations":
        words = [*words[:2], "segment"]
    if words[:2] == ["state", "push"]:
        return ["state", "push", "--dry-run"]
    if "object" in line or words[0] == "extract":
        words = ["Contact" if word == "people" else word for word in words]
    plain = {"status", "run", "validate", "ls", "doctor", "plan", "tracking-plan"}
    if words[0] in plain | {"sync", "extract", "retry", "rejected"}:
        options = [word for word in words[1:] if word.startswith("-")]
        if not options:
            words = words[:1]
    return words


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Path]]:
    """A shop that has delivered one member, and a copy of its folder."""
    folder = tmp_path_factory.mktemp("hints")
    with SegmentSimulator() as segment:
        shop = Shop(folder / "shop", segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "email": "a@example.com"}])
        shop.sync()
        yield shop, Path(shutil.copytree(shop.root, folder / "copy"))


@pytest.fixture
def shop(delivered: tuple[Shop, Path]) -> Shop:
    """The shop as it was after its delivery."""
    shop, copy = delivered
    shutil.rmtree(shop.root)
    shutil.copytree(copy, shop.root)
    return shop


@pytest.mark.parametrize("line", hinted())
def test_every_hinted_command_runs(
    line: str, shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No usage error but the question of a command that asks first."""
    assert shop.segment is not None
    other = {"HOST": shop.segment.url, "WRITE_KEY": "other"}
    environ = shop.environ | {f"DESTINATION__OTHER__{key}": other[key] for key in other}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if line.startswith("state "):
        monkeypatch.setenv("TAILRACE__STATE_URL", "file:store")
    monkeypatch.chdir(shop.root)
    words = runnable(line)
    if words[0] == "deploy":
        # Its subcommands write files; it has no result as JSON.
        assert 0 == app.answer([*words[:1], "github-actions"])
        return
    app.answer([*words, "--json"])
    result = json.loads(capsys.readouterr().out)
    wrong = [e for e in result["errors"] if e["error"] in ("UsageError", "NothingSelected")]
    asked = [e for e in wrong if "--yes" in e["message"]]
    expected = [e for e in wrong if re.search(EXPECTED, e["message"])]
    assert wrong in (asked, expected), (words, wrong)


def test_every_option_beside_a_hinted_command_is_one_of_its_own() -> None:
    """Each command line in a text is parsed by click; a word that is filled in may be anything."""
    count = 0
    for path in PACKAGE.rglob("*.py"):
        if "testing" in path.parts:
            continue
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            for match in OPTIONS.finditer(text):
                words = match[1].rstrip(".,:;`").split()
                command: click.Command = app.tailrace
                while words and isinstance(command, click.Group) and words[0] in command.commands:
                    command = command.commands[words.pop(0)]
                own = {option for parameter in command.params for option in parameter.opts}
                own |= {o for parameter in command.params for o in parameter.secondary_opts}
                named = {word.rstrip(".,:;`") for word in words if word.startswith("-")}
                assert named <= own | {"--help", "-h"}, (path.name, match[0])
                count += bool(named)
    assert count > 20


def test_the_hints_are_found() -> None:
    assert len(hinted()) > 15
    assert {"validate", "reset {} --send", "retire {}"} <= set(hinted())


def modules() -> Iterator[tuple[Path, ast.AST]]:
    """The modules of the package, without the simulators."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "testing" not in path.parts:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def hints() -> Iterator[str]:
    """Every text that is a part of a hint: of a class, of an error, or of a named constant."""
    for _, tree in modules():
        for node in ast.walk(tree):
            values: list[ast.expr] = []
            if isinstance(node, ast.Call):
                values = [word.value for word in node.keywords if word.arg == "hint"]
            elif isinstance(node, ast.Assign) and "hint" in ast.unparse(node.targets[0]).lower():
                values = [node.value]
            for value in values:
                for part in ast.walk(value):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def test_every_error_has_a_hint() -> None:
    """Of its class, or where it is raised; an error that gathers others has theirs."""
    classes = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.TailraceError)
    }
    assert len(classes) > 40
    without = []
    for path, tree in modules():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            kind = classes.get(ast.unparse(call.func).rpartition(".")[2])
            given = any(word.arg == "hint" for word in call.keywords)
            gathers = kind in (errors.SeveralUnknown, errors.SeveralModelErrors)
            if kind is not None and not (given or kind.hint or gathers):
                without.append(f"{path.name}:{call.lineno}")
    assert [] == without


def commands(group: click.Group) -> Iterator[click.Command]:
    """The commands of a group and of the groups below it."""
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from commands(command)


def test_every_setting_and_every_option_in_a_hint_exists() -> None:
    settings_modules = (config_settings, config_project, webhook_settings)
    names = {
        field.name
        for module in settings_modules
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
    }
    for schema in PACKAGE.rglob("*.json"):
        names |= set(re.findall(r'"([a-z_]+)":', schema.read_text(encoding="utf-8")))
    options = {
        option
        for command in commands(app.tailrace)
        for parameter in command.params
        for option in parameter.opts
    }
    # Names of guards, of functions, of a file, of columns and a project in examples, and of
    # settings of PostgreSQL and of PgBouncer.
    _, functions = duckdb_functions()
    known = (
        names | options | functions | set(GUARDS) | {"tracking_plan", "contact_id", "account_id"}
    )
    known |= {"my_project", "work_mem", "max_connections", "pool_mode"}
    known |= {"ignore_startup_parameters"}
    words = {
        word
        for text in hints()
        if " " in text.strip()
        for word in re.findall(r"(?<![\w-])(?:--[a-z][a-z-]+|[a-z]+(?:_[a-z]+)+)\b", text)
    }
    assert {"--full-refresh", "instance_url", "api_version"} <= words
    assert set() == words - known
