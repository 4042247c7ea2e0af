"""What runs is what the author wrote: statement by statement, on the engine itself.

The statements are generated: each function that DuckDB lists with arguments of its types, each
operator over each pair of types, and the constructs that a rewrite of the text has changed before,
each at several places of a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import pytest
from warehouses.postgres_server import PostgresServer

from tailrace.errors import ModelError
from tailrace.models.compile import bind, compiled_sql
from tailrace.models.file import Model
from tailrace.models.loader import Models
from tailrace.models.nodes import Nodes
from tailrace.models.parse import read_select, tables
from tailrace.models.syntax import Syntax
from tailrace.warehouse.sandbox import CLOCKS, duckdb_functions

NOW = datetime(2026, 11, 22, 5, 0, 0, 123456, tzinfo=UTC)
STATEMENTS_MIN = 2_000

COLUMNS = {
    "id": ("VARCHAR", ["'1'", "'2'", "'é%_'", "NULL"]),
    "email": ("VARCHAR", ["'Ann@Corp.example'", "'it''s'", "''", "NULL"]),
    "n": ("INTEGER", ["1", "-7", "3", "NULL"]),
    "big": ("BIGINT", ["10000000000", "2", "0", "NULL"]),
    "amount": ("DOUBLE", ["1.5", "-0.0", "7.25", "NULL"]),
    "price": ("DECIMAL(18,2)", ["1.25", "-3.50", "0.00", "NULL"]),
    "active": ("BOOLEAN", ["TRUE", "FALSE", "TRUE", "NULL"]),
    "d": ("DATE", ["'2026-01-31'", "'1999-12-31'", "'2024-02-29'", "NULL"]),
    "ts": (
        "TIMESTAMP",
        ["'2026-01-31 10:00:00.123456'", "'1999-12-31 23:59:59'", "'2024-02-29'", "NULL"],
    ),
    "tz": (
        "TIMESTAMPTZ",
        ["'2026-01-31 23:30:00-05'", "'2026-03-29 01:30:00Z'", "'1999-12-31 23:59:59Z'", "NULL"],
    ),
    "t": ("TIME", ["'10:11:12'", "'00:00:00'", "'23:59:59.5'", "NULL"]),
    "span": ("INTERVAL", ["INTERVAL 1 MONTH", "INTERVAL '2 days'", "INTERVAL 0 DAY", "NULL"]),
    "tags": ("VARCHAR[]", ["['b', 'a']", "[]", "['x', NULL]", "NULL"]),
    "numbers": ("INTEGER[]", ["[3, 1, 2]", "[]", "[7]", "NULL"]),
    "doc": ("JSON", ["""'{"a.b": 1, "a": {"b": [1, 2]}, "s": "x"}'""", "'[1]'", "'{}'", "NULL"]),
    "s": (
        "STRUCT(Street VARCHAR, zip INTEGER)",
        ["{'Street': 'Main', 'zip': 1}", "{'Street': NULL, 'zip': 2}", "NULL", "NULL"],
    ),
    "m": ("MAP(VARCHAR, INTEGER)", ["MAP {'k': 1}", "MAP {}", "MAP {'x': NULL}", "NULL"]),
    "b": ("BLOB", ["'ab'", "''", "'\\xFF'", "NULL"]),
}
# An argument for each type in the engine's list of parameters.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "VARCHAR": ("email", "'a'"),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT"), ("n",)),
    **dict.fromkeys(("BIGINT", "HUGEINT", "UBIGINT", "UINTEGER", "UHUGEINT"), ("big", "2")),
    **dict.fromkeys(("DOUBLE", "FLOAT"), ("amount",)),
    "DECIMAL": ("price",),
    "BOOLEAN": ("active",),
    "DATE": ("d",),
    "TIMESTAMP": ("ts",),
    "TIMESTAMP WITH TIME ZONE": ("tz",),
    "TIME": ("t",),
    "INTERVAL": ("span",),
    "JSON": ("doc",),
    "BLOB": ("b",),
    "VARCHAR[]": ("tags",),
    **dict.fromkeys(("ANY[]", "T[]", "BIGINT[]", "INTEGER[]"), ("numbers",)),
    **dict.fromkeys(("ANY", "T", "NULL"), ("n", "email")),
    "STRUCT": ("s",),
    "MAP": ("m",),
    "MAP(K, V)": ("m",),
    "LAMBDA": ("lambda x: x",),
}
OPERATORS = [
    *("+", "-", "*", "/", "//", "%", "^", "**", "||", "=", "<>", "<", ">=", "IS DISTINCT FROM"),
    *("LIKE", "NOT LIKE", "ILIKE", "~", "!~", "~~", "!~~", "~~*", "SIMILAR TO", "GLOB", "^@"),
    *("->", "->>", "&", "|", "<<", ">>", "@>", "<@", "&&", "AND", "OR", "IS NOT", "<=>"),
]
OPERANDS = ["email", "n", "amount", "d", "tz", "span", "tags", "doc", "s", "'a.b'", "2", "NULL"]
# Each has been written in other words by a parser that renders what it has read.
CONSTRUCTS = [
    "email ~ 'Corp'",
    "email !~ 'Corp'",
    "email ~ 'corp' OR NOT email !~ '^it'",
    "regexp_matches(email, 'corp', 'i')",
    "regexp_replace(email, 'CORP', 'x', 'i')",
    "regexp_replace(email, '.', '', 'l')",
    "regexp_extract(email, '(.)@(.)', ['x', 'y'])",
    "regexp_full_match(email, E'^\\\\w+''s$')",
    "INTERVAL '0.5 years'",
    "INTERVAL '2 months ago'",
    "INTERVAL '1 year 2 days'",
    "INTERVAL (n) DAY",
    "INTERVAL 1 WEEK",
    "ts + INTERVAL '1' MONTH",
    "d - INTERVAL 3 DAYS",
    "E'^\\\\d+$'",
    "E'a\\tb\\u00e9'",
    "E'it''s'",
    "$$dollar 'quoted'$$",
    "$tag$ x; $tag$",
    "doc ->> 'a.b'",
    "doc -> 'a' -> 'b' ->> 1",
    "doc ->> '$.a.b[0]'",
    "doc.a.b",
    "json_extract(doc, '$..b'), doc -> '$..b'",
    "json_extract(doc, '$.\"a.b\"')",
    "json_extract_string(doc, ['$.s', '$.a'])",
    "doc->>'$.a' IS NULL",
    "MAP {id: n}",
    "MAP {'id': n}",
    "MAP(['a'], [n])",
    "{id: n, 'x y': email}",
    "struct_pack(a := n)",
    "row(n, email)",
    "s.street",
    "s['Street']",
    "jaro_winkler_similarity(email, 'ANN')",
    "levenshtein(email, 'ann')",
    "TIMESTAMPTZ '2026-01-31 23:30:00-05'::DATE",
    "TIMESTAMPTZ '2026-01-31 23:30:00-05' AT TIME ZONE 'Asia/Tokyo'",
    "tz AT TIME ZONE 'Europe/Berlin'",
    "time_bucket(INTERVAL '1 day', tz, 'Europe/Berlin')",
    "time_bucket(INTERVAL 1 MONTH, d)",
    "tags[:n]",
    "tags[1:]",
    "tags[-1]",
    "numbers[1:3:2]",
    "numbers[:-2]",
    "[x + 1 FOR x IN numbers IF x > 1]",
    "list_transform(numbers, lambda x, i: x * i)",
    "list_reduce(numbers, lambda a, x: a + x, 0)",
    "list_filter(tags, lambda x: x ~ 'a')",
    "X'41'",
    "'\\x41'::BLOB",
    "0x1F",
    "1_000_000",
    "1e3",
    ".5",
    "n / 2",
    "n // 2",
    "-n ** 2",
    "n % 3",
    "5 / 2 * 2",
    "!active",
    "NOT active",
    "~n",
    "@n",
    "n!",
    "n::VARCHAR || email",
    "CAST(email AS VARCHAR(2))",
    "TRY_CAST(email AS INTEGER)",
    "n::UTINYINT",
    "try(email::INTEGER)",
    "CASE n WHEN 1 THEN 'one' ELSE 'more' END",
    "coalesce(n, 0) IN (1, -7)",
    "(n, big) IN ((1, 10000000000))",
    "n BETWEEN SYMMETRIC 3 AND 1",
    "n IS NOT DISTINCT FROM NULL",
    "date_diff('month', d, ts)",
    "date_trunc('week', ts)",
    "datepart('isodow', d)",
    "extract(epoch FROM tz)",
    "extract(ms FROM ts)",
    "strftime(ts, '%d.%m.%Y %-H')",
    "strptime('01/02/2026', '%d/%m/%Y')",
    "'infinity'::TIMESTAMP > ts",
    "'2026-01-31'::DATE - d",
    "last_day(d)",
    "make_timestamptz(2026, 1, 31, 10, 0, 0, 'America/New_York')",
    "to_timestamp(0)",
    "epoch_ms(big)",
    "substring(email FROM 2 FOR 3)",
    "position('o' IN email)",
    "trim(BOTH 'A' FROM email)",
    "overlay('abc' PLACING 'x' FROM 2)",
    "email COLLATE NOCASE = 'ann@corp.example'",
    "format('{:>10.2f}|{}', amount, n)",
    "printf('%05d', n)",
    "concat_ws('-', id, NULL, email)",
    "split_part(email, '@', -1)",
    "string_split(email, '@')[1]",
    "greatest(n, NULL, 2)",
    "log(100), ln(10), log2(8), log(2, 8)",
    "round(price, 1), round(-2.5), trunc(amount)",
    "mod(n, 2), pow(n, 2), cbrt(big)",
    "hash(email) IS NULL, md5(email), sha256(email)",
    "encode(email), decode(b) IS NULL",
    "ARRAY[1, 2] = [1, 2]",
    "array_value(1, 2)",
    "list_value(n, big)",
    "typeof(n / 2), typeof(price * 2), typeof([n])",
    "NULLIF(email, ''), IFNULL(n, 0)",
    "n::VARCHAR[1:1]",
    "'a' 'b'",
    '"n" AS "N"',
    "contact.n",
    "salesforce.contact.email",
]
AGGREGATES = [
    "last(n ORDER BY big)",
    "first(n ORDER BY big DESC)",
    "list(n ORDER BY n NULLS FIRST)",
    "array_agg(DISTINCT active ORDER BY active)",
    "string_agg(email, '|' ORDER BY id)",
    "count(*) FILTER (WHERE n > 1)",
    "count(DISTINCT (n, big))",
    "arg_max(id, n), arg_min(id, n), max_by(id, n)",
    "arg_max(id, n, 2), max(n, 2), min(n, 2)",
    "quantile_cont(amount, 0.5), quantile_disc(n, [0.25, 0.75])",
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY amount)",
    "mode() WITHIN GROUP (ORDER BY active)",
    "median(n), mad(n), entropy(n)",
    "bool_and(active), bit_xor(n), product(n)",
    "histogram(n), histogram(active)",
    "any_value(n), approx_count_distinct(n)",
    "sum(n)::INT / count(*), avg(price)",
    "json_group_array(n ORDER BY n), json_group_object(id, n) FILTER (WHERE id IS NOT NULL)",
    "max(n) - min(n), sum(price), kahan_sum(amount)",
    "list_sort(list(n)), list_aggregate(list(n ORDER BY n), 'sum')",
]
WINDOWS = [
    "last(n IGNORE NULLS) OVER (ORDER BY id)",
    "first_value(n IGNORE NULLS) OVER (PARTITION BY active ORDER BY id)",
    "last_value(n) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE TIES)",
    "lag(n, 1, 0) OVER (ORDER BY id), lead(n) OVER (ORDER BY id DESC)",
    "nth_value(n, 2) OVER (ORDER BY id)",
    "row_number() OVER (ORDER BY id), rank() OVER (ORDER BY active NULLS FIRST)",
    "ntile(2) OVER (ORDER BY id), percent_rank() OVER (ORDER BY n), cume_dist() OVER (ORDER BY n)",
    "sum(n) OVER (ORDER BY d RANGE BETWEEN INTERVAL 1 YEAR PRECEDING AND CURRENT ROW)",
    "count(*) OVER (ORDER BY n GROUPS 1 PRECEDING), sum(n) FILTER (WHERE active) OVER ()",
    "list(n) OVER (ORDER BY id), max(n) OVER w",
]
QUERIES = [
    "FROM salesforce.contact",
    "FROM salesforce.contact SELECT id, n",
    "FROM salesforce.contact AS c SELECT c.id WHERE c.n > 1",
    "SELECT * EXCLUDE (tags, doc) REPLACE (n + 1 AS n) RENAME (id AS key) FROM salesforce.contact",
    "SELECT COLUMNS('^(id|n)$') FROM salesforce.contact",
    "SELECT COLUMNS(c -> c LIKE '%a%') FROM salesforce.contact",
    "SELECT sum(COLUMNS(* EXCLUDE (n))) FROM (SELECT n, big, amount FROM salesforce.contact)",
    "SELECT c.* FROM salesforce.contact c POSITIONAL JOIN salesforce.contact d",
    "SELECT a.id FROM salesforce.contact a ASOF JOIN salesforce.contact b ON a.n >= b.n",
    "SELECT a.id FROM salesforce.contact a SEMI JOIN salesforce.contact b USING (id)",
    "SELECT a.id FROM salesforce.contact a ANTI JOIN salesforce.contact b ON a.n = b.big",
    "SELECT id, x FROM salesforce.contact, unnest(tags) AS u(x)",
    "SELECT id, x FROM salesforce.contact CROSS JOIN LATERAL (SELECT unnest(numbers) AS x)",
    "SELECT id, unnest(s) FROM salesforce.contact",
    "SELECT id, unnest([{'a': 1, 'b': 2}], recursive := true) FROM salesforce.contact",
    "PIVOT (SELECT active, n FROM salesforce.contact) ON active IN (true, false) USING sum(n)",
    "FROM (PIVOT salesforce.contact ON active IN (true AS yes, false AS no) USING max(n) AS m"
    " GROUP BY d)",
    "SELECT * FROM (SELECT id, active, n FROM salesforce.contact)"
    " PIVOT (sum(n) FOR active IN (true AS yes, false AS no))",
    "WITH p AS (PIVOT (SELECT active, n FROM salesforce.contact) ON active IN (true)"
    " USING sum(n)) SELECT * FROM p",
    "UNPIVOT (SELECT id, n, big::INT32 AS b FROM salesforce.contact WHERE n = -7) ON n, b"
    " INTO NAME k VALUE v",
    "SELECT * FROM (SELECT id, n, n AS o FROM salesforce.contact) UNPIVOT INCLUDE NULLS"
    " (v FOR k IN (n AS first, o AS second))",
    "SELECT active, count(*) FROM salesforce.contact GROUP BY ALL ORDER BY ALL",
    "SELECT active, d, count(*) FROM salesforce.contact GROUP BY GROUPING SETS ((active), (d), ())",
    "SELECT active, d, grouping(active), count(*) FROM salesforce.contact GROUP BY CUBE"
    " (active, d)",
    "SELECT DISTINCT ON (active) active, id FROM salesforce.contact ORDER BY active, id",
    "SELECT id FROM salesforce.contact QUALIFY row_number() OVER (PARTITION BY active ORDER BY id)"
    " = 1",
    "SELECT id FROM salesforce.contact ORDER BY id NULLS FIRST LIMIT 50% OFFSET 1",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT i FROM r",
    "WITH RECURSIVE r(i) USING KEY (i) AS (SELECT 1 UNION SELECT i + 1 FROM r WHERE i < 3)"
    " SELECT * FROM r",
    "WITH c AS MATERIALIZED (SELECT n FROM salesforce.contact) SELECT a.n FROM c a, c b",
    "SELECT n FROM salesforce.contact UNION BY NAME SELECT big, n FROM salesforce.contact",
    "SELECT n FROM salesforce.contact EXCEPT ALL SELECT 1 INTERSECT SELECT 2",
    "(SELECT n FROM salesforce.contact ORDER BY n LIMIT 1) UNION ALL (SELECT 5)",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT (SELECT max(n) FROM salesforce.contact) AS m, EXISTS (FROM salesforce.contact) AS e",
    "SELECT n FROM salesforce.contact WHERE n > ALL (SELECT 0) OR n = ANY ([1, 2])",
    "SELECT x: n, y: x + 1 FROM salesforce.contact",
    "SELECT n AS a, a + 1 AS b FROM salesforce.contact WHERE a > 0",
    "SELECT id FROM salesforce . contact -- a comment\n WHERE /* another */ n IS NOT NULL;",
    'SELECT "contact"."id", salesforce.contact.n FROM salesforce."contact"',
    'SELECT id FROM salesforce.contact AS "select" WHERE "select".n = 1',
    "SELECT 'salesforce.contact' AS t, 'now()' AS u FROM salesforce.contact",
    "SELECT max(n) OVER w, sum(big) OVER (w ROWS 1 PRECEDING) FROM salesforce.contact"
    " WINDOW w AS (ORDER BY id)",
    "SELECT t.i FROM range(3) AS t(i) JOIN generate_series(1, 2) AS g(j) ON i = j",
    "SELECT j.key, j.value FROM salesforce.contact, json_each(doc) AS j",
]


def scalar_calls() -> Iterator[str]:
    """Each overload of each function that a model may call, with arguments of its types."""
    _, allowed = duckdb_functions()
    listed = duckdb.connect().execute(
        "SELECT DISTINCT lower(function_name), function_type, parameter_types"
        " FROM duckdb_functions() WHERE function_type IN ('scalar', 'aggregate', 'macro')"
        " AND regexp_full_match(function_name, '[A-Za-z_]\\w*') ORDER BY ALL"
    )
    for name, _, types in listed.fetchall():
        if name not in allowed or name in CLOCKS or name.startswith(("icu_", "collate_")):
            continue
        if name.startswith("current_") or name in ("get_current_time", "ago", "age", "stats"):
            continue
        if name.startswith(("pg_", "reservoir")) or "sample" in name:
            continue
        arguments = [
            options[min(place, len(options) - 1)]
            for place, kind in enumerate(types)
            for options in [ARGUMENTS.get(str(kind or "ANY"), ("n",))]
        ]
        yield f"{name}({', '.join(arguments)})"


def statements() -> list[str]:
    calls = list(dict.fromkeys(scalar_calls()))
    # Each operator over a fifth of the pairs, and each pair under several operators.
    pairs = [(left, right) for left in OPERANDS[:9:2] for right in OPERANDS[1:]]
    operations = [
        f"{left} {operator} {right}"
        for start, operator in enumerate(OPERATORS)
        for left, right in pairs[start % 5 :: 5]
    ]
    places = [
        "SELECT {} FROM salesforce.contact",
        "SELECT count(*) FROM salesforce.contact AS c WHERE ({}) IS NOT NULL",
        "WITH own AS (SELECT {} FROM salesforce.contact) SELECT * FROM own",
        "SELECT CASE WHEN active THEN ({})::VARCHAR END AS v FROM salesforce.contact",
    ]
    made = [f"SELECT {call} AS v FROM salesforce.contact" for call in calls]
    made += [f"SELECT {operation} AS v FROM salesforce.contact" for operation in operations]
    made += [place.format(construct) for construct in CONSTRUCTS for place in places]
    made += [f"SELECT active, {a} FROM salesforce.contact GROUP BY active" for a in AGGREGATES]
    window = "WINDOW w AS (ORDER BY id)"
    made += [f"SELECT id, {w} FROM salesforce.contact {window}" for w in WINDOWS]
    return list(dict.fromkeys((*made, *QUERIES)))


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1; CREATE SCHEMA salesforce")
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
        connection.execute(f"CREATE TABLE salesforce.contact ({columns})")
        for row in zip(*(values for _, values in COLUMNS.values()), strict=True):
            connection.execute(f"INSERT INTO salesforce.contact VALUES ({', '.join(row)})")
        connection.execute("CREATE SCHEMA crm; CREATE TABLE crm.contact AS FROM salesforce.contact")
        yield connection


def outcome(engine: duckdb.DuckDBPyConnection, sql: str) -> object:
    try:
        result = engine.execute(sql)
        names = [(column[0].lower(), str(column[1])) for column in result.description or ()]
        return names, sorted(map(repr, result.fetchall()))
    except duckdb.Error as error:
        return type(error).__name__


def model(
    name: str, sql: str, *, dialect: str = "duckdb", depends_on: tuple[str, ...] = ()
) -> Model:
    return Model(
        name=name,
        path=Path(name),
        file=f"models/{name}.sql",
        sql=sql,
        source=sql,
        dialect=dialect,
        depends_on=depends_on,
        syntax=Syntax(partial(read_select, sql, dialect=dialect)),
    )


def test_no_statement_of_the_corpus_gives_other_rows(engine: duckdb.DuckDBPyConnection) -> None:
    """As a model of its own, and under another model; what fails fails in the same way."""
    corpus = statements()
    assert len(corpus) >= STATEMENTS_MIN
    differing, refused, ran = [], [], 0
    for number, sql in enumerate(corpus):
        expected = outcome(engine, sql)
        try:
            below = model("below", sql)
        except ModelError:
            # What the engine does not run either is refused before it.
            refused += [] if isinstance(expected, str) else [sql]
            continue
        models = {"below": below}
        if number % 4 == 0:
            models["top"] = model("top", "SELECT * FROM below", depends_on=("below",))
            expected = outcome(engine, f"SELECT * FROM ({sql.rstrip(';')}\n)")
        name = "top" if "top" in models else "below"
        text = compiled_sql(Models(by_name=models), name)
        bound = bind(text, dataset="crm", now=NOW).wrapped
        given = outcome(engine, f"FROM {bound} AS q" if number % 2 else bound)
        ran += not isinstance(given, str)
        if given != expected:
            differing.append((sql, expected, given))
    assert [] == differing[:5]
    assert [] == refused
    assert ran > STATEMENTS_MIN / 2


def test_clocks_are_frozen_and_nothing_else_is_touched() -> None:
    sql = (
        "SELECT now() AS a, CURRENT_DATE, current_timestamp::DATE, today() AS t, 'now()' AS s,\n"
        " age(d), age(ts, d), c.now, x AS current_date -- now()\nFROM salesforce.contact AS c"
    )
    bound = bind(sql, dataset="crm", now=NOW).wrapped
    instant = "CAST('2026-11-22 05:00:00.123456+00:00' AS TIMESTAMPTZ)"
    day = "CAST('2026-11-22' AS DATE)"
    assert (
        f"(SELECT {instant} AS a, {day}, {instant}::DATE, {day} AS t, 'now()' AS s,\n"
        " age(CAST('2026-11-22' AS TIMESTAMP), d), age(ts, d), c.now, x AS current_date -- now()\n"
        'FROM "crm"."contact" AS c\n)'
    ) == bound


@pytest.mark.parametrize(
    "clock", ["current_date", "CURRENT_TIMESTAMP", "now()", "today()", "localtimestamp"]
)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT greatest(d, {}) FROM salesforce.contact WHERE (n > 1)",
        "SELECT id FROM salesforce.contact WHERE (d < {}) AND (n > 1)",
        "SELECT (d - {}), (SELECT max({}) FROM salesforce.contact) FROM salesforce.contact",
        "SELECT id FROM salesforce.contact WHERE d IN ({}) OR n IN (1, (2))",
    ],
)
def test_a_clock_is_frozen_wherever_brackets_follow(clock: str, sql: str) -> None:
    bound = bind(sql.replace("{}", clock), dataset="crm", now=NOW).wrapped
    assert sql.count("{}") == bound.count("CAST('2026-11-22")
    assert clock not in bound


def test_what_only_duckdb_parses_is_read_by_its_own_tree() -> None:
    """The tables are told by the engine where sqlglot cannot parse the text."""
    sql = "SELECT x: n, salesforce.contact.id FROM salesforce.contact ANTI JOIN below USING (id)"
    opaque = "SELECT * FROM salesforce.contact, below WHERE tags[:n] <> [] AND n!~~*'a' "
    for text in (sql, opaque):
        reads = {(read.kind, read.name) for read in tables(Nodes(read_select(text)))}
        assert {("landed", "contact"), ("model", "below")} == reads


POSTGRES_STATEMENTS = [
    *(f"SELECT {e} AS v FROM salesforce.contact" for e in (
        "n / 2", "-n / 2", "n % 3", "n ^ 2", "email ~* 'CORP'", "email !~* 'corp'", "n::numeric",
        "n::numeric / 2", "to_char(ts, 'DD.MM.YYYY HH24:MI')", "extract(dow FROM d)",
        "extract(isodow FROM d)", "date_trunc('week', ts)", "to_date('01/02/2026', 'DD/MM/YYYY')",
        "E'a\\tb'", "E'\\\\d'", "$$x'y$$", "U&'\\0041'", "email SIMILAR TO '%(a|b)%'",
        "ts AT TIME ZONE 'Europe/Berlin'", "ts + interval '1 mon 2 days ago'", "array[n, 2]",
        "(array[1, 2, 3])[1:2]", "doc ->> 'a.b'", "doc #>> '{a,b}'", "doc @> '{\"s\": \"x\"}'",
        "doc ? 's'", "jsonb_build_object('n', n)", "row_to_json(contact)", "concat(n, email)",
        "format('%s-%s', n, email)", "substring(email from '(.)@')",
        "regexp_replace(email, 'C', 'x', 'i')",
        "regexp_matches(email, '(.)@(.)')", "string_to_array(email, '@')", "coalesce(n, 0) <> 1",
        "generate_series(1, n)", "make_interval(days => n)", "age(ts, d)", "date '2026-01-31' - d",
        "justify_days(interval '40 days')", "width_bucket(n, 0, 10, 5)",
        "round(2.5), round(2.5::float8)",
        "salesforce.contact.n", "contact.n", "n is distinct from null",
        "n between symmetric 3 and 1",
    )),
    "SELECT active, string_agg(email, ',' ORDER BY id) FROM salesforce.contact GROUP BY active",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) FROM salesforce.contact",
    "SELECT DISTINCT ON (active) active, id FROM salesforce.contact ORDER BY active, id",
    "SELECT n, x FROM salesforce.contact CROSS JOIN LATERAL unnest(array[n, 1]) WITH ORDINALITY"
    " AS u(x, o)",
    "SELECT grouping(active), count(*) FROM salesforce.contact GROUP BY ROLLUP (active)",
    "SELECT sum(n) OVER (ORDER BY id RANGE UNBOUNDED PRECEDING EXCLUDE GROUP) FROM"
    " salesforce.contact",
    "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 4) SELECT * FROM r",
    "SELECT id FROM salesforce.contact ORDER BY id FETCH FIRST 1 ROW ONLY",
]  # fmt: skip


def test_a_model_in_postgres_words_runs_as_it_is_on_postgres(
    postgres_server: PostgresServer,
) -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    connection = psycopg2.connect(postgres_server.url())
    connection.autocommit = True

    def rows(sql: str) -> object:
        with connection.cursor() as cursor:
            try:
                cursor.execute(sql)
            except psycopg2.Error as error:
                return type(error).__name__
            return sorted(map(repr, cursor.fetchall()))

    with connection.cursor() as cursor:
        for schema in ("salesforce", "crm"):
            cursor.execute(
                f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema};"
                f"CREATE TABLE {schema}.contact (id text, email text, n int, active bool, d date,"
                f" ts timestamptz, doc jsonb); INSERT INTO {schema}.contact VALUES"
                " ('1', 'Ann@Corp', 7, true, '2026-01-31', '2026-01-31 23:30-05',"
                """ '{"a.b": 1, "a": {"b": 2}, "s": "x"}'), """
                "('2', NULL, -7, NULL, NULL, NULL, NULL)"
            )
    differing, failed = [], []
    for sql in POSTGRES_STATEMENTS:
        models = {
            "below": model("below", sql, dialect="postgres"),
            "top": model("top", "SELECT * FROM below", dialect="postgres", depends_on=("below",)),
        }
        text = compiled_sql(Models(by_name=models), "below", dialect="postgres")
        bound = bind(text, dataset="crm", now=NOW, dialect="postgres").sql
        expected = rows(sql)
        differing += [] if expected == rows(bound) else [(sql, expected, rows(bound))]
        failed += [sql] if isinstance(expected, str) else []
        text = compiled_sql(Models(by_name=models), "top", dialect="postgres")
        bound = bind(text, dataset="crm", now=NOW, dialect="postgres").sql
        assert rows(f"SELECT * FROM ({sql}) AS q") == rows(bound), sql
    connection.close()
    assert [] == differing
    assert [] == failed
