"""Makes stdout and stderr usable, whatever the process was started with."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress

# What tables and sentences contain, for an encoding that lacks it.
_PLAIN = str.maketrans({"→": "->", "…": "...", "─": "-", "·": "-"})


def prepare_streams() -> None:
    """Open the standard streams that are closed, and print characters that an encoding lacks.

    The first file that a process opens gets the number of a closed stream. That would be the
    warehouse, and what a library writes to stderr would be written into it.
    """
    codecs.register_error("tailrace", _in_plain_characters)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        # Not each stream that a program may put here can be changed.
        with suppress(AttributeError):
            stream.reconfigure(errors="tailrace")  # type: ignore[union-attr]


def discard_output() -> None:
    """Drop what is buffered for stdout, which Python would try to write at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    r"""What is written for characters that an encoding lacks; a string of JSON stays one.

    >>> _in_plain_characters(UnicodeEncodeError("ascii", "0 → 3 Zoë", 2, 3, ""))
    ('->', 3)
    >>> _in_plain_characters(UnicodeEncodeError("ascii", "0 → 3 Zoë", 8, 9, ""))
    ('\\xeb', 9)
    """
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end].translate(_PLAIN)
    return characters.encode("ascii", "backslashreplace").decode(), error.end
