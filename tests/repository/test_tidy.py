"""Tests about the text of the project: what keeps it readable is not left to memory."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipelines" / "tailrace"

FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 600
WORDS_FOR_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

# Put together here, so that this file does not hold what it looks for.
REMINDERS = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b"
)
MACHINE_FOLDERS = "|".join(["ho" + "me", "ro" + "ot", "Us" + "ers", "wo" + "rk"])
MACHINE_PATHS = re.compile(rf"/(?:{MACHINE_FOLDERS})/")
REGISTRIES = re.compile(
    "|".join(
        [
            r"python" + r"hosted\.org",
            r"py" + r"pi\.org",
            r"--(extra-)?index" + "-url",
            r"deb" + r"ian\.org",
            r"registry\." + "npm",
        ]
    )
)
TICKETS = re.compile(r"(?:^|[\s(])#\d+\b")


def tracked() -> list[Path]:
    """The files that git knows, or would with the next commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def modules() -> list[Path]:
    """The modules of the package and of its sandbox."""
    return sorted(PACKAGE.rglob("*.py"))


def engine() -> list[Path]:
    """The modules of the package without its sandbox."""
    return [path for path in modules() if "testing" not in path.relative_to(PACKAGE).parts]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def matches(pattern: re.Pattern[str], paths: list[Path]) -> Iterator[str]:
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            if pattern.search(line):
                yield f"{short(path)}:{number}: {line.strip()[:80]}"


def attributes(path: Path) -> Iterator[tuple[str, int]]:
    """Every `name.attribute` in a module, with its line."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}", node.lineno


def test_the_folders_of_sql_hold_no_python() -> None:
    found = [short(path) for folder in ("sql", "models") for path in (ROOT / folder).rglob("*.py")]
    assert [] == found


@pytest.mark.parametrize("path", modules(), ids=short)
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    long = [
        f"{node.name}: {lines} lines"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) >= FUNCTION_LINES_MAX
    ]
    assert [] == long


@pytest.mark.parametrize("path", modules(), ids=short)
def test_every_module_and_public_name_says_what_it_is_for(path: Path) -> None:
    body = tree(path)
    public = [
        node
        for node in body.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    assert ast.get_docstring(body)
    assert [] == silent


def test_no_module_is_longer_than_one_sitting() -> None:
    lengths = {short(path): len(path.read_text().splitlines()) for path in modules()}
    long = {name: lines for name, lines in lengths.items() if lines > MODULE_LINES_MAX}
    assert {} == long


def test_no_module_is_named_for_nothing() -> None:
    stems = {part for path in modules() for part in path.relative_to(PACKAGE).with_suffix("").parts}
    words = {word for stem in stems for word in stem.split("_")}
    assert set() == words & WORDS_FOR_NOTHING


def test_nothing_tracked_names_a_registry() -> None:
    assert [] == list(matches(REGISTRIES, tracked()))


def test_nothing_tracked_names_a_path_of_somebody_s_machine() -> None:
    assert [] == list(matches(MACHINE_PATHS, tracked()))


def test_nothing_is_left_for_later() -> None:
    assert [] == list(matches(REMINDERS, tracked()))


def test_code_names_no_tickets() -> None:
    assert [] == list(matches(TICKETS, [*modules(), *(ROOT / "sql").rglob("*.sql")]))


def test_only_the_command_line_prints() -> None:
    found = [
        f"{short(path)}:{node.lineno}"
        for path in engine()
        if path.name not in ("app.py", "demo.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert [] == found


def test_only_the_project_reads_the_environment() -> None:
    names = {"os.environ", "os.getenv", "os.getcwd", "os.chdir", "Path.cwd"}
    found = [
        f"{short(path)}:{line}: {name}"
        for path in engine()
        if path.name != "project.py"
        for name, line in attributes(path)
        if name in names
    ]
    assert [] == found


def test_only_the_clock_reads_the_time() -> None:
    names = {
        *(f"datetime.{each}" for each in ("now", "utcnow", "today")),
        *(f"time.{each}" for each in ("time", "monotonic", "sleep", "perf_counter")),
        "date.today",
    }
    found = [
        f"{short(path)}:{line}: {name}"
        for path in engine()
        if path.name != "clock.py"
        for name, line in attributes(path)
        if name in names
    ]
    assert [] == found


def test_only_classes_with_slots_or_an_order_take_the_dataclass_that_compiles_code() -> None:
    found = [
        f"{short(path)}:{decorator.lineno}"
        for path in engine()
        if any(
            isinstance(node, ast.ImportFrom)
            and node.module == "dataclasses"
            and "dataclass" in {alias.name for alias in node.names}
            for node in tree(path).body
        )
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if ast.unparse(decorator).startswith("dataclass")
        and not re.search(r"slots|order", ast.unparse(decorator))
    ]
    assert [] == found


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    """The drawing on top of errors.py names every error once, below its parent."""
    import tailrace.errors as errors

    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"( *)[*x+.-] (\w+)", line)
        if not found:
            continue
        depth, name = len(found[1]), found[2]
        above = [each for each in above if each[0] < depth]
        drawn[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    real = {
        name: made.__mro__[1].__name__
        for name, made in vars(errors).items()
        if isinstance(made, type) and issubclass(made, errors.TailraceError)
    }
    assert real == drawn
