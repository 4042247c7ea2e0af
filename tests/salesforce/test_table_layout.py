"""How rows lie in the warehouse: names that stay, columns that exist, meanings that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from salesforce_landing import Landing, landing_of

from tailrace.errors import FieldTypeChanged
from tailrace.salesforce.describe import ColumnKind, Field, SObject
from tailrace.salesforce.extract.arrow_parsing import schema_of
from tailrace.salesforce.extract.parquet_writer import ParquetFiles
from tailrace.salesforce.extract.table_layout import (
    FIELD_HINT,
    TableLayout,
    lay_out_table,
)
from tailrace.testing import Fault
from tailrace.testing.org.describe import Field as SimulatedField
from tailrace.testing.org.describe import SObject as SimulatedObject
from tailrace.testing.org.describe import system_fields

normalize = NamingConvention().normalize_path


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as each:
        yield each


def sobject(*names: str, kinds: dict[str, ColumnKind] | None = None) -> SObject:
    """An object with these fields beside its id."""
    fields = [Field(name="Id", type="id", kind="text")]
    fields += [
        Field(name=each, type="string", kind=(kinds or {}).get(each, "text")) for each in names
    ]
    return SObject(
        name="Contact",
        label="Contact",
        fields=tuple(fields),
        visible=frozenset(each.name for each in fields),
        cursor=None,
        replicateable=True,
        queryable=True,
        formula="land",
    )


def stored(layout: TableLayout) -> dict[str, Any]:
    """dlt's schema of the table after the layout has landed."""
    return {"columns": layout.hints(remove_deleted=False)}


def columns(layout: TableLayout) -> dict[str, str | None]:
    """Which field each column holds."""
    return {each.column: each.field.name if each.field else None for each in layout.columns}


def test_every_table_has_the_marks_of_deletion() -> None:
    """`WHERE NOT is_deleted` works on objects that Salesforce never keeps deleted rows of."""
    assert ["id", "name", "is_deleted", "_hard_deleted"] == list(
        columns(lay_out_table(sobject("Name"), None, normalize=normalize))
    )


def test_two_fields_of_one_normalized_name() -> None:
    """Each keeps a column of its own, whichever was there first."""
    first = lay_out_table(sobject("HomeCity__c"), None, normalize=normalize)
    both = lay_out_table(sobject("Home_City__c", "HomeCity__c"), stored(first), normalize=normalize)
    three = sobject("Home_City__c", "HomeCity__c", "homeCity__c")

    assert "HomeCity__c" == columns(both)["home_city__c"]
    found = columns(lay_out_table(three, stored(both), normalize=normalize))
    assert {"HomeCity__c", "Home_City__c", "homeCity__c"} <= set(found.values())
    assert columns(both).items() <= found.items()


def test_the_order_of_columns_stays_and_new_ones_follow() -> None:
    """Files that lie like the table are loaded without being written again."""
    first = lay_out_table(sobject("B__c", "A__c"), None, normalize=normalize)
    later = lay_out_table(sobject("C__c", "A__c", "B__c"), stored(first), normalize=normalize)

    assert [*columns(first), "c__c"] == list(columns(later))
    assert (("C__c",), ()) == (later.new, later.vanished)


def test_a_vanished_field_keeps_its_column() -> None:
    """It is named, and NULL in what lands from then on."""
    first = lay_out_table(
        sobject("A__c", "B__c", kinds={"B__c": "double"}), None, normalize=normalize
    )
    later = lay_out_table(sobject("A__c"), stored(first), normalize=normalize)
    batch = pa.RecordBatch.from_pylist(
        [{"Id": "003A", "A__c": "x"}], schema=schema_of(later.fields)
    )

    row = later.arrange(batch).to_pylist()[0]

    assert (("B__c",), ()) == (later.vanished, later.new)
    assert {"id": "003A", "a__c": "x", "b__c": None} == {k: row[k] for k in ("id", "a__c", "b__c")}
    assert pa.float64() == later.schema.field("b__c").type


