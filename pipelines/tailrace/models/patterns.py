"""Regular expressions and date formats that mean the same in DuckDB and in PostgreSQL.

DuckDB matches with RE2, PostgreSQL with its own engine. A literal pattern of the subset below means
the same in both once it is written as `portable_pattern` gives it; any other one is not translated.
"""

from __future__ import annotations

import re

# What RE2 means by a class; the classes of PostgreSQL depend on the locale.
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_PUNCTUATION = frozenset(r".^$*+?()[]{}|\/-_@#%&=:;,<>~!'\"` ")
_REPEAT = re.compile(r"\{\d{1,3}(,\d{0,3})?\}")
# The parts of a strftime format that to_char gives as the same text.
_DATE_PARTS = {
    "Y": "YYYY",
    "y": "YY",
    "m": "MM",
    "d": "DD",
    "H": "HH24",
    "I": "HH12",
    "p": "AM",
    "M": "MI",
    "S": "SS",
    "f": "US",
    "j": "DDD",
    "b": "Mon",
    "B": "FMMonth",
    "a": "Dy",
    "A": "FMDay",
    "-d": "FMDD",
    "-m": "FMMM",
    "-H": "FMHH24",
}


def portable_pattern(pattern: str, *, extracts: bool = False) -> str | None:
    """A literal pattern of DuckDB for PostgreSQL; None if it may match otherwise there.

    Args:
        pattern: The pattern, in ASCII.
        extracts: The matched text is used. Then alternatives and optional parts are left out, since
            PostgreSQL prefers the longest match and RE2 the first one.

    >>> portable_pattern(r"^\\d+\\.x$"), portable_pattern(r"\\bx"), portable_pattern("a.b")
    ('^[0-9]+\\\\.x$', None, 'a[^\\\\n]b')
    """
    if not pattern or not pattern.isascii() or not pattern.isprintable():
        return None
    if _EMPTY_PART.search(pattern) or (extracts and "|" in pattern):
        return None
    parts: list[str] = []
    place = depth = 0
    repeatable = False
    while place < len(pattern):
        part = _part(pattern, place, repeatable=repeatable)
        if part is None:
            return None
        text, taken, repeatable = part
        depth += (text == "(") - (text == ")")
        if depth < 0:
            return None
        parts.append(text)
        place += taken
    return None if depth else "".join(parts)


_EMPTY_PART = re.compile(r"\|\||^\||\|$|\(\||\|\)")


def _part(pattern: str, place: int, *, repeatable: bool) -> tuple[str, int, bool] | None:
    """The part at a place: its text for PostgreSQL, its length, and whether it may be repeated."""
    char, following = pattern[place], pattern[place + 1 : place + 2]
    if char == "\\":
        written = _escape(following)
        return None if written is None else (written, 2, True)
    if char == "[":
        bracket = _bracket(pattern, place)
        return None if bracket is None else (*bracket, True)
    if char == ".":
        return r"[^\n]", 1, True
    if char in "*+?{":
        repeat = _REPEAT.match(pattern, place) if char == "{" else None
        text = repeat[0] if repeat else char
        again = pattern[place + len(text) : place + len(text) + 1] in ("?", "+", "*", "{")
        if not repeatable or again or (char == "{" and repeat is None):
            return None
        return text, len(text), False
    if char == "(":
        return None if following in ("?", "*", "+", ")") else (char, 1, False)
    if char in "^$|":
        return char, 1, False
    return None if char in "]}" else (char, 1, True)


def _escape(char: str) -> str | None:
    if char in _CLASSES:
        return f"[{_CLASSES[char]}]"
    if char.lower() in _CLASSES and char:
        return f"[^{_CLASSES[char.lower()]}]"
    return f"\\{char}" if char and char in _PUNCTUATION else None


def _bracket(pattern: str, start: int) -> tuple[str, int] | None:
    """A bracket expression for PostgreSQL and its length; None if it is not simple."""
    end = pattern.find("]", start + 1)
    inside = pattern[start + 1 : end] if end > 0 else ""
    negated = inside.startswith("^")
    body = inside.removeprefix("^")
    if not body or "[" in body or re.search(r"(?<!^)-(?!$)(?<![0-9A-Za-z]-)", body):
        return None
    written = ""
    place = 0
    while place < len(body):
        char = body[place]
        if char == "\\":
            following = body[place + 1 : place + 2]
            if following in _CLASSES:
                written += _CLASSES[following]
            elif following and following in _PUNCTUATION:
                written += f"\\{following}"
            else:
                return None
            place += 2
            continue
        written += char
        place += 1
    return f"[{'^' if negated else ''}{written}]", end - start + 1


def date_format(text: str) -> str | None:
    """A strftime format as to_char writes it; None if a part of it has no equal.

    >>> date_format("%d.%m.%Y"), date_format("day %j"), date_format("%c")
    ('DD"."MM"."YYYY', '"day "DDD', None)
    """
    parts = re.findall(r"%(-?[A-Za-z%])|([^%]+)|(%)", text)
    written = ""
    for code, plain, wrong in parts:
        if wrong or '"' in plain or "\\" in plain:
            return None
        if plain:
            written += f'"{plain}"'
        elif code == "%":
            written += '"%"'
        elif code in _DATE_PARTS:
            written += _DATE_PARTS[code]
        else:
            return None
    return written
