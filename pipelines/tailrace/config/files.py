"""The files of `.dlt/`: the project that they are in, and their tables."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tailrace.config.toml_lines import TomlFile
from tailrace.errors import InvalidConfigValue, NotAProject, TailraceError

E = TypeVar("E", bound=TailraceError)

# What the standard library's parser says of a text, without the parts that it quotes.
_REASONS = {
    "Cannot overwrite a value": "a key stands twice",
    "Cannot declare": "a section stands twice",
    "Duplicate inline table key": "a key stands twice",
    "Expected '=' after a key": "= is missing after a key",
    'Expected "\'"': "the quotes of a text are not closed",
    "Expected ']'": "] is missing after the name of a section",
    "Expected newline or end of document": "something follows a value on its line",
    "Illegal character '\\n'": "the quotes of a text are not closed",
    "Invalid value": "a value is missing, or is a text without quotes",
    "Unclosed array": "an array is not closed",
    "Unclosed inline table": "an inline table is not closed",
    "Unescaped '\\'": "a backslash in a text with double quotes must be doubled",
    "Unterminated string": "the quotes of a text are not closed",
}


def not_utf_8(kind: type[E], error: UnicodeDecodeError, file: str) -> E:
    """The error for a file that is not UTF-8, with the line of the first byte at fault."""
    return kind(
        "The file is not UTF-8 text",
        hint="Save it with the encoding UTF-8.",
        file=file,
        line=error.object.count(b"\n", 0, error.start) + 1,
    )


def find_root(start: Path) -> Path:
    """The folder of a project: `start` or the nearest one above it.

    Raises:
        NotAProject: There is no `.dlt/config.toml` in any of them.
    """
    if not start.is_dir():
        raise NotAProject(f"There is no folder {start.name}/", hint="Check --project-dir.")
    for folder in (start, *start.parents):
        if (folder / ".dlt" / "config.toml").is_file():
            return folder
    raise NotAProject(
        f"There is no Tailrace project in {start.name or start}/ or above it: no .dlt/config.toml"
    )


def read_layers(folder: Path, target: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and the tables of each file, the one that wins first.

    Raises:
        InvalidConfigValue: There is no such target, or a file cannot be read as TOML.
    """
    names = ["secrets.toml", "config.toml"]
    if target:
        if target.startswith(".") or "/" in target or "\\" in target:
            raise InvalidConfigValue(
                f'"{target}" is a path, and --target takes a name',
                hint="Give the NAME of a file .dlt/NAME.config.toml, such as: --target dev",
            )
        own = [f"{target}.secrets.toml", f"{target}.config.toml"]
        if not any((folder / name).is_file() for name in own):
            raise InvalidConfigValue(
                f'There is no target "{target}": neither {own[0]} nor {own[1]} is in .dlt/',
                hint=f"Create .dlt/{own[1]}, or leave --target out.",
            )
        names = [own[0], "secrets.toml", own[1], "config.toml"]
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        text = ""
        try:
            text = path.read_text(encoding="utf-8-sig")
            yield f".dlt/{name}", TomlFile(text)
        except UnicodeDecodeError as error:
            raise not_utf_8(InvalidConfigValue, error, f".dlt/{name}") from None
        except OSError as error:
            raise InvalidConfigValue(
                f"The file cannot be read: {error.strerror}",
                hint="Give this user the right to read the file.",
                file=f".dlt/{name}",
            ) from None
        except tomllib.TOMLDecodeError as error:
            # The parser's message may quote the line, and the line may hold a secret.
            reason, _, place = str(error).rpartition("(")
            place = place.rstrip(")")
            known = next((text for start, text in _REASONS.items() if reason.startswith(start)), "")
            where = f"{known}, {place}" if known else place
            line = re.search(r"line (\d+)", place)
            raise InvalidConfigValue(
                f"Not valid TOML: {where}",
                file=f".dlt/{name}",
                line=int(line[1]) if line else len(text.splitlines()),
            ) from None
