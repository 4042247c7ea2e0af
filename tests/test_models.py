"""What models are read as, what they become, and what is said of those that cannot be used.

The cases under `models/` hold a project and, below it, what Tailrace says of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.errors import TailraceError
from tailrace.models import Models, read_models

CASES = Path(__file__).parent / "models"


def sections(text: str) -> Iterator[tuple[str, str]]:
    """The parts of a case: `==> name <==` lines with what follows each."""
    for part in text.split("==> ")[1:]:
        name, _, content = part.partition(" <==\n")
        yield name, content


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write a project's files; the folder of its models."""
    (folder / "models").mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder / "models"


def said(models: Models | TailraceError) -> str:
    """Every error, or every warning, as a case writes it."""
    if isinstance(models, TailraceError):
        found = [(type(each).__name__, each) for each in models.flattened()]
    else:
        found = [("warning", w) for model in models.by_name.values() for w in model.warnings]
    return "".join(
        f"{name} {each.file}:{each.line or ''}\n  {each.message}\n  > {each.hint}\n"
        for name, each in found
    )


@pytest.mark.parametrize("case", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_what_cannot_be_used_is_named_with_file_line_and_a_way_out(
    case: Path, tmp_path: Path
) -> None:
    """All mistakes at once, in the order of files and lines; nothing else is reported."""
    parts = dict(sections(case.read_text(encoding="utf-8")))
    expected = parts.pop("said")
    try:
        found: Models | TailraceError = read_models(write(tmp_path, parts))
    except TailraceError as error:
        found = error
    assert expected == said(found)
