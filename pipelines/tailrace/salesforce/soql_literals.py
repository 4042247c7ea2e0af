"""Values as literals in a query."""

from __future__ import annotations

from typing import Any

from simple_salesforce.format import format_soql


def literal(value: Any) -> str:
    r"""A text or a number as SOQL writes it.

    >>> literal("O'Hara"), literal(1.5)
    ("'O\\'Hara'", '1.5')
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    return str(format_soql("{}", str(value)))
