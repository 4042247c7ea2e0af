"""Every command that a hint or a message names is a command that runs."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

from tailrace.cli import app
from tailrace.testing import SegmentSimulator

PACKAGE = Path(app.__file__).parents[1]
# What a message leaves for the reader to fill in, or fills in itself.
EXAMPLES = {
    "NEW_NAME": "persons",
    "AUDIENCE": "people",
    "DIR": "another",
    "FILE": "rows.jsonl",
    "NAME": "other",
    "OBJECT": "Contact",
}
COMMAND = re.compile(r"tailrace((?: (?:--?[\w-]+|[\w.*:-]+|\{\}))+)")


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a module, docstrings and nested parts left out; `{}` for what is filled in."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    for node in joined:
        parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
        yield "".join(map(str, parts))
    left_out = docstrings | {id(part) for node in joined for part in node.values}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in left_out:
            yield text


def hinted() -> list[str]:
    """The command lines in the messages of the package."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "testing" in path.parts or path.name in ("demo.py", "init.py"):
            continue
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
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
    if "object" in line or words[0] == "extract":
        words = ["Contact" if word == "people" else word for word in words]
    plain = {"status", "run", "validate", "ls", "doctor", "plan", "tracking-plan"}
    if words[0] in plain | {"sync", "extract", "retry", "rejected"}:
        options = [word for word in words[1:] if word.startswith("-")]
        if not options:
            words = words[:1]
    return words


@pytest.mark.parametrize("line", hinted())
def test_every_hinted_command_runs(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No usage error but the question of a command that asks first."""
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        other = {"HOST": segment.url, "WRITE_KEY": "other"}
        environ = shop.environ | {f"DESTINATION__OTHER__{key}": other[key] for key in other}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "email": "a@example.com"}])
        shop.sync()
        monkeypatch.chdir(shop.root)
        app.answer([*runnable(line), "--json"])
    result = json.loads(capsys.readouterr().out)
    wrong = [e for e in result["errors"] if e["error"] in ("UsageError", "NothingSelected")]
    asked = [e for e in wrong if "--yes" in e["message"]]
    expected = [e for e in wrong if "still declares" in e["message"]]
    assert wrong in (asked, expected), (runnable(line), wrong)


def test_the_hints_are_found() -> None:
    assert len(hinted()) > 15
    assert {"validate", "reset {} --send", "retire {}"} <= set(hinted())
