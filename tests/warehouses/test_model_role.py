"""`model_role`: on PostgreSQL the SQL of models runs as a role that only reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from warehouses.stores import PostgresStore, store_on

from tailrace.cli.commands.doctor import examine
from tailrace.errors import ModelRoleRefused
from tailrace.plan.policy import PlanOptions
from tailrace.testing import SegmentSimulator

pytestmark = pytest.mark.postgres
ROLE = f"models of {os.getpid()}"
HEADER = """/* ---
dialect: postgres
key: id
user_id: id
{options}track: {{changed: Row Changed, properties: {{{properties}}}}}
--- */
"""
BUILT = """/* ---
dialect: postgres
materialized: table
--- */
SELECT id, city FROM salesforce.contact"""


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PostgresStore]:
    """A shop whose login is not a superuser, and a role that may read what the login creates."""
    request.param = "postgres"
    with SegmentSimulator() as segment, store_on(request, tmp_path / "shop", segment) as store:
        assert isinstance(store, PostgresStore)
        login = f"loader_{os.getpid()}"
        database = store.url.rpartition("/")[2]
        with store._cursor() as cursor:
            cursor.execute(f'CREATE ROLE "{ROLE}" NOLOGIN')
            cursor.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'p'")
            cursor.execute(f'GRANT "{ROLE}" TO {login}')
            cursor.execute(f"GRANT CREATE ON DATABASE {database} TO {login}")
        admin = store.url
        store.url = f"postgresql://{login}:p@{admin.partition('@')[2]}"
        secrets = store.root / ".dlt" / "secrets.toml"
        secrets.write_text(secrets.read_text().replace(admin, store.url))
        configure(store, f'model_role = "{ROLE}"')
        for what in ("USAGE ON SCHEMAS", "SELECT ON TABLES"):
            write(store, f'ALTER DEFAULT PRIVILEGES FOR ROLE {login} GRANT {what} TO "{ROLE}"')
        write(store, "CREATE SCHEMA salesforce")
        write(store, "CREATE TABLE salesforce.contact (id TEXT, city TEXT, score INTEGER)")
        write(store, "INSERT INTO salesforce.contact VALUES ('1', 'Oslo', 1), ('2', 'Moss', 2)")
        yield store
        store.url = admin
        with store._cursor() as cursor:
            cursor.execute(f'DROP OWNED BY "{ROLE}", {login} CASCADE')
            cursor.execute(f'DROP ROLE "{ROLE}", {login}')


def write(shop: PostgresStore, sql: str) -> None:
    with shop._cursor() as cursor:
        cursor.execute(sql)


def configure(shop: PostgresStore, line: str) -> None:
    config = shop.root / ".dlt" / "config.toml"
    lines = [text for text in config.read_text().splitlines() if "model_role" not in text]
    lines.insert(lines.index("[tailrace]") + 1, line)
    config.write_text("\n".join(lines) + "\n")


def people(shop: PostgresStore, properties: str, sql: str, *, options: str = "") -> None:
    header = HEADER.format(options=options, properties=properties)
    shop.audience(header + sql)


def stage(shop: PostgresStore, text: str) -> None:
    folder = shop.project.models_folder / "staging"
    folder.mkdir(exist_ok=True)
    (folder / "staged.sql").write_text(text)


def roles(shop: PostgresStore) -> dict[str, tuple[str, str]]:
    return {
        check.check: (check.status, check.found)
        for check in examine(shop.root, None, clock=shop.clock)
        if check.check == "model role"
    }


def test_everything_that_runs_a_model_runs_as_the_role(shop: PostgresStore) -> None:
    """Deliveries, previews, edits, new columns, tables of models, retries after a crash."""
    stage(shop, BUILT)
    people(shop, "city: city", "SELECT id, city FROM staged")
    assert (0, 2) == ((done := shop.sync()).exit_code, done.audiences[0]["sent"])
    write(shop, "UPDATE salesforce.contact SET city = 'Hamar' WHERE id = '1'")
    write(shop, "DELETE FROM salesforce.contact WHERE id = '2'")
    shown = shop.plan(options=PlanOptions(show_rows_max=5)).audiences[0]
    assert (1, 1, 2) == (shown.changed, shown.exited, len(shown.rows))
    assert (0, 2) == ((done := shop.sync()).exit_code, done.audiences[0]["sent"])
    # An edit with a new column whose values of today count as delivered.
    people(
        shop,
        "city: city, score: score",
        "SELECT id, city, score FROM salesforce.contact",
        options="on_new_column: accept\n",
    )
    assert (0, 0) == ((done := shop.sync()).exit_code, done.audiences[0]["sent"])
    assert [("1", 1)] == shop.query(
        "SELECT id, score FROM tailrace.snapshot__people WHERE NOT _gone"
    )
    write(shop, "INSERT INTO salesforce.contact VALUES (NULL, 'x', 0), ('3', 'y', 0)")
    done = shop.sync(options=PlanOptions(allow=frozenset({("people", "keys")})))
    assert (0, 1) == (done.exit_code, done.audiences[0]["sent"]), done.errors
    assert {"model role": ("ok", f"{ROLE} reads, and does not write")} == roles(shop)


def test_a_table_that_the_role_may_not_read_fails_one_audience(shop: PostgresStore) -> None:
    """With file and hint; doctor says which right is missing, and which is too many."""
    write(shop, "CREATE TABLE salesforce.account (id TEXT, city TEXT)")
    write(shop, "INSERT INTO salesforce.account VALUES ('1', 'Oslo')")
    write(shop, f'REVOKE SELECT ON salesforce.account FROM "{ROLE}"')
    write(shop, f'GRANT DELETE ON salesforce.contact TO "{ROLE}"')
    people(shop, "city: city", "SELECT id, city FROM salesforce.contact")
    header = HEADER.format(options="", properties="city: city")
    shop.audience(header + "SELECT id, city FROM salesforce.account", "accounts")
    stage(shop, BUILT.replace("contact", "account"))
    shop.audience(header + "SELECT id, city FROM staged", "built")
    done = shop.sync()
    assert (1, [2]) == (done.exit_code, [row["sent"] for row in done.audiences if row["sent"]])
    assert {"accounts.sql", "staged.sql"} == {Path(str(error.file)).name for error in done.errors}
    for error in done.errors:
        assert "the role that models run as may not read what it needs" in str(error)
    found = [c for c in examine(shop.root, None, clock=shop.clock) if c.check == "model role"]
    assert ["failed", "warning"] == [check.status for check in found]
    for check in found:
        for command in check.hint.partition("run: ")[2].split("; and: "):
            write(shop, command)
    assert {"model role": ("ok", f"{ROLE} reads, and does not write")} == roles(shop)
    assert 0 == shop.sync().exit_code


@pytest.mark.parametrize("role", ["nobody of these", "tailrace"])
def test_a_role_that_cannot_be_taken_stops_before_a_model_runs(
    shop: PostgresStore, role: str
) -> None:
    people(shop, "city: city", "SELECT id, city FROM salesforce.contact")
    configure(shop, f'model_role = "{role}"')
    with pytest.raises(ModelRoleRefused, match=f'cannot take the role "{role}"') as raised:
        shop.plan()
    assert f'GRANT "{role}" TO' in raised.value.hint
    assert "failed" == roles(shop)["model role"][0]
    assert 2 == shop.sync().exit_code
