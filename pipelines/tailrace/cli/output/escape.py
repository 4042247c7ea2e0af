"""Text from outside, made safe for each format that it is printed in.

Names and messages come from files, services and databases. They may hold control sequences for a
terminal, commands for GitHub, Markdown or HTML, and may be very long.
"""

from __future__ import annotations

import unicodedata

TEXT_CHARACTERS_MAX = 4_000
CELL_CHARACTERS_MAX = 400
# The category of Unicode that no name or message needs: controls, formats such as the switches of
# writing direction, surrogates, private use, unassigned.
_UNPRINTABLE = "C"
_LINE_BREAKS = str.maketrans(dict.fromkeys("\r\x0b\x0c\x85\u2028\u2029", "\n"))


def printable(text: object, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """Text without control characters, on one line, cut at a number of characters.

    >>> printable("a\\x1b[31mb\\nc")
    'a[31mb c'
    >>> printable("abcdef", 4)
    'abc…'
    """
    line = " ".join(str(text).replace("\r\n", "\n").translate(_LINE_BREAKS).split("\n"))
    clean = "".join(
        " " if character == "\t" else character
        for character in line
        if character == "\t" or not unicodedata.category(character).startswith(_UNPRINTABLE)
    )
    return clean if len(clean) <= characters_max else f"{clean[: characters_max - 1]}…"


def markdown(text: object) -> str:
    """Text as Markdown shows it literally; an @ mentions no user.

    >>> markdown("<b> @team | [x]")
    '&#60;b&#62; @\\u200bteam &#124; &#91;x&#93;'
    """
    escaped = printable(text).replace("&", "&amp;")
    for character in "\\`*[]<>|~":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped.replace("@", "@\u200b")


def markdown_code(text: object) -> str:
    """Text between single backticks; backticks in it become apostrophes.

    >>> markdown_code("vip`s | x")
    "`vip's &#124; x`"
    """
    return f"`{printable(text).replace('`', chr(39)).replace('|', '&#124;')}`"


def code_line(text: object) -> str:
    """A line inside of a block of code; backticks in it are written as JSON can escape them.

    >>> code_line('{"x": "```"}')
    '{"x": "\\\\u0060\\\\u0060\\\\u0060"}'
    """
    return printable(text).replace("`", "\\u0060")


def html(text: object) -> str:
    """Text as HTML shows it literally, in an element or in a quoted attribute.

    >>> html("<a href='x'>")
    '&lt;a href=&#x27;x&#x27;&gt;'
    """
    import html as library

    return library.escape(printable(text), quote=True)


def github(text: object) -> str:
    """The message of a GitHub workflow command.

    >>> github("50% off")
    '50%25 off'
    """
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def github_property(text: object) -> str:
    """A property of a GitHub workflow command, such as `file`.

    >>> github_property("a:b,c")
    'a%3Ab%2Cc'
    """
    return github(text).replace(":", "%3A").replace(",", "%2C")
