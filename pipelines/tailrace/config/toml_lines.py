"""TOML files with the lines of their keys, which the standard library's parser does not give."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tailrace.dataclass import dataclass

# Tables and keys, from the top of the file: `("destination", "segment", "host")`.
Path = tuple[str, ...]

_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_COMMENT = re.compile(r"#[^\n]*")
_BLANK = re.compile(r"\s+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# A number, a date or a truth value.
_PLAIN_VALUE = re.compile(r"[^\s,\]}#]+(?: [0-9][^\s,\]}#]*)?")


class TomlFile(dict[str, Any]):
    """The tables of a TOML file.

    Raises:
        tomllib.TOMLDecodeError: The text is not TOML.
    """

    def __init__(self, text: str) -> None:
        super().__init__(tomllib.loads(text))
        self._text = text

    @cached_property
    def lines(self) -> Mapping[Path, int]:
        """The lines of keys and tables. They are looked for where an error is reported."""
        try:
            return key_lines(self._text)
        except (ValueError, IndexError):
            return {}


@dataclass(frozen=True, kw_only=True)
class Place:
    """What sets a key: a line of a file, an environment variable, or neither, such as a vault."""

    name: str
    file: str | None = None
    line: int | None = None

    @property
    def in_message(self) -> str:
        """` (in $NAME)` for an environment variable; a file is named beside the message."""
        return "" if self.file else f" (in {self.name})"


def place_in(file: str, layer: Mapping[str, Any], section: str, key: str = "") -> Place:
    """The place of a key, or of a section, in a file.

    Args:
        file: The file's name.
        layer: Its tables.
        section: The section, with dots between its parts; empty for a key at the top.
        key: The key, whose name may have dots.
    """
    path = (*(part for part in section.split(".") if part), *((key,) if key else ()))
    lines = layer.lines if isinstance(layer, TomlFile) else {}
    return Place(name=file, file=file, line=lines.get(path))


def key_lines(text: str) -> dict[Path, int]:
    """The line of each key and of each table of a text that is TOML, from 1.

    Values are skipped and never returned: they may be secrets. A table that only its
    keys name has the line of the first of them.

    >>> key_lines('[tailrace]\\n\\nsalt = "x"')
    {('tailrace',): 1, ('tailrace', 'salt'): 3}
    """
    return _Scanner(text.removeprefix("\ufeff").replace("\r\n", "\n")).lines()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}

    def lines(self) -> dict[Path, int]:
        table: Path = ()
        self._skip()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                self._at += 2 if self._text.startswith("[[", self._at) else 1
                table = self._key(())
                self._at += self._text.startswith("]", self._at)
                self._at += self._text.startswith("]", self._at)
            else:
                self._pair(table)
            self._skip()
        return self._lines

    def _pair(self, table: Path) -> None:
        """A key with its value, which may hold further keys."""
        path = self._key(table)
        self._at += 1
        self._skip()
        self._value(path)

    def _key(self, table: Path) -> Path:
        """A key such as `a."b c".d`, below a table."""
        path = table
        line = self._text.count("\n", 0, self._at) + 1
        while True:
            self._skip()
            path = (*path, self._name())
            self._lines.setdefault(path, line)
            self._skip()
            if not self._text.startswith(".", self._at):
                return path
            self._at += 1

    def _name(self) -> str:
        bare = _BARE_KEY.match(self._text, self._at)
        quoted = bare or _STRING.match(self._text, self._at)
        if quoted is None:
            raise ValueError("no key where a key is expected")
        self._at = quoted.end()
        # The parser knows the escapes.
        return bare[0] if bare else next(iter(tomllib.loads(f"{quoted[0]} = 0")))

    def _value(self, path: Path) -> None:
        opening = self._text[self._at]
        if opening not in "[{":
            match = _STRING.match(self._text, self._at) or _PLAIN_VALUE.match(self._text, self._at)
            if match is None:
                raise ValueError("no value where a value is expected")
            self._at = match.end()
            return
        self._at += 1
        self._skip()
        while self._text[self._at] not in "]}":
            if opening == "{":
                self._pair(path)
            else:
                self._value(path)
            self._skip()
            self._at += self._text.startswith(",", self._at)
            self._skip()
        self._at += 1

    def _skip(self) -> None:
        """Skip blanks, line ends and comments."""
        while match := _BLANK.match(self._text, self._at) or _COMMENT.match(self._text, self._at):
            self._at = match.end()
