"""The columns of landed tables that models read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace.models.lineage import KnownTables, columns_read, lineage_of
from tailrace.models.loader import Models, read_models


def models(folder: Path, **sql: str) -> Models:
    for name, text in sql.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return read_models(folder)


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


LANDED: dict[str, dict[str, list[Any]]] = {
    "contact": {
        "id": ["Id", "id", False],
        "email": ["Email", "email", True],
        "first_name": ["FirstName", "string", True],
        "account_id": ["AccountId", "reference", False],
        "is_deleted": ["IsDeleted", "boolean", False],
    },
    "account": {"id": ["Id", "id", False], "name": ["Name", "string", False]},
}
OBJECTS = {"contact": "Contact", "account": "Account"}


@pytest.mark.parametrize(
    ("sql", "sources", "filters"),
    [
        ("SELECT id, email AS sent FROM people", ["Contact.Email"], ["Contact.IsDeleted"]),
        (
            "SELECT id, first_name || ' ' || email AS sent FROM people",
            ["Contact.Email", "Contact.FirstName"],
            ["Contact.IsDeleted"],
        ),
        (
            "WITH p AS (SELECT * FROM people) SELECT p.id, a.name AS sent FROM p"
            " JOIN salesforce.account AS a ON a.id = p.account_id",
            ["Account.Name"],
            ["Account.Id", "Contact.AccountId", "Contact.IsDeleted"],
        ),
        (
            "SELECT id, (SELECT COUNT(*) FROM salesforce.account) AS sent FROM people",
            [],
            ["Contact.IsDeleted"],
        ),
        ("SELECT id, 'x' AS sent FROM people", [], ["Contact.IsDeleted"]),
    ],
    ids=["another name", "computed", "join and star", "subquery", "constant"],
)
def test_a_column_is_followed_to_the_fields_that_it_is_computed_from(
    tmp_path: Path, sql: str, sources: list[str], filters: list[str]
) -> None:
    """Fields that only decide which rows there are count as filters."""
    people = "SELECT id, email, first_name, account_id FROM salesforce.contact WHERE NOT is_deleted"
    project = models(tmp_path, people=people, top=sql)
    lineage = lineage_of(
        project, "top", columns=("id", "sent"), tables=KnownTables(LANDED, OBJECTS)
    )
    assert sources == sorted(field.name for field in lineage.columns["sent"])
    assert filters == [name for name in lineage.filters if name != "Contact.Id"]
    assert ("Contact.Email" in sources) == any(
        field.personal for field in lineage.columns["sent"] if field.name != "Contact.FirstName"
    )
