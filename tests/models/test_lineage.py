"""The columns of landed tables that models read."""

from __future__ import annotations

from pathlib import Path

from tailrace.models.lineage import columns_read
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
