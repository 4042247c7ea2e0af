"""Values, texts and bytes with a few random mistakes in them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, -1, 0, 1e400, "", "x", [], {}, [[]], [None], True, "2026-13-45", 10**30, 0.1),
    *("null", "\x00", "\udcff", "é" * 300, {"a": {}}, "https://[::1", "9" * 400, "-", "NaN"),
)
BODIES = (
    *(b"", b" ", b"<html>", b"<?xml version='1.0'?><a>", b"[" * 2_000, b"\xff\xfe", b"nul", b"{}"),
    *(b'"x"', b"1", b"Id\n\n", b"[]", b"[null]", b"\x1f\x8b", b'{"a":', b"true", b"\xef\xbb\xbf{}"),
)
WORDS = (
    *("1", "-1", "true", "''", "[]", "{}", "nan", "inf", "1e999", "[[1]]", "{a = 1}", "null"),
    *("'\u202e\x1b[31m'", "9" * 400, "1979-05-27", "07:32:00", "'../../x'", "[1, 'a']", "'é'"),
    *("0x7fffffffffffffffffff", "{a: {b: [}", "!!python/object:os.system", "&a [*a]", "2024-01-01"),
)


def changed_value(choose: random.Random, value: Any) -> Any:
    """A JSON value with one part replaced or removed, or replaced as a whole."""
    if not isinstance(value, (dict, list)) or not value or choose.random() < 0.1:
        return choose.choice(VALUES)
    changed = value.copy()
    key = choose.choice(list(changed) if isinstance(changed, dict) else range(len(changed)))
    if isinstance(changed, dict) and choose.random() < 0.2:
        del changed[key]
    else:
        changed[key] = changed_value(choose, changed[key])
    return changed


def changed_text(choose: random.Random, text: str, words: Sequence[str] = WORDS) -> str:
    """A text with one to three mistakes: a value, a character, a line, or a cut."""
    for _ in range(choose.randint(1, 3)):
        lines = text.split("\n")
        place = choose.randrange(len(lines))
        line = lines[place]
        mistake = choose.randrange(7)
        if mistake == 0 and "=" in line:
            lines[place] = f"{line.partition('=')[0]}= {choose.choice(words)}"
        elif mistake == 1 and ":" in line:
            lines[place] = f"{line.partition(':')[0]}: {choose.choice(words)}"
        elif mistake == 2:
            lines.insert(place, choose.choice(lines))
        elif mistake == 3 and line:
            position = choose.randrange(len(line))
            lines[place] = line[:position] + choose.choice("\x00\x1b\t]}{:='\"é☃") + line[position:]
        elif mistake == 4 and " " in line:
            parts = line.split(" ")
            parts[choose.randrange(len(parts))] = choose.choice(words)
            lines[place] = " ".join(parts)
        elif mistake == 5:
            del lines[place]
        else:
            lines[place] = line[: choose.randrange(len(line) + 1)]
        text = "\n".join(lines) or "x"
    return text


def changed_bytes(choose: random.Random, content: bytes) -> bytes:
    """Bytes that are cut, or have a piece overwritten."""
    if choose.random() < 0.3:
        return content[: choose.randrange(len(content) + 1)]
    damaged = bytearray(content)
    for _ in range(choose.choice([1, 3, 40])):
        # The headers of a file are small, and are hit as often as the rest of it.
        end = choose.choice([64, 12_288, len(damaged)])
        start = choose.randrange(min(end, len(damaged)))
        piece = choose.randbytes(choose.choice([1, 8, 512]))
        damaged[start : start + len(piece)] = piece
    return bytes(damaged)
