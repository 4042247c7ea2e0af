"""The types whose values the warehouse writes as JSON, in the bytes that the encoder writes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tailrace.warehouse.statements import Column

# The types that `outbox/rendered_page` can write, by the name of their column list.
FAMILIES = {
    "texts": re.compile(r"VARCHAR(\[\])?"),
    "booleans": re.compile(r"BOOLEAN"),
    "wholes": re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT)|HUGEINT|DECIMAL\(\d+,0\)"),
    "doubles": re.compile(r"DOUBLE|FLOAT"),
    "decimals": re.compile(r"DECIMAL\(\d+,[1-9]\d*\)"),
    "dates": re.compile(r"DATE"),
    "moments": re.compile(r"TIMESTAMP( WITH TIME ZONE)?"),
    "uuids": re.compile(r"UUID"),
}


def columns_of(columns: Iterable[Column], family: str) -> tuple[Column, ...]:
    """The columns of one family."""
    return tuple(column for column in columns if FAMILIES[family].fullmatch(column.type))
