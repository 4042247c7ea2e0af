"""What describe says, and which of its fields land as which type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from tailrace.config.partitions import PartitionBy
from tailrace.config.settings import ObjectSettings
from tailrace.errors import InvalidConfigValue, TailraceError, UnknownField
from tailrace.salesforce.describe import SObject, read_describe
from tailrace.salesforce.extract.soql import URL_BYTES_MAX, Window, fits_url, select
from tailrace.testing.org.catalog import ACCOUNT, CONTACT, OPPORTUNITY
from tailrace.testing.org.describe import _KINDS, Field, system_fields
from tailrace.testing.org.describe import SObject as Simulated

EXPECTED = {
    "id": "text",
    "reference": "text",
    "string": "text",
    "picklist": "text",
    "multipicklist": "text",
    "combobox": "text",
    "textarea": "text",
    "phone": "text",
    "url": "text",
    "email": "text",
    "encryptedstring": "text",
    "anyType": "text",
    "complexvalue": "text",
    "json": "text",
    "datacategorygroupreference": "text",
    "boolean": "bool",
    "int": "bigint",
    "long": "bigint",
    "double": "double",
    "percent": "double",
    "currency": "double",
    "date": "date",
    "datetime": "timestamp",
    "time": "time",
    "address": None,
    "location": None,
    "base64": None,
}
NOW = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)


def landed(simulated: Simulated, **settings: Any) -> SObject:
    """The object as it lands."""
    return read_describe(simulated.describe("64.0"), ObjectSettings(**settings), formula="land")


def test_every_type_that_describe_knows() -> None:
    """Compound values and binaries do not land; every other type does."""
    assert set(_KINDS) == set(EXPECTED)
    fields = tuple(Field(name=f"F_{kind}__c", type=kind) for kind in EXPECTED if kind != "id")
    simulated = Simulated(name="All__c", key_prefix="a00", fields=(*system_fields(), *fields))

    kinds = {each.type: each.kind for each in landed(simulated).fields}

    assert {kind: to for kind, to in EXPECTED.items() if to} == kinds


def test_a_type_of_tomorrow_is_text() -> None:
    """What Salesforce adds later lands as it is written."""
    described = CONTACT.describe("64.0")
    described["fields"].append({**described["fields"][0], "name": "New__c", "type": "hologram"})

    sobject = read_describe(described, ObjectSettings(), formula="land")

    assert ("New__c", "text") == (sobject.fields[-1].name, sobject.fields[-1].kind)


def test_only_addresses_and_locations_are_dropped() -> None:
    """Other compound parents are values of their own: Name, and Fiscal, a plain string."""
    assert {"Fiscal", "FiscalQuarter"} <= set(landed(OPPORTUNITY).names)
    contact = set(landed(CONTACT).names)
    assert {"Name", "FirstName", "MailingStreet", "Home__Latitude__s"} <= contact
    assert not {"MailingAddress", "OtherAddress", "Home__c"} & contact


@pytest.mark.parametrize(
    ("gone", "cursor"),
    [
        ((), "SystemModstamp"),
        (("SystemModstamp",), "LastModifiedDate"),
        (("SystemModstamp", "LastModifiedDate"), "CreatedDate"),
        (("SystemModstamp", "LastModifiedDate", "CreatedDate"), None),
    ],
)
def test_the_best_cursor(gone: tuple[str, ...], cursor: str | None) -> None:
    """Indexed and never behind first; none is none."""
    simulated = CONTACT
    for each in gone:
        simulated = simulated.without_field(each)

    assert cursor == landed(simulated).cursor


def test_chosen_fields_come_with_what_the_extract_needs() -> None:
    """The id, the cursor and the marks of deletion always land."""
    found = landed(CONTACT, fields=("lastname", "EMAIL"))

    needed = ["Id", "IsDeleted", "SystemModstamp", "MasterRecordId"]
    assert sorted([*needed, "LastName", "Email"]) == sorted(found.names)


def test_excluded_fields_do_not_land() -> None:
    """In any case of their letters; what the extract needs stays."""
    found = landed(CONTACT, exclude=("birthdate", "SystemModstamp"))

    assert "Birthdate" not in found.names and "SystemModstamp" in found.names


@pytest.mark.parametrize("key", ["fields", "exclude"])
def test_a_field_that_is_not_there(key: str) -> None:
    """With the object, the field and the one that was probably meant."""
    with pytest.raises(UnknownField, match=r'Contact has no field Birtdate.*"Birthdate"') as caught:
        landed(CONTACT, **{key: ("Birtdate",)})

    assert "[sources.salesforce.object.Contact]" in caught.value.hint


def test_formulas_can_be_left_out_for_one_object() -> None:
    """The object's own setting wins over the one for all."""
    assert landed(ACCOUNT).formulas
    assert () == landed(ACCOUNT, formula="exclude").formulas


def test_the_length_of_a_url_is_bounded() -> None:
    """16,384 bytes are for the request line and all headers together."""
    query = select(["Id"] * 2000, "Contact", cursor="SystemModstamp", window=Window(None, NOW))

    assert fits_url(query) == (len(quote(query)) <= URL_BYTES_MAX)
    assert not fits_url(query + ",Name" * 5000)


def test_windows_are_halved_down_to_seconds() -> None:
    """The halves touch, and share no moment."""
    window = Window(None, NOW)
    for _ in range(200):
        halves = window.halves(NOW)
        if halves is None:
            break
        assert (window.start, halves[0].end, window.end) == (
            halves[0].start,
            halves[1].start,
            halves[1].end,
        )
        window = halves[1]

    assert window.start is not None and 0 < (NOW - window.start).total_seconds() < 2


def test_partitions_are_of_a_date_field_that_lands() -> None:
    """In Salesforce's own case, and also where `fields` leaves the field out."""
    sobject = landed(OPPORTUNITY, fields=("Name",), partition_by=" Month( closedate )")
    assert PartitionBy(field="CloseDate", unit="month") == sobject.partition_by
    assert "CloseDate" in sobject.names


@pytest.mark.parametrize(
    ("partition_by", "error", "shown"),
    [
        ("month(CloseDat)", UnknownField, 'no field CloseDat .* Did you mean "CloseDate"'),
        ("day(Amount)", InvalidConfigValue, r'"day\(Amount\)", and Amount is not a date'),
        ("month(CloseDate, 3)", InvalidConfigValue, "not a year, month or day of a field"),
        ("bucket(Id)", InvalidConfigValue, "not a year, month or day of a field"),
        ("", InvalidConfigValue, "not a year, month or day of a field"),
    ],
)
def test_other_partitions_are_refused(
    partition_by: str, error: type[TailraceError], shown: str
) -> None:
    with pytest.raises(error, match=shown) as refused:
        landed(OPPORTUNITY, partition_by=partition_by)
    assert "sources.salesforce.object.Opportunity.partition_by" == vars(refused.value)["key"]
    assert refused.value.hint
