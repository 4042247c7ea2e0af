"""The types whose values the warehouse writes as JSON, in the bytes that the encoder writes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tailrace.warehouse.statements import Column

# The types that `outbox/rendered_page` can write, by the name of their column list. DuckDB's names
# are in capitals, PostgreSQL's in lower case.
FAMILIES = {
    "texts": re.compile(r"VARCHAR(\[\])?|(text|character varying(\(\d+\))?)(\[\])?"),
    "booleans": re.compile(r"BOOLEAN|boolean"),
    "wholes": re.compile(
        r"U?(TINYINT|SMALLINT|INTEGER|BIGINT)|HUGEINT|DECIMAL\(\d+,0\)"
        r"|smallint|integer|bigint|numeric\(\d+,0\)"
    ),
    "doubles": re.compile(r"DOUBLE|FLOAT|double precision|real"),
    "decimals": re.compile(r"DECIMAL\(\d+,[1-9]\d*\)|numeric(\(\d+,[1-9]\d*\))?"),
    "dates": re.compile(r"DATE|date"),
    "moments": re.compile(r"TIMESTAMP( WITH TIME ZONE)?|timestamp(\(\d\))? with(out)? time zone"),
    "uuids": re.compile(r"UUID|uuid"),
}


def columns_of(columns: Iterable[Column], family: str) -> tuple[Column, ...]:
    """The columns of one family."""
    return tuple(column for column in columns if FAMILIES[family].fullmatch(column.type))


def is_text(type_: str) -> bool:
    """Whether values of a type are texts, and not lists of texts."""
    return FAMILIES["texts"].fullmatch(type_) is not None and not type_.endswith("[]")
