"""Configured values as the types of the settings."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from tailrace.config.settings import MAY_BE_ZERO
from tailrace.config.toml_lines import Place
from tailrace.errors import InvalidConfigValue

# The length up to which a message shows a number. A longer one may be a token.
NUMBER_CHARACTERS_MAX = 12
_NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]+")


def convert(value: Any, hint: Any, section: str, key: str, place: Place) -> Any:
    """A configured value as the type of its field; text is read as dlt reads the environment.

    Raises:
        InvalidConfigValue: The value has another type or is out of range. The message quotes a
            number only: a text may be a secret in the wrong place.
    """
    try:
        converted = _converted(value, hint)
        if converted == 0 and not isinstance(converted, bool) and key not in MAY_BE_ZERO:
            raise ValueError
        if _is_share(key) and converted is not None and converted > 1:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InvalidConfigValue(
            f"{section}.{key}{place.in_message} is not "
            f"{_described(hint, zero=key in MAY_BE_ZERO)}{' and ≤ 1' if _is_share(key) else ''}"
            f"{_shown(value, hint)}",
            hint=f"Correct {key} under [{section}].",
            file=place.file,
            line=place.line,
        ) from None
    return converted


def _shown(value: Any, hint: Any) -> str:
    """`; it is 0` for a setting that takes a number and was given one; otherwise empty."""
    takes_number = not {int, float}.isdisjoint((hint, *get_args(hint)))
    text = str(value).lower() if isinstance(value, bool) else str(value).strip()
    is_number = isinstance(value, bool | int | float) or _NUMBER.fullmatch(text)
    is_short = len(text) <= NUMBER_CHARACTERS_MAX
    return f"; it is {text}" if takes_number and is_number and is_short else ""


def _is_share(key: str) -> bool:
    return "_share_" in key


def _converted(value: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "":
            return None
        return _converted(value, next(a for a in get_args(hint) if a is not type(None)))
    if origin is typing.Literal:
        if value not in get_args(hint):
            raise ValueError(value)
        return value
    if origin is Mapping:
        # Read as a whole by `ProjectConfig.merged_table`.
        return {}
    if origin is tuple:
        items = json.loads(value) if isinstance(value, str) and value.startswith("[") else value
        if isinstance(items, Mapping):
            raise TypeError(items)
        if isinstance(items, str):
            items = [part.strip() for part in items.split(",") if part.strip()]
        if not all(isinstance(item, str) for item in items):
            raise TypeError(items)
        return tuple(items)
    if hint is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise ValueError(value)
        return value
    if hint in (int, float):
        if isinstance(value, bool):
            raise TypeError(value)
        number = hint(value)
        if not math.isfinite(number) or number < 0 or (hint is int and number != float(value)):
            raise ValueError(value)
        return number
    if not isinstance(value, str | int | float):
        raise TypeError(value)
    return str(value)


def _described(hint: Any, *, zero: bool) -> str:
    if get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(str(a) for a in get_args(hint))
    if get_origin(hint) in (typing.Union, types.UnionType):
        return _described(next(a for a in get_args(hint) if a is not type(None)), zero=zero)
    least = "≥ 0" if zero else "> 0"
    names = {
        int: f"a whole number {least}",
        float: f"a number {least}",
        bool: "true or false",
        str: "text",
    }
    return names.get(hint, "a list of names")
