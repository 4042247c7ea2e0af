"""Rows of every type, and a comparison of both ways to build the messages of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import sqlglot
from warehouses.desk import Desk, desk_on

from tailrace.destinations.protocol import MapperOptions
from tailrace.destinations.registry import destination_type
from tailrace.ledger.outbox import has_changes
from tailrace.run.member_messages import OutboxMessages
from tailrace.run.planned_delivery import Delivery
from tailrace.run.rendered_page import RenderedPage
from tailrace.warehouse.statements import UnionAll, query

ROWS = 1_500
# For each type, values among which are those that two writers of JSON may write differently.
POOLS = {
    "name": "['Ann', 'O''Hara \"Q\"', 'back\\slash', 'Zoë', '東京', '😀', '', ' ', NULL, "
    "'tab' || chr(9), 'line' || chr(10), 'a' || chr(1) || 'b', chr(27) || '[0m', 'nul' || chr(0), "
    "chr(127), chr(8232), '</script>', '\\u00e9', repeat('x', 300)]::VARCHAR[]",
    "ok": "[TRUE, FALSE, NULL]::BOOLEAN[]",
    "small": "[0, 1, -7, 127, -128, NULL]::TINYINT[]",
    "big": "[0, 9007199254740991, 9007199254740992, -9007199254740992, 9223372036854775807, "
    "-9223372036854775808, NULL]::BIGINT[]",
    "huge": "[1, 170141183460469231731687303715884105727, NULL]::HUGEINT[]",
    "score": "[0.0, '-0.0', 0.1, 1.0, 1e15, 1e16, 1e22, 1e23, 1e300, 5e-324, 1e-5, 0.001, 0.00099, "
    "123456789.125, 9007199254740993.0, -2.5, 'nan', 'inf', '-inf', NULL]::DOUBLE[]",
    "ratio": "[0.1, 1.5, 3.4e38, 'nan', NULL]::FLOAT[]",
    "amount": "[0.00, 1.50, -0.01, 1234567890123.45, 9999999999999999.99, 12.3, NULL]"
    "::DECIMAL(18,2)[]",
    "rate": "[0.000000001, 0.1, 12345678901.123456789, -1, NULL]::DECIMAL(38,9)[]",
    "units": "[0, 12, 9007199254740993, 99999999999999999999, NULL]::DECIMAL(38,0)[]",
    "born": "['2026-11-22', '1000-01-01', '0999-12-31', '9999-12-31', '10000-01-01', NULL]::DATE[]",
    "seen": "['2026-11-22 05:00:00', '2026-11-22 05:00:00.5', '1969-12-31 23:59:59.000001', "
    "'9999-12-30 00:00:00', '0500-01-01 00:00:00', NULL]::TIMESTAMP[]",
    "moved": "['2026-11-22 05:00:00+00', '2026-03-29 01:59:59.123456+02', NULL]::TIMESTAMPTZ[]",
    "token": "['6f8a1c52-6f0e-4a39-a3d5-3d1c9b5f7a10', NULL]::UUID[]",
    "tags": "[['a', 'b'], [], ['q\"', NULL, 'é'], [chr(1)], NULL]::VARCHAR[][]",
    "account": "['001', 'A-2', 'ß9', NULL, '', chr(9) || 'x', '-']::VARCHAR[]",
    # Among these are users of several rows, who stay when one of them leaves.
    "known": "['u1', 'u2', '\"q\"', ' u3', 'é4', '', NULL, 'u5', 'u6', 'u7']::VARCHAR[]",
}

# The same for PostgreSQL: the type, and its values.
POSTGRES_POOLS = {
    "name": (
        "text",
        "'Ann', 'O''Hara \"Q\"', 'back\\slash', 'Zoë', '東京', '😀', '', ' ', NULL, "
        "'tab' || chr(9), 'line' || chr(10), 'a' || chr(1) || 'b', chr(27) || '[0m', "
        "chr(30) || 'separated' || chr(31), chr(127), chr(8232), '</script>', '\\u00e9', "
        "repeat('x', 300), repeat('y', 33000)",
    ),
    "ok": ("boolean", "TRUE, FALSE, NULL"),
    "small": ("smallint", "0, 1, -7, 32767, -32768, NULL"),
    "big": (
        "bigint",
        "0, 9007199254740991, 9007199254740992, -9007199254740992, 9223372036854775807, NULL",
    ),
    "huge": ("numeric(38,0)", "1, 99999999999999999999, -3, 'NaN', NULL"),
    "score": (
        "double precision",
        "0.0, '-0.0', 0.1, 1.0, 1e15, 999999999999999, 1e16, 1e22, 1e23, 1e300, 5e-324, 1e-5, "
        "0.001, 0.00099, 123456789.125, 9007199254740993.0, -2.5, 1.0/3, 'nan', '-inf', NULL",
    ),
    "ratio": ("real", "0.1, 1.5, 999999, 1e6, 123456.7, 0.001, 3.4e38, '-0.0', 'nan', NULL"),
    "amount": (
        "numeric(18,2)",
        "0.00, 1.50, -0.01, 100, -20.00, 1234567890123.45, 9999999999999999.99, 12.3, 'NaN', NULL",
    ),
    "rate": (
        "numeric",
        "0.1, 0.000000001, 12345678901.123456789, -1, 1.10, 200, 1e20, 0, 0.00, "
        "100000000000000, 12345678901234567, 'NaN', NULL",
    ),
    "units": ("numeric(20,0)", "0, 12, 9007199254740993, 99999999999999999999, 'NaN', NULL"),
    "born": (
        "date",
        "'2026-11-22', '1000-01-01', '0999-12-31', '9999-12-31', '10000-01-01', "
        "'0044-03-15 BC', 'infinity', NULL",
    ),
    "seen": (
        "timestamp",
        "'2026-11-22 05:00:00', '2026-11-22 05:00:00.5', '1969-12-31 23:59:59.000001', "
        "'9999-12-30 00:00:00', '0500-01-01 00:00:00', '-infinity', NULL",
    ),
    "moved": (
        "timestamptz(6)",
        "'2026-11-22 05:00:00+00', '2026-03-29 01:59:59.123456+02', 'infinity', NULL",
    ),
    "token": ("uuid", "'6f8a1c52-6f0e-4a39-a3d5-3d1c9b5f7a10', NULL"),
    "tags": (
        "varchar(9)[]",
        "ARRAY['a', 'b'], '{}', ARRAY['q\"', NULL, 'é'], ARRAY[chr(1)], '{{a,b},{c,d}}', NULL",
    ),
    "account": ("varchar(40)", "'001', 'A-2', 'ß9', NULL, '', chr(9) || 'x', '-', '[x', 'Zz'"),
    "known": (
        "text",
        "'u1', 'u2', '\"q\"', ' u3', 'é4', '', NULL, 'u5', 'u6' || chr(30), 'u7', chr(127) || 'u'",
    ),
}


@pytest.fixture(scope="module", params=[pytest.param("duckdb", id="duckdb")])
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with desk_on(request, tmp_path_factory.mktemp("desk")) as made:
        yield made


def land(desk: Desk, *, first: int, last: int, seed: int) -> None:
    """People with the first value of each pool, and now and then another one, as the seed says."""
    if desk.warehouse.dialect == "postgres":
        land_in_postgres(desk, first=first, last=last, seed=seed)
        return
    values = ", ".join(
        f"list_extract(p.{name}, 1 + CAST(CASE WHEN hash(i, {at}, {seed}) % 8 = 0 "
        f"THEN hash(i, {at}, {seed}, 'which') % len(p.{name}) ELSE 0 END AS BIGINT)) AS {name}"
        for at, name in enumerate(POOLS)
    )
    pools = ", ".join(f"{pool} AS {name}" for name, pool in POOLS.items())
    desk.warehouse.execute(
        f"CREATE OR REPLACE TABLE salesforce.contact AS SELECT 'c' || i AS id, {values} "
        f"FROM range({first}, {last}) AS r(i), (SELECT {pools}) AS p"
    )


def land_in_postgres(desk: Desk, *, first: int, last: int, seed: int) -> None:
    """The same people in PostgreSQL, with a table for each pool: it has no list of lists."""
    execute = desk.warehouse.execute
    execute("DROP TABLE IF EXISTS salesforce.contact")
    joins, names = [], []
    for at, (name, (type_, values)) in enumerate(POSTGRES_POOLS.items()):
        execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS pool_{name} (value {type_}, at SERIAL)")
        execute(f"TRUNCATE pool_{name} RESTART IDENTITY")
        rows = ", ".join(f"({value})" for value in _separate(values))
        execute(f"INSERT INTO pool_{name} (value) VALUES {rows}")
        names.append(f"pool_{name}.value AS {name}")
        count = len(_separate(values))
        draw = f"ABS(CAST(HASHTEXT(CONCAT(i, ':', {at}, ':', {seed})) AS BIGINT))"
        joins.append(
            f"JOIN pool_{name} ON pool_{name}.at = "
            f"1 + CASE WHEN {draw} % 8 = 0 THEN {draw} / 8 % {count} ELSE 0 END"
        )
    execute("SET join_collapse_limit = 1")
    execute(
        f"CREATE TABLE salesforce.contact AS SELECT 'c' || i AS id, {', '.join(names)} "
        f"FROM GENERATE_SERIES({first}, {last - 1}) AS r(i) {' '.join(joins)}"
    )


def _separate(values: str) -> list[str]:
    """The values of a list in SQL, one by one."""
    (select,) = sqlglot.parse(f"SELECT {values}", read="postgres")
    return [value.sql("postgres") for value in select.expressions]


def compare(desk: Desk, delivery: Delivery) -> Counter[str]:
    """Both ways of one run; what the warehouse wrote of it."""
    told: list[tuple[int, str]] = []
    mapper, wanted = mapper_of(desk, delivery), mapper_of(desk, delivery)
    ready = OutboxMessages(
        desk.ledger,
        mapper,
        run_seq=delivery.run_seq,
        shape=delivery.shape,
        planned=delivery.planned,
        refuse=lambda moved, refusal: told.append((moved.seq, refusal.rule)),
    )
    found = {each.seq: each for each in ready}
    assert [*range(1, delivery.planned + 1)] == [*found]
    expected = []
    for moved, send in desk.transitions(delivery):
        calls, refusals, user = wanted.messages(moved) if send else ([], [], "")
        assert tuple(calls) == found[moved.seq].messages, moved
        assert not calls or user == found[moved.seq].user
        expected += [(moved.seq, each.rule) for each in refusals[:1]]
    assert expected == told
    counted, count = mapper.encoder, wanted.encoder
    assert (count.nulled, count.repaired) == (counted.nulled, counted.repaired)
    return written(desk, delivery, mapper)


def mapper_of(desk: Desk, delivery: Delivery) -> Any:
    options = MapperOptions(namespace=desk.ledger.namespace, planned_at=delivery.planned_at)
    return destination_type(delivery.audience.destination_type).mapper(delivery.audience, options)


def written(desk: Desk, delivery: Delivery, mapper: Any) -> Counter[str]:
    """How many transitions of a run the warehouse writes down itself, by what they are."""
    changes = has_changes(desk.ledger, delivery.run_seq, delivery.audience)
    shape = delivery.shape
    texts = mapper.templates(shape.columns, keys=shape.keys, changes=changes)
    if texts is None:
        return Counter()
    bindings = {
        "tables": {"outbox": desk.ledger.outbox(delivery.audience.ledger_key)},
        "columns": {**texts.lists, "places": (), "texts_of_page": ()},
        "column": texts.identity,
        **texts.ends,
        "bytes_max": 32_000,
        "run": delivery.run_seq,
        "first_seq": 1,
        "last_seq": delivery.planned,
    }
    if desk.warehouse.engine.joins_pages:
        rendered = query(texts.statement, desk.warehouse.dialect, **bindings)
        (row,) = desk.warehouse.run("outbox/joined_page", tables={"rendered": UnionAll([rendered])})
        pages = [RenderedPage.of_joined(row)]
    else:
        batches = desk.warehouse.stream(texts.statement, piece_rows=1_000, **bindings)
        pages = [RenderedPage.of_arrow(batch) for batch in batches]
    return Counter(
        op
        for page in pages
        for is_usual, op in zip(page.is_rendered, page.ops, strict=True)
        if is_usual
    )
