"""Each refused function has the reason that fits it, and a hint about what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.errors import NonDeterministicModel, NotAllowedInModel
from tailrace.models.loader import errors_of, load_models
from tailrace.warehouse.refusals import reason_of
from tailrace.warehouse.sandbox import TABLE_FUNCTIONS, duckdb_functions, duckdb_violations

REASONS = {
    "it reads files": ["read_csv", "READ_PARQUET", "glob", "sniff_csv", "pg_read_file"],
    "it reads from outside the warehouse": ["postgres_scan", "sqlite_scan", "dblink", "http_get"],
    "it reads an environment variable": ["getenv"],
    "it reads settings of the session or of the server": [
        *("current_setting", "getvariable", "duckdb_settings", "duckdb_secrets", "version"),
        *("set_config", "pg_show_all_settings"),
    ],
    "it returns another value each time": ["random", "setseed", "uuid", "gen_random_uuid", "rand"],
    "it counts in a sequence": ["nextval", "currval"],
    "it reads a clock that goes on while the model runs": ["clock_timestamp", "timeofday"],
    "it works on SQL texts": ["query", "query_table", "json_serialize_sql", "query_to_xml"],
    "it raises errors": ["error", "assert_true"],
    "it only waits": ["sleep_ms", "pg_sleep"],
    "it changes something besides the result": ["write_log", "enable_logging", "pg_notify"],
    "it depends on the session, not on rows": ["current_query", "txid_current", "current_user"],
    "it reads the catalog or the state of the engine": [
        *("duckdb_tables", "pragma_table_info", "current_schema", "pg_table_size", "show_tables"),
    ],
}


@pytest.mark.parametrize(
    ("name", "because"), [(name, why) for why, names in REASONS.items() for name in names]
)
def test_a_function_has_the_reason_of_its_kind(name: str, because: str) -> None:
    assert because == reason_of(name).because


def test_every_function_that_duckdb_lists_and_a_model_may_not_call_has_a_reason() -> None:
    """Only the engine's internal functions have the general one."""
    listed, allowed = duckdb_functions()
    refused = {name for name in listed - allowed - TABLE_FUNCTIONS if not name.startswith("__")}
    general = reason_of("__internal").because
    assert {"histogram_values"} >= {name for name in refused if reason_of(name).because == general}


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        ("getenv('HOME')", "it reads an environment variable", "Write the value itself"),
        ("current_query()", "it depends on the session", "Leave it out"),
        ("current_setting('TimeZone')", "it reads settings", "Write the value itself"),
        ("nextval('s')", "it counts in a sequence", "row_number() OVER"),
        ("error(city)", "it raises errors", "guards: {min_rows: 1}"),
        ("(SELECT max(size) FROM read_text('x'))", "it reads files", "models/sources.yml"),
        ("random()", "random() is not deterministic", "md5(id) < '1'"),
        ("uuid()", "uuid() is not deterministic", "md5(id)"),
    ],
)
def test_a_model_is_refused_with_the_reason_and_the_hint(
    tmp_path: Path, call: str, message: str, hint: str
) -> None:
    (tmp_path / "people.sql").write_text(f"SELECT id,\n  {call} AS x\nFROM salesforce.contact")
    (error,) = errors_of(load_models(tmp_path).select_broken())
    (one,) = error.flattened()
    assert message in one.message
    assert hint in one.hint
    assert 2 == one.line
    random = "not deterministic" in message
    assert isinstance(one, NonDeterministicModel if random else NotAllowedInModel)


def test_what_the_hints_suggest_is_allowed() -> None:
    suggested = (
        "SELECT md5(id) AS key, row_number() OVER (ORDER BY id) AS n, now() AS t, current_date AS d"
        " FROM (VALUES ('a', 1), ('b', 2)) AS v(id, x) WHERE md5(id) < '1'"
    )
    assert () == duckdb_violations(suggested)