@pytest.mark.parametrize(
    ("then", "now", "lands"),
    [
        ("double", "bigint", "double"),
        ("text", "double", "text"),
        ("text", "timestamp", "text"),
        ("bigint", "double", None),
        ("double", "text", None),
        ("date", "timestamp", None),
        ("bool", "text", None),
    ],
)
def test_types_that_change(then: ColumnKind, now: ColumnKind, lands: ColumnKind | None) -> None:
    """What loses nothing lands in the column that is there; the rest is refused or left out."""
    first = lay_out_table(sobject("A__c", kinds={"A__c": then}), None, normalize=normalize)
    changed = sobject("A__c", kinds={"A__c": now})

    if lands is None:
        with pytest.raises(FieldTypeChanged, match=f"Contact.A__c is now string .* as {then}"):
            lay_out_table(changed, stored(first), normalize=normalize)
        later = lay_out_table(changed, stored(first), normalize=normalize, leave_out=True)
        assert (("A__c",), ()) == (later.left_out, later.vanished)
        assert "A__c" not in [field.name for field in later.fields]
        assert first.schema == later.schema
    else:
        later = lay_out_table(changed, stored(first), normalize=normalize)
        assert lands == next(each.kind for each in later.fields if each.name == "A__c")


def test_pages_are_put_together_in_bounded_row_groups(tmp_path: Path) -> None:
    """What is held in memory does not grow with the rows, and a file is what DuckDB takes best."""
    layout = lay_out_table(sobject("A__c"), None, normalize=normalize)
    rows = [{"Id": f"003{n}", "A__c": "x"} for n in range(20_000)]
    batch = layout.arrange(pa.RecordBatch.from_pylist(rows, schema=schema_of(layout.fields)))
    names = iter(range(9))
    files = ParquetFiles(lambda: tmp_path / f"contact-{next(names)}.parquet")

    for _ in range(7):
        assert 20_000 == files.take(iter([batch]))

    groups = []
    for path, _ in files.listed():
        written = pq.ParquetFile(path).metadata
        groups.append([written.row_group(n).num_rows for n in range(written.num_row_groups)])
    assert [[60_000, 60_000, 2_880], [17_120]] == groups
    assert [122_880, 17_120] == [landed for _, landed in files.listed()]


def test_a_page_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """One that breaks off leaves no row; one that is too large to be held has its own file."""
    layout = lay_out_table(sobject("A__c"), None, normalize=normalize)
    row = [{"Id": "003", "A__c": "x" * 1_000_000}] * 10
    batch = layout.arrange(pa.RecordBatch.from_pylist(row, schema=schema_of(layout.fields)))
    names = iter(range(9))
    files = ParquetFiles(lambda: tmp_path / f"contact-{next(names)}.parquet")

    def breaks_off() -> Iterator[pa.RecordBatch]:
        yield batch
        raise OSError

    with pytest.raises(OSError):
        files.take(breaks_off())
    files.take(iter([batch]))
    files.take(batch for _ in range(10))

    assert [100, 10] == [rows for _, rows in files.listed()]


def test_meanings_are_kept_with_the_table(landing: Landing) -> None:
    """API name, type, label, help, description, and how sensitive Salesforce says a field is."""
    landing.one("Contact")
    landing.one("Account")
    landing.sf.org.advance_day()
    landing.one("Contact")

    asked = [path for path in landing.paths() if path.endswith("/tooling/query")]
    assert 2 == len(asked)
    tables = landing.pipeline.schemas["salesforce"].tables
    birthdate = tables["contact"]["columns"]["birthdate"]
    assert ("Birthdate", "date", "PII", "Restricted") == (
        birthdate[FIELD_HINT],
        birthdate["x-salesforce-type"],
        birthdate["x-salesforce-compliance"],
        birthdate["x-salesforce-sensitivity"],
    )
    score = tables["account"]["columns"]["health_score__c"]
    assert "Ten, less one for each open case." in score["description"]
    assert True is score["x-salesforce-calculated"]
    home = tables["contact"]["columns"]["npe01__home_email__c"]
    assert "npe01__HomeEmail__c" == home[FIELD_HINT]


