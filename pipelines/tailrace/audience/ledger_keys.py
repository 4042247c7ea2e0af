"""The ledger's key for an audience at a destination, without reading its header."""

from __future__ import annotations

import hashlib

from tailrace.audience.blocks import DEFAULT_TYPE

# The section of the configuration that an audience goes to when its header names none.
DEFAULT_DESTINATION = DEFAULT_TYPE
# A key is part of table names, and PostgreSQL truncates names after 63 characters.
LEDGER_KEY_CHARACTERS_MAX = 50


def ledger_key(name: str, destination: str) -> str:
    """The ledger's key for an audience at a destination.

    >>> ledger_key("vips", "segment"), ledger_key("vips", "segment_eu")
    ('vips', 'vips__segment_eu')
    """
    if destination == DEFAULT_DESTINATION:
        return name
    key = f"{name}__{destination}".lower()
    if len(key) <= LEDGER_KEY_CHARACTERS_MAX:
        return key
    return f"{name[:30]}__{hashlib.sha256(key.encode()).hexdigest()[:16]}"
