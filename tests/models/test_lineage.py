"""Where a column comes from, through models and WITH clauses."""

from __future__ import annotations

from pathlib import Path

from tailrace.models.lineage import columns_read, trace
from tailrace.models.loader import Models, read_models


def models(folder: Path, **sql: str) -> Models:
    for name, text in sql.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return read_models(folder)


def test_a_column_is_followed_down_to_the_landed_ones(tmp_path: Path) -> None:
    project = models(
        tmp_path,
        people="SELECT id AS contact_id, Email, account_id FROM salesforce.Contact",
        sales="SELECT account_id, SUM(amount) FILTER (WHERE is_won) AS won, COUNT(*) AS deals"
        " FROM salesforce.opportunity GROUP BY account_id",
        top="""WITH rich AS (SELECT * FROM sales WHERE won > 10)
            SELECT p.contact_id, LOWER(p.email) AS mail, r.won, r.deals, 'x' AS constant
            FROM people AS p JOIN rich AS r USING (account_id)""",
    )
    assert {
        "contact_id": ("contact.id",),
        "mail": ("contact.email",),
        "won": ("opportunity.amount", "opportunity.is_won"),
        "deals": (),
        "constant": (),
    } == trace(project, "top")


def test_both_sides_of_a_union_are_sources(tmp_path: Path) -> None:
    project = models(
        tmp_path,
        top="SELECT id, email FROM salesforce.contact"
        " UNION ALL SELECT id, email FROM salesforce.lead",
    )
    assert ("contact.email", "lead.email") == trace(project, "top")["email"]


def test_known_columns_tell_which_of_two_tables(tmp_path: Path) -> None:
    """Offline nobody can say; with the warehouse's columns, it is known, stars included."""
    project = models(
        tmp_path,
        top="SELECT amount, c.* FROM salesforce.contact AS c"
        " JOIN salesforce.opportunity AS o ON TRUE",
    )
    landed = {"contact": ["id", "email"], "opportunity": ["amount", "stage_name"]}
    assert {
        "amount": ("opportunity.amount",),
        "id": ("contact.id",),
        "email": ("contact.email",),
    } == trace(project, "top", landed=landed)


def test_a_star_offline_hides_which_column_it_is(tmp_path: Path) -> None:
    project = models(
        tmp_path, everybody="SELECT * FROM salesforce.contact", top="SELECT email FROM everybody"
    )
    assert set(trace(project, "top")["email"]) <= {"contact.*", "contact.email"}


def test_every_column_that_a_model_names_is_read(tmp_path: Path) -> None:
    """In WHERE, in joins and in WITH too; not what other models give, and no star."""
    project = models(
        tmp_path,
        people="SELECT id, LOWER(Email) AS mail FROM salesforce.contact WHERE NOT is_deleted",
        top="""WITH won AS (SELECT o.account_id FROM salesforce.opportunity AS o WHERE o.is_won)
            SELECT p.mail, a.* FROM people AS p
            JOIN salesforce.account AS a ON a.owner_id = p.id
            JOIN won ON won.account_id = a.id""",
    )
    (people, top) = (project.by_name[name].file for name in ("people", "top"))

    assert {
        "account": {"id": (top,), "owner_id": (top,)},
        "contact": {"email": (people,), "id": (people,), "is_deleted": (people,)},
        "opportunity": {"account_id": (top,), "is_won": (top,)},
    } == columns_read(project)
