"""The models that `tailrace init` copies: they say who is in, and they move with the org."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tailrace.models.compile import bind, compiled_sql
from tailrace.models.loader import Models, landed_name, read_models
from tailrace.testing.org.org import Org

MODELS = Path(__file__).parents[2] / "models"
NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)
OBJECTS = ("Account", "Contact", "Opportunity", "Campaign", "CampaignMember")

LANDED = {
    "account": "id TEXT, name TEXT, type TEXT, industry TEXT, number_of_employees BIGINT,"
    " website TEXT, billing_country TEXT, is_deleted BOOLEAN",
    "contact": "id TEXT, account_id TEXT, first_name TEXT, last_name TEXT, email TEXT, title TEXT,"
    " mailing_country TEXT, has_opted_out_of_email BOOLEAN, is_email_bounced BOOLEAN,"
    " is_deleted BOOLEAN",
    "opportunity": "id TEXT, account_id TEXT, stage_name TEXT, amount DOUBLE PRECISION,"
    " close_date DATE, is_closed BOOLEAN, is_won BOOLEAN, is_deleted BOOLEAN",
    "campaign": "id TEXT, name TEXT, type TEXT, is_deleted BOOLEAN",
    "campaign_member": "id TEXT, campaign_id TEXT, contact_id TEXT, has_responded BOOLEAN,"
    " first_responded_date DATE, is_deleted BOOLEAN",
}
CONTACT = "INSERT INTO salesforce.contact VALUES ('{0}', '{1}', 'Ada', 'L', {2}, 'CTO', 'DE', {3})"
DEAL = "INSERT INTO salesforce.opportunity VALUES ('{0}', '{1}', 'Closed Won', {2}, '{3}', {4})"


@pytest.fixture(scope="module")
def models() -> Models:
    return read_models(MODELS)


def landed() -> list[str]:
    """A few accounts at the edges of the audiences, one contact each."""
    statements = ["CREATE SCHEMA salesforce"]
    statements += [f"CREATE TABLE salesforce.{name} ({cs})" for name, cs in LANDED.items()]
    for account in ("rich", "edge", "old", "lost", "split", "gone", "bare"):
        deleted = "true" if account == "gone" else "false"
        statements.append(
            f"INSERT INTO salesforce.account VALUES ('{account}', '{account.title()}', 'Customer',"
            f" 'Retail', 9, NULL, NULL, {deleted})"
        )
        statements.append(
            CONTACT.format(f"c_{account}", account, f"'{account}@x.de'", "false, false, false")
        )
    won, lost = "true, true, false", "true, false, false"
    statements += [
        CONTACT.format("c_no", "rich", "'no@x.de'", "true, false, false"),
        CONTACT.format("c_deleted", "rich", "'gone@x.de'", "false, false, true"),
        CONTACT.format("c_bounced", "split", "'b@x.de'", "false, true, false"),
        CONTACT.format("c_mailless", "edge", "NULL", "false, false, NULL"),
        DEAL.format("o1", "rich", "50000.01", "2026-11-01", won),
        DEAL.format("o2", "edge", "50000", "2026-11-01", won),
        DEAL.format("o3", "old", "90000", "2025-11-21", won),
        DEAL.format("o4", "lost", "90000", "2026-11-01", lost),
        DEAL.format("o5", "split", "25000.1", "2025-11-23", won),
        DEAL.format("o6", "split", "25000.2", "2026-04-01", won),
        DEAL.format("o7", "split", "90000", "2026-11-01", "true, true, true"),
        DEAL.format("o8", "gone", "90000", "2026-01-01", won),
        "INSERT INTO salesforce.campaign VALUES ('k1', 'Spring', 'Email', false)",
        "INSERT INTO salesforce.campaign VALUES ('k2', 'Autumn', 'Webinar', false)",
        *(
            f"INSERT INTO salesforce.campaign_member VALUES ({values})"
            for values in (
                "'m1', 'k1', 'c_rich', true, '2026-09-01', false",
                "'m2', 'k2', 'c_rich', true, '2026-11-20', false",
                "'m3', 'k2', 'c_edge', true, '2026-08-24', false",
                "'m4', 'k2', 'c_old', false, NULL, false",
                "'m5', 'k2', NULL, true, '2026-11-20', false",
                "'m6', 'k2', 'c_lost', true, '2026-11-20', true",
                "'m7', 'k2', 'c_no', true, '2026-08-25', false",
            )
        ),
    ]
    return statements


MEMBERS = {
    "vip_contacts": {"c_rich": "50000.01", "c_split": "50000.30", "c_bounced": "50000.30"},
    "customer_contacts": dict.fromkeys(
        ["c_rich", "c_no", "c_edge", "c_mailless", "c_old", "c_split", "c_bounced"]
    ),
    "campaign_responders": {"c_rich": "Autumn"},
    "lapsed_customers": {"c_old": "2025-11-21", "c_split": "2026-04-01", "c_bounced": "2026-04-01"},
    "emailable_contacts": {
        f"c_{name}": f"{name}@x.de"
        for name in ("rich", "edge", "old", "lost", "split", "gone", "bare")
    },
}
SHOWN = {
    "vip_contacts": "ltv_usd",
    "campaign_responders": "campaign_name",
    "lapsed_customers": "last_won_on",
    "emailable_contacts": "email",
}


def members(
    models: Models, name: str, now: datetime, run: Any, *, dialect: str = "duckdb"
) -> list[dict[str, Any]]:
    """The rows of an audience without those that its consent suppresses."""
    text = compiled_sql(models, name)
    bound = bind(text, dataset="salesforce", now=now, dialect=dialect).sql
    model = models.by_name[name]
    assert model.audience is not None and model.columns is not None
    rows = [dict(zip(model.columns, row, strict=True)) for row in run(bound)]
    away = model.audience.suppress_when
    return [row for row in rows if away is None or not row[away]]


def test_the_starter_s_models_are_valid_without_a_warning(models: Models) -> None:
    """Nothing in them moves, and every audience says who is in it and whom to ask."""
    assert [] == [each for model in models.by_name.values() for each in model.warnings]
    assert len(models.audiences()) >= 3
    assert [] == [m.name for m in models.by_name.values() if not m.description]
    assert [] == [m.name for m in models.audiences() if not m.owner or not m.tags]
    assert any(m.audience and m.audience.group for m in models.audiences())


@pytest.mark.parametrize("name", MEMBERS)
def test_an_audience_holds_exactly_those_that_its_description_says(
    name: str, models: Models
) -> None:
    """At the edge of each condition: just enough, a day too old, deleted, opted out, no address."""
    with duckdb.connect() as connection:
        connection.execute(";".join(landed()))
        found = members(models, name, NOW, lambda sql: connection.execute(sql).fetchall())
    shown = SHOWN.get(name)
    assert MEMBERS[name] == {r["contact_id"]: str(r[shown]) if shown else None for r in found}


@pytest.mark.postgres
@pytest.mark.parametrize("name", MEMBERS)
def test_the_same_models_give_the_same_members_on_postgresql(
    name: str, models: Models, postgres_database: str
) -> None:
    import psycopg2

    connection = psycopg2.connect(postgres_database)
    try:
        cursor = connection.cursor()
        cursor.execute(";".join(landed()))

        def run(sql: str) -> Sequence[Any]:
            cursor.execute(sql)
            return list(cursor.fetchall())

        found = members(models, name, NOW, run, dialect="postgres")
    finally:
        connection.close()
    shown = SHOWN.get(name)
    assert MEMBERS[name] == {r["contact_id"]: str(r[shown]) if shown else None for r in found}


def test_a_latest_response_is_counted_with_the_earlier_ones(models: Models) -> None:
    with duckdb.connect() as connection:
        connection.execute(";".join(landed()))
        (found,) = members(
            models, "campaign_responders", NOW, lambda sql: connection.execute(sql).fetchall()
        )
    assert (2, "Webinar") == (found["responses"], found["campaign_type"])


def days(models: Models, org: Org, count: int) -> Iterator[dict[str, set[str]]]:
    """Who is in which audience, day after day, in the simulated org."""
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA salesforce")
        for _ in range(count):
            for sobject in OBJECTS:
                land(connection, org, sobject)
            found = {}
            for model in models.audiences():
                rows = members(
                    models, model.name, org.now(), lambda sql: connection.execute(sql).fetchall()
                )
                found[model.name] = {row["contact_id"] for row in rows}
                assert len(rows) == len(found[model.name])
            yield found
            org.advance_day()


def land(connection: duckdb.DuckDBPyConnection, org: Org, sobject: str) -> None:
    """Put an object's rows into the warehouse, named and typed as the extract does."""
    types = {
        "boolean": pa.bool_(),
        "currency": pa.float64(),
        "date": pa.date32(),
        "double": pa.float64(),
        "int": pa.int64(),
    }
    spec = org.spec(sobject)
    wanted = set(LANDED[landed_name(sobject)].replace(",", " ").split())
    fields = {f.name: types.get(f.type, pa.string()) for f in spec.fields}
    names = {name for name in fields if landed_name(name) in wanted}
    rows = [{landed_name(n): r.get(n) for n in names} for r in org.rows(sobject).records()]
    columns = pa.schema([(landed_name(name), fields[name]) for name in sorted(names)])
    connection.register("landing", pa.Table.from_pylist(rows, schema=columns))
    table = f"salesforce.{landed_name(sobject)}"
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM landing")
    connection.unregister("landing")


def test_the_simulated_org_moves_people_through_every_audience(models: Models) -> None:
    """A demo of a few days shows something in each: no audience is empty, all, or still."""
    org = Org(ticking=False)
    history = list(days(models, org, 8))
    contacts = len(org.rows("Contact").records())
    for name in MEMBERS:
        each_day = [day[name] for day in history]
        assert all(5 <= len(day) < contacts for day in each_day), name
        assert any(later - earlier for earlier, later in itertools.pairwise(each_day)), name
        assert any(earlier - later for earlier, later in itertools.pairwise(each_day)), name
