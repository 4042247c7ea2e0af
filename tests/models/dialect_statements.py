"""Statements that authors write, for the comparison of two engines: a corpus and a generator.

The text of a statement is valid in DuckDB and, where the same words exist, in PostgreSQL. The
generator builds expressions by type, from constructs that are translated and from ones that are
refused, so that each meets operands of every type.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

# Values at which engines differ: halves, signed zeros, NaN, empty texts, NULL, other scripts,
# backslashes, line breaks, the ends of months and the hours that daylight saving skips or repeats.
ROWS: dict[str, tuple[str, str, list[str]]] = {
    "id": ("VARCHAR", "text", ["'1'", "'2'", "'3'", "'4'", "'5'", "'6'", "'7'"]),
    "name": (
        "VARCHAR",
        "text",
        ["'Zoë'", "'anna'", "'Anna'", "'b_b%'", "''", "'a\\b'", "NULL"],
    ),
    "email": (
        "VARCHAR",
        "text",
        ["'Ann@Corp.example'", "'bo@x.io'", "'é@é.fr'", "' c@d '", "'x'", "'2024'", "NULL"],
    ),
    "note": (
        "VARCHAR",
        "text",
        ["'a.b'", "'line\nbreak'", "'1.50'", "'10%'", "'2026-01-31'", "'ab-cd_ef'", "NULL"],
    ),
    "n": ("INTEGER", "integer", ["1", "-7", "3", "0", "2", "2147483647", "NULL"]),
    "big": ("BIGINT", "bigint", ["10000000000", "2", "0", "-5", "9007199254740993", "7", "NULL"]),
    "amount": (
        "DOUBLE",
        "double precision",
        ["2.5", "-0.0", "2.345", "-2.5", "7.0", "1e20", "NULL"],
    ),
    "odd": (
        "DOUBLE",
        "double precision",
        ["'NaN'", "'Infinity'", "'-Infinity'", "0.5", "1.005", "-1.5", "NULL"],
    ),
    "price": (
        "DECIMAL(18,2)",
        "numeric(18,2)",
        ["1.25", "-3.50", "0.00", "2.05", "10.10", "99.99", "NULL"],
    ),
    "active": ("BOOLEAN", "boolean", ["TRUE", "FALSE", "TRUE", "NULL", "FALSE", "TRUE", "NULL"]),
    "d": (
        "DATE",
        "date",
        [
            *("'2026-01-31'", "'1999-12-31'", "'2024-02-29'", "'2026-11-22'"),
            *("'2021-01-03'", "'2025-12-29'", "NULL"),
        ],
    ),
    "ts": (
        "TIMESTAMP",
        "timestamp",
        [
            *("'2026-01-31 10:00:59.9'", "'1999-12-31 23:59:59'", "'2024-02-29'"),
            *("'2026-03-29 02:30:00'", "'2026-10-25 02:30:00'", "'2025-12-31 12:00:00'", "NULL"),
        ],
    ),
    "tz": (
        "TIMESTAMPTZ",
        "timestamptz",
        [
            *("'2026-01-31 23:30:00-05'", "'2026-03-29 01:30:00+00'", "'1999-12-31 23:59:59+00'"),
            *("'2026-10-25 00:30:00+00'", "'2024-02-29 12:00:00+09'", "'2026-01-01 00:00:00+00'"),
            "NULL",
        ],
    ),
    "tags": (
        "VARCHAR[]",
        "text[]",
        [
            *("ARRAY['b', 'a']", "ARRAY['x']", "ARRAY['x', NULL]", "ARRAY['Zoë', 'é']"),
            *("ARRAY['']", "ARRAY['c', 'c']", "NULL"),
        ],
    ),
    "doc": (
        "JSON",
        "jsonb",
        [
            '\'{"a.b": 1, "a": {"b": [1, 2]}, "s": "x"}\'',
            '\'{"s": "é", "n": 1.5}\'',
            '\'{"n": 12, "s": null}\'',
            "'{}'",
            '\'{"s": true, "a": []}\'',
            "'{\"n\": -3}'",
            "NULL",
        ],
    ),
}
TEXTS = ["name", "email", "note", "id"]
EXPRESSIONS = [
    # Dates as text
    *(f"strftime({c}, '{f}')" for c in ("d", "ts") for f in ("%d.%m.%Y", "%Y week", "%-d %B")),
    *(f"strftime(ts, '{f}')" for f in ("%H:%M:%S", "%I %p", "%c", "%x", "%U", "%w", "day %A")),
    "strptime(note, '%Y-%m-%d')",
    "strftime('%Y', d)",
    "to_char(ts, 'DD.MM.YYYY')",
    "to_char(d, 'Day')",
    "to_date(note, 'YYYY-MM-DD')",
    "to_timestamp(note, 'YYYY-MM-DD')",
    "CAST(note AS DATE)",
    "TRY_CAST(note AS DATE)",
    "CAST(note AS TIMESTAMP)",
    "CAST('2026-01-31 10:00:00+02' AS TIMESTAMP)",
    "TIMESTAMP '2026-01-31 10:00:00+02'",
    "TIMESTAMPTZ '2026-01-31 23:30:00-05'::DATE",
    # Weekdays, weeks and other parts
    *(
        f"{f}({c})"
        for c in ("d", "ts", "tz")
        for f in (
            *("year", "quarter", "month", "week", "weekofyear", "day", "dayofmonth", "dayofweek"),
            *("weekday", "isodow", "dayofyear", "dayname", "monthname", "hour", "minute", "second"),
            *("last_day", "epoch", "epoch_ms", "yearweek", "era", "century"),
        )
    ),
    *(
        f"extract({part} FROM {c})"
        for c in ("d", "ts", "tz")
        for part in (
            *("year", "quarter", "month", "week", "day", "dow", "isodow", "doy", "hour", "minute"),
            *("second", "milliseconds", "microseconds", "epoch", "isoyear", "century", "decade"),
        )
    ),
    *(f"date_part('{p}', ts)" for p in ("dow", "isodow", "week", "epoch", "second", "weekday")),
    *(
        f"date_trunc('{unit}', {c})"
        for c in ("d", "ts", "tz")
        for unit in ("year", "quarter", "month", "week", "day", "hour", "minute", "decade")
    ),
    *(
        f"date_diff('{unit}', {a}, {b})"
        for unit in ("day", "week", "month", "quarter", "year", "hour", "minute", "second")
        for a, b in (("d", "DATE '2026-12-01'"), ("ts", "TIMESTAMP '2026-02-01 00:00:00'"))
    ),
    "date_sub('month', d, DATE '2026-12-01')",
    "datediff('day', d, ts)",
    "age(ts, TIMESTAMP '2020-01-01')",
    "age(ts)",
    "d - DATE '2024-01-01'",
    "ts - TIMESTAMP '2024-01-01'",
    "d + 1",
    "d - 1",
    *(f"{c} + INTERVAL {i}" for c in ("d", "ts", "tz") for i in ("1 MONTH", "3 DAYS", "'1' YEAR")),
    "d + INTERVAL '1 month 2 days'",
    "ts - INTERVAL '2 months ago'",
    "ts + INTERVAL '0.5 years'",
    "ts + INTERVAL (n) DAY",
    "ts + to_days(n)",
    "make_date(2026, n, 1)",
    "make_date(2024, 2, 29)",
    "make_timestamp(2026, 1, 31, 10, 0, 0)",
    "ts AT TIME ZONE 'Europe/Berlin'",
    "tz AT TIME ZONE 'Europe/Berlin'",
    "tz AT TIME ZONE 'EST'",
    "time_bucket(INTERVAL '7 days', d)",
    "d BETWEEN DATE '2024-01-01' AND DATE '2026-06-01'",
    "CAST(tz AS DATE)",
    "CAST(tz AS VARCHAR)",
    "CAST(ts AS VARCHAR)",
    "CAST(ts AS DATE)",
    # Regular expressions
    *(
        f"regexp_matches({c}, '{p}')"
        for c in ("name", "email", "note")
        for p in (
            *("^[a-z]+$", "[Aa]nn", "a.b", "\\d+", "\\w+@\\w+", "\\bA", "(?i)ann", "^$", "x|y"),
            *("[^a]", "\\s", "[[:alpha:]]", "é", "a{1,2}", "\\D", "a*?", "^\\d{4}-\\d{2}"),
            *("(a|b)c", "\\.", "[a-z0-9._%+-]+@[a-z]+", "line.break", "$", "\\W", "[\\d-]"),
        )
    ),
    "name ~ 'Ann'",
    "name ~ '.*nn.*'",
    "name !~ 'Ann'",
    "name ~* 'ann'",
    "email SIMILAR TO '%(x|y)%'",
    "email SIMILAR TO 'x'",
    "regexp_matches(name, 'ann', 'i')",
    "regexp_full_match(name, '[A-Za-z]+')",
    "regexp_full_match(name, 'anna|b')",
    *(
        f"regexp_replace(note, '{p}', '{r}'{o})"
        for p in ("[a-z]", "\\d", "b|bc", "a*", "(\\d)", ".")
        for r, o in (("_", ""), ("_", ", 'g'"), ("\\1", ""), ("_", ", 'i'"), ("", ", 'g'"))
    ),
    "regexp_extract(email, '([a-z]+)@')",
    "regexp_extract(email, '([a-z]+)@', 1)",
    "regexp_extract_all(note, '\\d')",
    "regexp_split_to_array(note, '-')",
    # LIKE
    *(
        f"{c} {o} '{p}'"
        for c in ("name", "note")
        for o in ("LIKE", "NOT LIKE", "ILIKE")
        for p in ("%a%", "a\\b", "%\\%", "b_b%", "b\\_b%", "_", "", "%é%", "ANNA")
    ),
    "name LIKE 'b!_b%' ESCAPE '!'",
    "name LIKE note",
    "note GLOB 'a*'",
    # Division and rounding
    *(
        f"{a} {o} {b}"
        for o in ("/", "//", "%")
        for a in ("n", "big", "price", "amount", "7", "-7")
        for b in ("2", "n", "3.0", "amount", "price", "0")
    ),
    "n / NULLIF(n, 0)",
    "n / 2 * 2",
    "1 / 3",
    "price / 3",
    "amount / odd",
    "amount / amount > 0.5",
    "odd / 0 > 5",
    *(
        f"{f}({c}{p})"
        for f in ("round", "ceil", "floor", "trunc")
        for c in ("amount", "odd", "price", "n", "2.5", "-2.5", "0.5", "1.005", "big")
        for p in ("", ", 1", ", 2", ", -1", ", 0")
    ),
    *(f"CAST({c} AS {t})" for c in ("amount", "price", "2.5", "-2.5", "0.5", "n", "note", "active")
      for t in ("INTEGER", "BIGINT", "DOUBLE", "DECIMAL(18, 1)", "DECIMAL", "FLOAT", "VARCHAR",
                "VARCHAR(1)", "BOOLEAN", "TEXT", "HUGEINT", "NUMERIC", "TINYINT")),
    "round_even(amount, 0)",
    "even(amount)",
    "1e3 / 7",
    "0.1e0 + 0.2e0",
    "0.1 + 0.2",
    "price * 1.1",
    "n ^ 2",
    "n ** 2",
    "pow(n, 2)",
    "sqrt(price)",
    "log(100)",
    "mod(-7, 3)",
    "abs(n)",
    "abs(amount)",
    "sign(n)",
    "-n",
    "n % 2 = 1",
    "xor(n, 1)",
    "n & 1",
    "n << 1",
    "@n",
    # Text
    *(
        f"{f}({c}, {k})"
        for f in ("substr", "substring", "left", "right")
        for c in ("name", "email")
        for k in ("1", "2", "0", "-1", "-2", "n", "3")
    ),
    "substr(name, 2, 2)",
    "substr(name, -2, 1)",
    "substr(name, 0, 2)",
    "substr(name, 2, -1)",
    "substring(email FROM 2 FOR 3)",
    "name[1]",
    "name[1:2]",
    "name[-1]",
    *(f"split_part(email, '{s}', {k})" for s in ("@", ".", "") for k in ("1", "2", "0", "-1", "9")),
    "name || note",
    "name || NULL",
    "name || n",
    "name || amount",
    "name || price",
    "name || active",
    "name || d",
    "name || ts",
    "name || tz",
    "n || n",
    "tags || NULL",
    "tags || tags",
    "tags || name",
    "concat(name, NULL, note)",
    "concat(name, amount)",
    "concat(n, d, active)",
    "concat(tags, name)",
    "concat_ws('-', name, NULL, note)",
    "concat_ws(NULL, name, note)",
    "concat_ws('-', amount, n)",
    *(
        f"{f}({c})"
        for f in (
            *("upper", "lower", "length", "trim", "ltrim", "rtrim", "reverse", "md5", "sha256"),
            *("ascii", "unicode", "initcap", "strlen", "octet_length", "bit_length", "hash", "len"),
            *("url_encode", "to_base64", "hex", "soundex", "strip_accents", "nfc_normalize"),
        )
        for c in ("name", "email", "note", "tags", "n")
    ),
    "trim(name, 'a')",
    "ltrim(name, 'Aa')",
    "trim(BOTH 'x' FROM name)",
    "lpad(name, 6, '-')",
    "rpad(name, 2, '-')",
    "repeat(name, 2)",
    "replace(name, 'a', 'x')",
    "replace(name, '', 'x')",
    "translate(name, 'an', 'x')",
    "position('n' IN name)",
    "strpos(name, '')",
    "instr(name, 'n')",
    "contains(name, 'nn')",
    "contains(name, '')",
    "contains(tags, 'x')",
    "starts_with(name, 'A')",
    "prefix(name, 'A')",
    "ends_with(name, 'a')",
    "suffix(name, 'a')",
    "name COLLATE NOCASE = 'ANNA'",
    "format('{}', name)",
    "format('%s', name)",
    "printf('%s', name)",
    "chr(65)",
    "levenshtein(name, 'anna')",
    "overlay(name PLACING 'x' FROM 2)",
    "string_split(note, '-')",
    "string_to_array(note, '-')",
    # Comparisons of text and others
    *(f"{a} {o} {b}" for o in ("<", ">=", "=", "<>", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")
      for a, b in (("name", "'b'"), ("name", "note"), ("n", "2"), ("amount", "odd"), ("d", "ts"),
                   ("price", "1.25"), ("active", "TRUE"), ("odd", "odd"), ("tags", "tags"),
                   ("n", "'1'"), ("name", "NULL"), ("doc", "doc"))),
    "name BETWEEN 'A' AND 'a'",
    "greatest(name, note)",
    "least(name, 'b', NULL)",
    "greatest(n, NULL, 2)",
    "least(amount, odd)",
    "greatest(d, ts)",
    "name IN ('anna', 'Zoë', NULL)",
    "n IN (1, 2)",
    "(n, big) IN ((1, 2))",
    "n IN (SELECT big FROM salesforce.contact)",
    "n = ANY ([1, 2])",
    "n NOT BETWEEN 1 AND 2",
    "n BETWEEN SYMMETRIC 3 AND 1",
    "NULLIF(name, '')",
    "COALESCE(name, note, 'none')",
    "IFNULL(n, 0)",
    "CASE n WHEN 1 THEN 'one' ELSE name END",
    "CASE WHEN name < 'b' THEN 1 ELSE 2 END",
    "if(active, n, 0)",
    "active AND NULL",
    "NOT active",
    "active IS NOT TRUE",
    "n IS NULL",
    # Lists, structs and JSON
    "tags[1]",
    "tags[2]",
    "tags[0]",
    "tags[-1]",
    "tags[n]",
    "tags[1:1]",
    "tags[:n]",
    "[1, 2][1]",
    "[n, 2]",
    "[name, 'x']",
    "[]",
    "[amount]",
    "len(tags)",
    "array_length(tags)",
    "array_length(tags, 1)",
    "list_contains(tags, 'x')",
    "list_sort(tags)",
    "list_transform(tags, lambda x: x || '!')",
    "array_to_string(tags, ',')",
    "list_extract(tags, 1)",
    "list_slice(tags, 1, 2)",
    "unnest(tags)",
    "'x' = ANY(tags)",
    "tags = ['x']",
    "{'a': n, 'b': name}",
    "{'a': amount}",
    "{'a': price, 'b': d}",
    "row(n, name)",
    "struct_pack(a := n)",
    "MAP {'a': n}",
    *(f"doc ->> '{k}'" for k in ("s", "n", "a", "a.b", "$.a.b", "$.s", "$.a.b[0]", "nosuch")),
    *(f"doc -> '{k}'" for k in ("s", "a", "a.b", "$.a", "$..b")),
    "doc -> 'a' -> 'b' ->> 0",
    "doc ->> 's' = 'x'",
    "CAST(doc ->> 'n' AS DOUBLE)",
    "CAST(doc AS VARCHAR)",
    "json_extract(doc, '$.s')",
    "json_extract_string(doc, 's')",
    "json_array_length(doc -> 'a')",
    "json_type(doc)",
    "doc = doc",
    # Texts and numbers as they are written
    "E'a\\\\tb'",
    "X'41'",
    "'a' 'b'",
    "$$dollar$$",
    "0x1F",
    "1_000",
    ".5",
    "'back\\slash'",
    "DATE 'infinity' > d",
]  # fmt: skip
AGGREGATES = [
    *(
        f"{f}({c})"
        for f in (
            *("count", "sum", "min", "max", "avg", "median", "stddev", "var_pop", "any_value"),
            *("first", "last", "mode", "bool_and", "bool_or", "count_if", "product", "string_agg"),
            *("list", "array_agg", "approx_count_distinct", "favg", "entropy", "kurtosis"),
        )
        for c in ("n", "big", "amount", "price", "name", "d", "ts", "active", "tags")
    ),
    "count(*)",
    "count(DISTINCT name)",
    "count(DISTINCT (n, big))",
    "sum(DISTINCT n)",
    "avg(DISTINCT n)",
    "sum(n) FILTER (WHERE active)",
    "avg(n) FILTER (WHERE active)",
    "avg(amount) FILTER (WHERE active)",
    "string_agg(name, ',' ORDER BY name)",
    "string_agg(name, ',' ORDER BY name DESC)",
    "string_agg(DISTINCT name, ',' ORDER BY name)",
    "list(n ORDER BY n)",
    "array_agg(name ORDER BY name, id)",
    "list(DISTINCT n ORDER BY n)",
    "arg_max(id, n)",
    "arg_min(id, name)",
    "arg_max(name, note)",
    "arg_max(id, n, 2)",
    "max(n, 2)",
    "quantile_cont(amount, 0.5)",
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY n)",
    "sum(n) / count(*)",
    "sum(price) / count(price)",
    "max(name) || min(name)",
    "corr(n, big)",
    "bit_and(n)",
    "histogram(n)",
    "json_group_array(n)",
]
WINDOWS = [
    "row_number() OVER (ORDER BY name, id)",
    "row_number() OVER (ORDER BY name DESC, id)",
    "rank() OVER (ORDER BY n)",
    "rank() OVER (ORDER BY n DESC)",
    "rank() OVER (ORDER BY n DESC NULLS LAST)",
    "dense_rank() OVER (PARTITION BY active ORDER BY price)",
    "lag(name) OVER (ORDER BY id)",
    "lead(n, 1, 0) OVER (ORDER BY id)",
    "first_value(name) OVER (ORDER BY name, id)",
    "last_value(n) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
    "last(n IGNORE NULLS) OVER (ORDER BY id)",
    "nth_value(n, 2) OVER (ORDER BY id)",
    "ntile(3) OVER (ORDER BY id)",
    "percent_rank() OVER (ORDER BY n)",
    "cume_dist() OVER (ORDER BY n)",
    "sum(n) OVER (ORDER BY id)",
    "avg(n) OVER (ORDER BY id)",
    "avg(amount) OVER (ORDER BY id)",
    "sum(n) OVER (ORDER BY d RANGE BETWEEN INTERVAL 1 YEAR PRECEDING AND CURRENT ROW)",
    "count(*) OVER (ORDER BY n GROUPS 1 PRECEDING)",
    "count(*) FILTER (WHERE active) OVER ()",
    "list(n) OVER (ORDER BY id)",
    "max(name) OVER (PARTITION BY active)",
]
QUERIES = [
    "SELECT id FROM salesforce.contact ORDER BY name, id LIMIT 3",
    "SELECT id FROM salesforce.contact ORDER BY name DESC, id LIMIT 3",
    "SELECT id, name AS n FROM salesforce.contact ORDER BY n, id LIMIT 3",
    "SELECT name, id FROM salesforce.contact ORDER BY 1, 2 LIMIT 3",
    "SELECT id FROM salesforce.contact ORDER BY n LIMIT 3",
    "SELECT id FROM salesforce.contact ORDER BY n DESC LIMIT 2",
    "SELECT id FROM salesforce.contact ORDER BY ALL LIMIT 2",
    "SELECT id FROM salesforce.contact ORDER BY odd, id LIMIT 4",
    "SELECT id FROM salesforce.contact LIMIT 50%",
    "SELECT min(name), max(name), min(note) FROM salesforce.contact",
    "SELECT DISTINCT ON (active) active, id FROM salesforce.contact ORDER BY active, name, id",
    "SELECT id FROM salesforce.contact QUALIFY row_number() OVER (PARTITION BY active"
    " ORDER BY name, id) = 1",
    "SELECT active, count(*) FROM salesforce.contact GROUP BY ALL",
    "SELECT lower(name) AS name, count(*) FROM salesforce.contact GROUP BY lower(name)",
    "SELECT lower(name) AS name, count(*) AS k FROM salesforce.contact GROUP BY name",
    "SELECT upper(name) AS note, count(*) AS k FROM salesforce.contact GROUP BY note",
    "SELECT active, d, count(*) FROM salesforce.contact GROUP BY GROUPING SETS ((active), (d), ())",
    "SELECT active, grouping(active), count(*) FROM salesforce.contact GROUP BY ROLLUP (active)",
    "SELECT a.id FROM salesforce.contact a JOIN salesforce.contact b ON a.n = b.big",
    "SELECT a.id, b.id FROM salesforce.contact a LEFT JOIN salesforce.contact b ON a.name = b.note",
    "SELECT id FROM salesforce.contact a JOIN salesforce.contact b USING (id)",
    "SELECT a.id FROM salesforce.contact a NATURAL JOIN salesforce.contact b",
    "SELECT a.id FROM salesforce.contact a SEMI JOIN salesforce.contact b USING (id)",
    "SELECT a.id FROM salesforce.contact a ANTI JOIN salesforce.contact b ON a.n = b.big",
    "SELECT a.id FROM salesforce.contact a ASOF JOIN salesforce.contact b ON a.n >= b.n",
    "SELECT a.id FROM salesforce.contact a POSITIONAL JOIN salesforce.contact b",
    "SELECT * EXCLUDE (doc, tags) FROM salesforce.contact",
    "SELECT * REPLACE (n + 1 AS n) FROM salesforce.contact",
    "SELECT COLUMNS('^n') FROM salesforce.contact",
    "SELECT id, unnest(tags) FROM salesforce.contact",
    "SELECT id, x FROM salesforce.contact, unnest(tags) AS u(x)",
    "SELECT x: n FROM salesforce.contact",
    "FROM salesforce.contact SELECT id",
    "FROM salesforce.contact",
    "SELECT n FROM salesforce.contact UNION SELECT big FROM salesforce.contact",
    "SELECT n FROM salesforce.contact EXCEPT ALL SELECT 1",
    "SELECT n FROM salesforce.contact UNION BY NAME SELECT big FROM salesforce.contact",
    "PIVOT salesforce.contact ON active IN (true, false) USING sum(n)",
    "UNPIVOT (SELECT id, n FROM salesforce.contact) ON n INTO NAME k VALUE v",
    "WITH c AS (SELECT n / 2 AS h, name FROM salesforce.contact) SELECT round(h, 1), name FROM c",
    "WITH c AS MATERIALIZED (SELECT name AS x FROM salesforce.contact) SELECT min(x) FROM c",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT i FROM r",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT n AS a, a + 1 AS b FROM salesforce.contact WHERE a > 0",
    "SELECT id FROM salesforce.contact WHERE n > ALL (SELECT 0)",
    "SELECT (SELECT max(name) FROM salesforce.contact) AS m FROM salesforce.contact",
    "SELECT id FROM salesforce.contact USING SAMPLE 3",
    "SELECT t.i FROM range(3) AS t(i)",
    "SELECT g FROM generate_series(1, 3) AS t(g)",
    "SELECT id FROM salesforce.contact WHERE name = 'ANNA' OR lower(name) = 'anna'",
    'SELECT "Name", ID FROM Salesforce.Contact AS C WHERE c.N IS NOT NULL',
]


def corpus() -> Iterator[str]:
    """The constructs whose meaning differs between engines, each as a statement of its own."""
    for expression in EXPRESSIONS:
        yield f"SELECT id, {expression} AS v FROM salesforce.contact"
    for aggregate in AGGREGATES:
        yield f"SELECT {aggregate} AS v FROM salesforce.contact"
        yield f"SELECT active, {aggregate} AS v FROM salesforce.contact GROUP BY active"
    for window in WINDOWS:
        yield f"SELECT id, {window} AS v FROM salesforce.contact"
    yield from QUERIES


# Arguments by the type of a parameter, as each engine lists it; the last one is repeated.
DUCKDB_ARGUMENTS = {
    "VARCHAR": ("email", "'a'"),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER"), ("n", "2")),
    **dict.fromkeys(("BIGINT", "HUGEINT", "UBIGINT"), ("big", "2")),
    **dict.fromkeys(("DOUBLE", "FLOAT"), ("amount", "2.5")),
    "DECIMAL": ("price",),
    "BOOLEAN": ("active",),
    "DATE": ("d", "DATE '2024-02-29'"),
    "TIMESTAMP": ("ts", "TIMESTAMP '2024-02-29 10:00:00'"),
    "TIMESTAMP WITH TIME ZONE": ("tz",),
    "INTERVAL": ("INTERVAL 36 HOUR",),
    "JSON": ("doc",),
    **dict.fromkeys(("VARCHAR[]", "ANY[]", "T[]"), ("tags",)),
    **dict.fromkeys(("BIGINT[]", "INTEGER[]"), ("[n, 2]",)),
    **dict.fromkeys(("ANY", "T", "NULL"), ("n", "email")),
}
POSTGRES_ARGUMENTS = {
    **dict.fromkeys(("text", "character varying", "character"), ("email", "'a'")),
    **dict.fromkeys(("integer", "smallint"), ("n", "2")),
    "bigint": ("big", "2"),
    **dict.fromkeys(("double precision", "real"), ("amount", "2.5")),
    "numeric": ("price", "2"),
    "boolean": ("active",),
    "date": ("d", "DATE '2024-02-29'"),
    "timestamp without time zone": ("ts", "TIMESTAMP '2024-02-29 10:00:00'"),
    "timestamp with time zone": ("tz",),
    "interval": ("INTERVAL '36 hours'",),
    "json": ("CAST(doc AS JSON)",),
    "jsonb": ("doc",),
    "bytea": ("CAST('ab' AS BYTEA)",),
    **dict.fromkeys(("text[]", "anyarray", "anycompatiblearray"), ("tags",)),
    **dict.fromkeys(("anyelement", "anycompatible", "anynonarray", '"any"'), ("n", "email")),
}
# Without an argument that a row could give, or about the session and its time.
_NOT_CALLED = re.compile(
    r"pg_|has_|inet_|current_|txid|icu_|collate_|reservoir|.*sample|(now|today|ago|age|stats|version"
    r"|getvariable|get_current_time(stamp)?|(transaction|statement)_timestamp|localtime(stamp)?|timezone)$"
)
_BY_ANOTHER_VALUE = re.compile(r"(arg_?(min|max)|(min|max)_by)(_null)?$")


def calls(
    listed: Iterable[tuple[str, str, Sequence[str]]], arguments: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """A statement for each function that an engine lists, with arguments of its types.

    Args:
        listed: Name, kind (`scalar`, `aggregate` or `window`) and types of the parameters.
        arguments: Expressions over `ROWS` by type; a function with another type is left out.
    """
    for name, kind, types in listed:
        if _BY_ANOTHER_VALUE.match(name) and len(types) == 2:
            # Over a constant, any row of a group would do.
            for column in ROWS:
                yield f"SELECT active, {name}({column}, id) AS v FROM salesforce.contact GROUP BY 1"
            continue
        options = [arguments.get(str(type_)) for type_ in types]
        if _NOT_CALLED.match(name) or not all(options):
            continue
        values = [of[min(place, len(of) - 1)] for place, of in enumerate(options) if of]
        call = f"{name}({', '.join(values)})"
        if kind == "aggregate":
            yield f"SELECT active, {call} AS v FROM salesforce.contact GROUP BY active"
        elif kind == "window":
            yield f"SELECT id, {call} OVER (ORDER BY id) AS v FROM salesforce.contact"
        else:
            yield f"SELECT id, {call} AS v FROM salesforce.contact"


class Generator:
    """Random statements; equal seeds give equal statements."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def statement(self) -> str:
        """A SELECT over the table, as an author could write it."""
        kind = self.random.randrange(10)
        if kind == 0:
            return f"SELECT {self._aggregate()} AS v FROM salesforce.contact{self._where()}"
        if kind == 1:
            group = self.random.choice(("active", "n", "name", "year(d)", "lower(name)"))
            having = f" HAVING count(*) > {self.random.randrange(2)}"
            return (
                f"SELECT {group} AS g, {self._aggregate()} AS v FROM salesforce.contact"
                f"{self._where()} GROUP BY {group}{having}"
            )
        if kind == 2:
            inner = f"SELECT id, {self._any(2)} AS v, name FROM salesforce.contact"
            return f"WITH c AS ({inner}) SELECT id, v FROM c WHERE {self._where_on('name')}"
        if kind == 3:
            order = f"{self._any(1)}{self.random.choice(('', ' DESC', ' NULLS FIRST'))}"
            return f"SELECT id FROM salesforce.contact ORDER BY {order}, id LIMIT 4"
        if kind == 4:
            order = f"{self._any(1)}, id"
            function = self.random.choice(("row_number()", "rank()", "lag(n)", "sum(n)"))
            return f"SELECT id, {function} OVER (ORDER BY {order}) AS v FROM salesforce.contact"
        return f"SELECT id, {self._any(3)} AS v FROM salesforce.contact{self._where()}"

    def _where(self) -> str:
        return f" WHERE {self._boolean(2)}" if self.random.random() < 0.4 else ""

    def _where_on(self, column: str) -> str:
        return f"{column} {self.random.choice(('<', '=', '>='))} '{self._word()}'"

    def _any(self, depth: int) -> str:
        pick = (self._text, self._number, self._boolean, self._time)
        if depth and self.random.random() < 0.15:
            return str(self.random.choice(EXPRESSIONS))
        return self.random.choice(pick)(depth)

    def _aggregate(self) -> str:
        if self.random.random() < 0.3:
            return str(self.random.choice(AGGREGATES))
        function = self.random.choice(("count", "sum", "min", "max", "avg"))
        operand = self._number(1) if function in ("sum", "avg") else self._any(1)
        return f"{function}({operand})"

    def _word(self) -> str:
        return self.random.choice(("a", "Ann", "é", "b_", "", "x", "10%", "Z", "@", "."))

    def _text(self, depth: int) -> str:
        if depth <= 0:
            return self.random.choice((*TEXTS, f"'{self._word()}'"))
        text, other = self._text(depth - 1), self._text(depth - 1)
        number = self.random.randrange(-2, 4)
        return self.random.choice(
            (
                *(f"upper({text})", f"lower({text})", f"trim({text})", f"({text} || '!')"),
                *(f"concat({text}, {self._any(depth - 1)})", f"({text} || {self._any(depth - 1)})"),
                *(f"substr({text}, {number})", f"left({text}, {number})", f"right({text}, 2)"),
                *(f"split_part({text}, '@', {number})", f"replace({text}, 'a', '{self._word()}')"),
                *(f"coalesce({text}, {other})", f"CAST({self._any(depth - 1)} AS TEXT)"),
                f"CASE WHEN {self._boolean(depth - 1)} THEN {text} ELSE {other} END",
                *(f"greatest({text}, {other})", f"nullif({text}, '')", "doc ->> 's'"),
                *(f"strftime({self._time(0)}, '%Y-%m')", f"regexp_replace({text}, '[a-z]', '_')"),
                *("tags[1]", f"md5({text})", f"dayname({self._time(0)})", f"reverse({text})"),
            )
        )  # fmt: skip

    def _number(self, depth: int) -> str:
        if depth <= 0:
            columns = ("n", "big", "amount", "odd", "price", "2", "0", "1.5", "-3", "1e2", "0.1")
            return self.random.choice(columns)
        one, two = self._number(depth - 1), self._number(depth - 1)
        operator = self.random.choice(("+", "-", "*", "/", "//", "%"))
        unit = self.random.choice(("day", "month", "year", "week", "hour"))
        part = self.random.choice(("year", "dow", "week", "isodow", "month", "epoch", "hour"))
        return self.random.choice(
            (
                *(f"({one} {operator} {two})", f"({one} {operator} {two})", f"abs({one})"),
                *(f"round({one}, {self.random.randrange(-1, 3)})", f"round({one})", f"ceil({one})"),
                *(f"floor({one})", f"CAST({one} AS INTEGER)", f"CAST({one} AS DOUBLE)"),
                *(f"CAST({one} AS DECIMAL(18, 2))", f"length({self._text(depth - 1)})"),
                *(f"extract({part} FROM {self._time(0)})", f"coalesce({one}, {two})"),
                f"date_diff('{unit}', {self._time(0)}, {self._time(0)})",
                f"nullif({one}, {two})",
                *(f"greatest({one}, {two})", f"least({one}, {two})", f"-({one})", "len(tags)"),
                f"CASE WHEN {self._boolean(depth - 1)} THEN {one} ELSE {two} END",
                *(f"position('a' IN {self._text(depth - 1)})", "CAST(note AS INTEGER)"),
            )
        )  # fmt: skip

    def _time(self, depth: int) -> str:
        if depth <= 0:
            return self.random.choice(("d", "ts", "tz", "DATE '2026-01-31'", "current_date"))
        time = self._time(depth - 1)
        unit = self.random.choice(("day", "week", "month", "quarter", "year", "hour"))
        zone = self.random.choice(("UTC", "Europe/Berlin", "America/New_York"))
        return self.random.choice(
            (
                *(f"date_trunc('{unit}', {time})", f"({time} + INTERVAL 1 {unit.upper()})"),
                *(f"CAST({time} AS DATE)", f"CAST({time} AS TIMESTAMP)", f"last_day({time})"),
                *(f"({time} AT TIME ZONE '{zone}')", f"coalesce({time}, {self._time(depth - 1)})"),
                *(f"greatest({time}, {self._time(depth - 1)})", f"(d + {self._number(0)})"),
                f"CAST({self._text(0)} AS DATE)",
            )
        )

    def _boolean(self, depth: int) -> str:
        if depth <= 0:
            return self.random.choice(("active", "TRUE", "n IS NULL", "active IS NOT TRUE"))
        operator = self.random.choice(("<", "<=", "=", "<>", ">", "IS DISTINCT FROM"))
        make = self.random.choice((self._text, self._number, self._time))
        one, two = make(depth - 1), make(depth - 1)
        text, word = self._text(depth - 1), self._word()
        pattern = self.random.choice(("^[a-z]+$", "\\d", "a.b", "\\bA", "Ann|x", "[^a]", "(?i)a"))
        return self.random.choice(
            (
                *(f"({one} {operator} {two})", f"({one} {operator} {two})", f"NOT ({one} = {two})"),
                *(f"({text} LIKE '%{word}%')", f"({text} ILIKE '{word}%')"),
                *(f"({text} IN ('anna', '{word}'))", f"regexp_matches({text}, '{pattern}')"),
                *(f"contains({text}, '{word}')", f"starts_with({text}, '{word}')"),
                f"({self._boolean(depth - 1)} AND {self._boolean(depth - 1)})",
                f"({self._boolean(depth - 1)} OR {self._boolean(depth - 1)})",
                *(f"({one} BETWEEN {two} AND {make(0)})", f"({text} ~ '{pattern}')"),
            )
        )