def test_descriptions_are_read_again_when_a_field_is_new(landing: Landing) -> None:
    """And they are not needed to land rows."""
    landing.one("Contact")
    new = SimulatedField(
        name="Iban__c", type="string", description="For refunds.", sensitivity="Confidential"
    )
    landing.sf.org.add_field("Contact", new)
    landing.one("Contact")
    iban = landing.pipeline.schemas["salesforce"].tables["contact"]["columns"]["iban__c"]
    assert ("Iban: For refunds.", "Confidential") == (
        iban["description"],
        iban["x-salesforce-sensitivity"],
    )
    refusal = [{"errorCode": "INSUFFICIENT_ACCESS", "message": "No access to the setup"}]
    landing.sf.faults.append(Fault(path="*/tooling/query", status=403, body=refusal))

    assert landing.one("Account").complete


def test_a_column_exists_although_all_of_it_is_null(landing: Landing) -> None:
    """A model may name it in a young org, and in an empty one."""
    org = landing.sf.org
    org.add_field("Contact", SimulatedField(name="Never__c", type="datetime"))
    landing.one("Contact")
    assert {None} == {row[0] for row in landing.rows("SELECT never__c FROM salesforce.contact")}
    for each in org.rows("Lead").ids():
        org.purge("Lead", each)

    facts = landing.one("Lead")

    assert (0, False, True) == (facts.rows, facts.empty, facts.complete)
    assert [] == landing.rows("SELECT id, email, is_deleted FROM salesforce.lead")


def test_custom_objects_of_every_spelling(landing: Landing) -> None:
    """Their tables are named by dlt's rules, double underscores kept, and merge like others."""
    org = landing.sf.org
    name = SimulatedField(name="Name", type="string")
    simulated = SimulatedObject(
        name="acme__Invoice_Line__c", key_prefix="a01", fields=(*system_fields(), name)
    )
    org.add_object(simulated)
    ids = [org.insert(simulated.name, {"Name": f"Line {n}"}) for n in range(3)]

    assert "acme__invoice_line__c" == landing.one("ACME__invoice_line__c").table
    org.advance(hours=1)
    org.update(simulated.name, ids[0], {"Name": "Changed"})
    assert landing.one(simulated.name).complete

    found = landing.rows("SELECT name FROM salesforce.acme__invoice_line__c ORDER BY name")
    assert [("Changed",), ("Line 1",), ("Line 2",)] == found


def test_currencies_land_as_they_are(landing: Landing) -> None:
    """With several currencies an amount stays in its own, and the row says which that is."""
    org = landing.sf.org
    org.add_field("Opportunity", SimulatedField(name="CurrencyIsoCode", type="picklist"))
    one = org.rows("Opportunity").ids()[0]
    org.silently("Opportunity", one, {"CurrencyIsoCode": "CHF", "Amount": 1234.567})

    landing.one("Opportunity")

    sql = f"SELECT amount, currency_iso_code FROM salesforce.opportunity WHERE id = '{one}'"
    assert [(1234.567, "CHF")] == landing.rows(sql)


def test_a_person_account_is_a_row_of_two_objects(landing: Landing) -> None:
    """Its own fields, and those of the contact that it is too, land by their names."""
    org = landing.sf.org
    org.add_field("Account", SimulatedField(name="IsPersonAccount", type="boolean"))
    org.add_field("Account", SimulatedField(name="PersonContactId", type="reference"))
    org.add_field("Account", SimulatedField(name="PersonMailingAddress", type="address"))
    account, contact = org.rows("Account").ids()[0], org.rows("Contact").ids()[0]
    person = {"IsPersonAccount": True, "PersonContactId": contact}
    org.silently("Account", account, person)

    landing.extract("Account", "Contact")

    joined = landing.rows(
        "SELECT a.id, c.id FROM salesforce.account AS a"
        " JOIN salesforce.contact AS c ON c.id = a.person_contact_id WHERE a.is_person_account"
    )
    assert (account, contact) in joined
