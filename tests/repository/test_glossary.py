"""One word for one thing: the words that ARCHITECTURE's glossary replaces are used nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from repository.documents import ROOT, documents

PACKAGE = ROOT / "pipelines" / "tailrace"
SUFFIXES = {".py", ".json", ".sql", ".yml", ".yaml", ".md"}
GLOSSARY = re.compile(r"\n## Glossary\n(.*?)\n## ", re.DOTALL)
# The same letters with another meaning: streets of the simulated org, an option name that stays;
# names of tests are searched where they are defined.
HOMONYMS = re.compile(r"[A-Z]\w+ Lane\b|--afresh|`[\w/]+::\w+`")
# Uses that stay, at most, by package or folder: names of tables of older ledgers, a JSON alias, a
# stored state, and the envelope of SOAP.
REMAINING = {
    "ledger": 5,
    "salesforce": 1,
    "sql": 7,
    "testing": 8,
}


def architecture() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


@cache
def replaced_words() -> tuple[str, ...]:
    """The third column of the glossary."""
    section = GLOSSARY.search(architecture())
    assert section
    _, _, table = section[1].partition("| --- |")
    rows = re.findall(r"^\| [a-z ]+ \| .+ \| ([a-z, ]+) \|$", table, re.MULTILINE)
    return tuple(word for cell in rows for word in cell.split(", "))


def pattern() -> re.Pattern[str]:
    """Each word with its endings, also as a part of a name such as `_lane` or `LaneKey`."""
    words = "|".join(with_endings(word) for word in replaced_words())
    titles = "|".join(with_endings(word.title()) for word in replaced_words())
    return re.compile(
        rf"(?<![a-z])(?i:(?:un)?(?:{words}))(?![a-z])|(?<=[a-z])(?:{titles})(?![a-z])"
    )


def with_endings(word: str) -> str:
    """A word with the endings of nouns and verbs, as a pattern."""
    if word.endswith("e"):
        return f"{word[:-1]}(?:e|es|ed|er|ing)"
    return f"{word}(?:s|es|ed|er|ing)?"


def places() -> dict[str, list[Path]]:
    """What is searched, by the name of a package or folder."""
    folders = {path.name: path for path in sorted(PACKAGE.iterdir()) if path.is_dir()}
    folders = {name: path for name, path in folders.items() if name != "__pycache__"}
    named = {**folders, "sql": ROOT / "sql", "models": ROOT / "models"}
    found = {
        name: [p for p in path.rglob("*") if p.suffix in SUFFIXES] for name, path in named.items()
    }
    found["tailrace"] = list(PACKAGE.glob("*.py"))
    found["docs"] = [
        *documents(),
        *(ROOT / "docs" / "reference").glob("*.md"),
        *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ]
    found["tests"] = list((ROOT / "tests").rglob("*.py"))
    return found


def uses(path: Path, wanted: re.Pattern[str]) -> Iterator[str]:
    """Where a file uses one of the words; of a test file only its file and function names count."""
    text = path.read_text(encoding="utf-8")
    if path.name == "ARCHITECTURE.md":
        text = GLOSSARY.sub("\n## ", text)
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if path.is_relative_to(ROOT / "tests") and not line.lstrip().startswith("def test_"):
            continue
        for match in wanted.finditer(HOMONYMS.sub("", line)):
            yield f"{path.relative_to(ROOT).as_posix()}:{number}: {match[0]}"


def test_the_glossary_has_a_dozen_words() -> None:
    assert len(replaced_words()) >= 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lane_of(x)", True),
        ("class LaneKey", True),
        ("by_lanes", True),
        ("is settled", True),
        ("settling", True),
        ("unsettled", True),
        ("plane", False),
        ("land", False),
        ("Recommended amendment", False),
        ("doubtful", True),
        ("_told", True),
        ("isTold", True),
    ],
)
def test_a_word_is_found_in_names_and_with_endings(text: str, expected: bool) -> None:
    assert expected == bool(pattern().search(text))


@pytest.mark.parametrize("place", sorted(places()))
def test_no_replaced_word_is_used(place: str) -> None:
    wanted = pattern()
    found = [use for path in places()[place] for use in uses(path, wanted)]
    assert len(found) <= REMAINING.get(place, 0), found
