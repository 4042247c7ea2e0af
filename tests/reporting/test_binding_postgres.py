"""`validate` binds models to the tables of a PostgreSQL server, without running them."""

from __future__ import annotations

from pathlib import Path

import pytest
from warehouses.stores import PostgresStore

from tailrace import Project
from tailrace.errors import ModelDoesNotBind, NotAllowedInModel, UnknownColumn

pytestmark = pytest.mark.postgres
HEADER = "/* ---\nkey: id\nuser_id: id\ntrack: {properties: {n: n}}\n--- */\n"


@pytest.fixture
def store(tmp_path: Path, postgres_database: str) -> PostgresStore:
    store = PostgresStore(tmp_path, url=postgres_database)
    store.script(
        "CREATE SCHEMA salesforce; CREATE TABLE salesforce.contact (id TEXT, n INTEGER);"
        "CREATE SCHEMA private; CREATE TABLE private.secrets (n INTEGER)"
    )
    return store


def project(store: PostgresStore) -> Project:
    store.environ["DESTINATION__SEGMENT__WRITE_KEY"] = "x"
    return Project.load(store.root, environ=store.environ)


@pytest.mark.parametrize(
    ("sql", "error", "message", "line"),
    [
        ("SELECT id,\n nn AS n FROM salesforce.contact", ModelDoesNotBind, 'column "nn"', 7),
        ("SELECT id FROM salesforce.contact", UnknownColumn, 'no column "n"', 4),
        ("SELECT id, lower(n) AS n FROM salesforce.contact", ModelDoesNotBind, "lower", 6),
    ],
)
def test_a_model_that_does_not_bind_is_named(
    store: PostgresStore, sql: str, error: type[Exception], message: str, line: int
) -> None:
    store.audience(HEADER + sql)
    with pytest.raises(error, match=message) as raised:
        project(store).validate()
    assert ("models/audiences/people.sql", line) == (raised.value.file, raised.value.line)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("current_user", "current_user is not allowed"),
        ("pg_backend_pid()", r"pg_backend_pid\(\) is not allowed"),
        ("pg_sleep(9)", r"pg_sleep\(\) is not allowed"),
    ],
)
def test_a_model_that_does_more_than_compute_rows_is_named(
    store: PostgresStore, expression: str, message: str
) -> None:
    header = HEADER.replace("key: id", "dialect: postgres\nkey: id")
    store.audience(f"{header}SELECT id,\n {expression} AS n\nFROM salesforce.contact")
    with pytest.raises(NotAllowedInModel, match=message) as raised:
        project(store).validate()
    assert ("models/audiences/people.sql", 8) == (raised.value.file, raised.value.line)


def test_a_server_that_is_not_reached_is_a_warning(store: PostgresStore) -> None:
    store.audience(HEADER + "SELECT id, nosuch AS n FROM salesforce.contact")
    secrets = store.root / ".dlt" / "secrets.toml"
    secrets.write_text(secrets.read_text().replace(store.url, "postgresql://u:p@localhost:1/x"))
    (warning,) = project(store).validate().as_dict()["warnings"]
    assert "columns of landed tables were not checked" in warning["message"]
    assert "tailrace" in warning["hint"] and "u:p" not in warning["message"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("substr(name, -2)", "position that may be 0 or negative"),
        ("name || x", "Text of type DOUBLE"),
        ("regexp_matches(name, '\\bx')", "pattern of regexp_matches"),
    ],
)
def test_what_may_mean_something_else_is_named_by_validate_and_plan(
    store: PostgresStore, expression: str, message: str
) -> None:
    """In the model that has it, with its line; whether the types of columns decide or not."""
    store.script("CREATE TABLE salesforce.account (id TEXT, name TEXT, x DOUBLE)")
    staging = store.root / "models" / "staging"
    staging.mkdir()
    (staging / "below.sql").write_text(f"SELECT id,\n  {expression} AS n\nFROM salesforce.account")
    store.audience(HEADER + "SELECT id, n FROM below")
    with pytest.raises(ModelDoesNotBind, match=message) as raised:
        project(store).validate()
    assert ("models/staging/below.sql", 2) == (raised.value.file, raised.value.line)
    assert raised.value.hint
    (failure,) = store.plan().failures
    assert ("models/staging/below.sql", 2) == (failure.error.file, failure.error.line)
