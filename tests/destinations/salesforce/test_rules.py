"""What describe refuses in a header block."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.destinations.salesforce.describe import WritableField, WritableObject
from tailrace.destinations.salesforce.header import WriteBack
from tailrace.destinations.salesforce.rules import problems


def contact(**key: Any) -> WritableObject:
    rights = {"createable": True, "updateable": True}
    fields = (
        WritableField(name="Key__c", type="string", key=True, **{**rights, **key}),
        WritableField(name="Tier__c", type="string", **rights),
        WritableField(
            name="AccountId",
            type="reference",
            relationship="Account",
            parents=("Account",),
            **rights,
        ),
    )
    return WritableObject(name="Contact", fields={field.name: field for field in fields})


def refused(described: WritableObject, **block: Any) -> list[str]:
    written = {"object": "Contact", "match": {"Key__c": "id"}, "fields": {"Tier__c": "tier"}}
    found = problems(WriteBack({**written, **block}), described, {})
    return [f"{path}: {message} {hint}" for path, message, hint in found]


def test_creating_a_record_writes_its_external_id() -> None:
    """An update by an external ID that the user may not write is possible."""
    (problem,) = refused(contact(createable=False, updateable=False))
    assert problem.startswith("match.Key__c: The user may not write Contact.Key__c")
    assert "mode: update" in problem
    assert not refused(contact(createable=False, updateable=False), mode="update")


@pytest.mark.parametrize("relationship", ["Acount", "AccountId"])
def test_a_lookup_that_does_not_exist_has_a_suggestion(relationship: str) -> None:
    (problem,) = refused(contact(), fields={f"{relationship}.Key__c": "account"})
    assert f'has no lookup {relationship}. Did you mean "Account"?' in problem
