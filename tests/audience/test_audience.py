"""What an audience makes of its header, and that it comes back from the ledger as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.audience.audience import (
    Audience,
    Consent,
    Field,
    Group,
    Guards,
    Identify,
    Limit,
    Track,
)
from tailrace.audience.header import read_audience
from tailrace.audience.yaml import read_header
from tailrace.plan.policy import PlanOptions

EVERYTHING = """
audience: vip_contacts
description: Contacts whose account won more than 50k in the last year
owner: growth@example.com
tags: [marketing]
key: Contact_Id
user_id: contact_id
anonymous_id: device_id
external_ids: {salesforce_contact_id: contact_id, email: Email}
track:
  entered: VIP Entered
  changed: VIP Changed
  exited: false
  properties: {ltv: LTV_usd, audience_name: {value: VIP contacts}, since: became_vip_at}
  timestamp: became_vip_at
  message_id: event_id
  initial: skip
identify:
  traits:
    email: {column: email, hash: sha256, normalize: email, drop_if_null: true}
    phone: {column: phone, mask: true}
    first_name: first_name
  membership_trait: is_vip
group: {group_id: account_id, traits: {name: account_name}}
payload: engage
context: {app: {version: "2", name: crm}, active: false}
integrations: {Salesforce: false, All: true}
consent: {suppress_when: has_opted_out, categories: {marketing: consent_marketing}}
guards: {min_rows: 1, max_exited: 12.5%, max_entered: null, max_changed: 500}
on_definition_change: hold
on_mapping_change: send
on_new_column: absorb
destination: segment_eu
"""


def audience(text: str, name: str = "a_file") -> Audience:
    return read_audience(read_header(text, file="models/audiences/a.sql"), default_name=name)


def test_every_key_of_the_header_has_its_place() -> None:
    expected = Audience(
        name="vip_contacts",
        description="Contacts whose account won more than 50k in the last year",
        owner="growth@example.com",
        tags=("marketing",),
        key=("contact_id",),
        user_id="contact_id",
        anonymous_id="device_id",
        external_ids={"email": "email", "salesforce_contact_id": "contact_id"},
        track=Track(
            entered="VIP Entered",
            changed="VIP Changed",
            exited=None,
            properties={
                "audience_name": Field(value="VIP contacts"),
                "ltv": Field(column="ltv_usd"),
                "since": Field(column="became_vip_at"),
            },
            timestamp="became_vip_at",
            message_id="event_id",
            initial="skip",
        ),
        identify=Identify(
            traits={
                "email": Field(column="email", hash="sha256", normalize="email", drop_if_null=True),
                "first_name": Field(column="first_name"),
                "phone": Field(column="phone", mask=True),
            },
            membership_trait="is_vip",
        ),
        group=Group(group_id="account_id", traits={"name": Field(column="account_name")}),
        payload="engage",
        context={"active": False, "app": {"name": "crm", "version": "2"}},
        integrations={"All": True, "Salesforce": False},
        consent=Consent(
            suppress_when="has_opted_out", categories={"marketing": "consent_marketing"}
        ),
        guards=Guards(
            min_rows=1,
            max_exited=Limit(share=0.125),
            max_changed=Limit(rows=500),
            explicit=frozenset({"min_rows", "max_exited", "max_entered", "max_changed"}),
        ),
        on_definition_change="hold",
        on_mapping_change="send",
        on_new_column="absorb",
        destination="segment_eu",
    )
    assert expected == audience(EVERYTHING)


def test_the_least_header_has_the_documented_defaults() -> None:
    least = audience("key: id\nuser_id: id\ntrack: true")
    assert "a_file" == least.name
    assert Track(entered="Segment Entered", changed=None, exited="Segment Exited") == least.track
    assert (None, None, None) == (least.identify, least.group, least.consent)
    assert ("plain", None) == (least.payload, least.destination)
    assert {each["decided_by"] for each in PlanOptions().resolve(least).as_dict().values()} == {
        "default"
    }
    assert Guards() == least.guards


def test_engage_has_the_event_names_of_segment_s_own_audiences() -> None:
    track = audience("key: id\nuser_id: id\npayload: engage\ntrack: {exited: Gone}").track
    assert Track(entered="Audience Entered", changed=None, exited="Gone") == track


def test_the_columns_are_those_whose_values_are_sent() -> None:
    made = audience(EVERYTHING)
    assert (
        *("contact_id", "device_id", "email", "ltv_usd", "became_vip_at", "event_id"),
        *("first_name", "phone", "account_id", "account_name", "consent_marketing"),
    ) == made.mapped_columns
    assert "has_opted_out" == made.suppress_when
    assert "has_opted_out" not in made.mapped_columns


def test_a_key_is_mapped_only_where_it_is_sent() -> None:
    made = audience("key: [a, b]\nuser_id: u\ntrack: {properties: {b: b, c: c}}")
    assert ("u", "b", "c") == made.mapped_columns
    assert ("u", "c") == made.compared_columns


def test_a_copy_has_the_columns_of_its_own_header() -> None:
    """What an audience has computed of its header says nothing about a changed copy."""
    made = audience("key: id\nuser_id: u\ntrack: {properties: {b: b}}")
    assert (("u", "b"), ("u", "b")) == (made.mapped_columns, made.compared_columns)
    copy = replace(made, user_id="v", track=None)
    assert (("v",), ("v",)) == (copy.mapped_columns, copy.compared_columns)
    assert () == copy.column_groups["track"]
    assert made.mapping() == audience("key: id\nuser_id: u\ntrack: {properties: {b: b}}").mapping()


def test_a_time_or_a_message_id_alone_is_no_change() -> None:
    """Unless it is sent as a property as well."""
    text = "key: id\nuser_id: id\ntrack: {timestamp: at, message_id: mid, properties: {p: p}}"
    assert ("p",) == audience(text).compared_columns
    sent = text.replace("{p: p}", "{p: p, at: at}")
    assert ("at", "p") == audience(sent).compared_columns


def test_each_call_repeats_for_its_own_columns_and_for_the_ids() -> None:
    made = audience(EVERYTHING)
    ids = ("contact_id", "device_id", "email")
    assert {"ltv_usd", "became_vip_at", *ids} == set(made.track_columns)
    assert {"first_name", "phone", *ids} == set(made.identify_columns)
    assert {"account_id", "account_name", *ids} == set(made.group_columns)
    without = replace(made, track=None, group=None)
    assert ((), ()) == (without.track_columns, without.group_columns)


def test_the_ledger_gives_back_what_it_was_given() -> None:
    """Whatever order its JSON has the keys in."""
    made = audience(EVERYTHING)
    recorded = json.loads(json.dumps(made.mapping(), sort_keys=True))
    assert made == Audience.from_mapping(recorded)
    assert made.mapping() == Audience.from_mapping(recorded).mapping()


def test_a_mapping_of_another_version_is_still_understood() -> None:
    """Keys that this version does not have are left out; missing ones have their defaults."""
    mapping = audience("key: id\nuser_id: id\ntrack: true").mapping()
    del mapping["integrations"], mapping["guards"], mapping["track"]["initial"]
    mapping["shape_of_things_to_come"] = {"a": 1}
    mapping["track"]["tempo"] = "allegro"
    assert audience("key: id\nuser_id: id\ntrack: true") == Audience.from_mapping(mapping)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("owner: growth@example.com", "owner: sales@example.com"),
        ("description: Contacts whose", "description: People whose"),
        ("tags: [marketing]", "tags: [sales]"),
        ("max_exited: 12.5%", "max_exited: 50%"),
        ("on_definition_change: hold", "on_definition_change: send"),
        (
            "{salesforce_contact_id: contact_id, email: Email}",
            "{email: EMAIL, salesforce_contact_id: contact_id}",
        ),
    ],
)
def test_what_sends_the_same_calls_has_the_same_fingerprint(line: str, instead: str) -> None:
    assert line in EVERYTHING
    edited = EVERYTHING.replace(line, instead)
    assert audience(EVERYTHING).mapping_fingerprint == audience(edited).mapping_fingerprint


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("destination: segment_eu", "destination: segment"),
        ("audience: vip_contacts", "audience: vips"),
        ("entered: VIP Entered", "entered: VIP Joined"),
        ("ltv: LTV_usd", "ltv: ltv_eur"),
        ("hash: sha256, ", ""),
        ("membership_trait: is_vip", "membership_trait: vip"),
        ("{value: VIP contacts}", "{value: VIPs}"),
        ("name: account_name", "title: account_name"),
        ("payload: engage", "payload: plain"),
        ("active: false", "active: true"),
        ("All: true", "All: false"),
        ("marketing: consent", "mail: consent"),
        ("suppress_when: has_opted_out, ", ""),
        ("user_id: contact_id", "user_id: person_id"),
    ],
)
def test_what_sends_other_calls_has_another_fingerprint(line: str, instead: str) -> None:
    assert line in EVERYTHING
    edited = EVERYTHING.replace(line, instead)
    assert audience(EVERYTHING).mapping_fingerprint != audience(edited).mapping_fingerprint


NAMES = st.text(alphabet="abcXYZ_é ", min_size=1, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    NAMES,
    st.builds(
        Field,
        column=NAMES.map(str.lower),
        hash=st.sampled_from([None, "sha256"]),
        mask=st.booleans(),
    )
    | st.builds(Field, value=VALUES),
    max_size=4,
)
AUDIENCES: Any = st.builds(
    Audience,
    name=NAMES,
    key=st.lists(NAMES, min_size=1, max_size=2).map(tuple),
    user_id=st.none() | NAMES,
    track=st.none()
    | st.builds(Track, entered=st.none() | NAMES, exited=st.none() | NAMES, properties=FIELDS),
    identify=st.none() | st.builds(Identify, traits=FIELDS),
    group=st.none() | st.builds(Group, group_id=NAMES, traits=FIELDS),
    context=st.dictionaries(NAMES, VALUES, max_size=2),
    guards=st.builds(Guards, max_exited=st.none() | st.builds(Limit, rows=st.integers(0, 9))),
)


def test_an_audience_is_divided_by_destination_once() -> None:
    """A plan asks for it several times, and each part keeps the fingerprint of its mapping."""
    sent = audience("key: id\nuser_id: id\ntrack: true\ndestination: [segment, segment_eu]", "a")
    assert sent.syncs() is sent.syncs()
    assert ["segment", "segment_eu"] == [sync.destination_name for sync in sent.syncs()]
    assert sent == replace(sent) and sent.syncs() == replace(sent).syncs()


@given(AUDIENCES)
def test_every_audience_survives_the_way_through_json(made: Audience) -> None:
    back = Audience.from_mapping(json.loads(json.dumps(made.mapping())))
    assert made == back
    assert made.mapping_fingerprint == back.mapping_fingerprint
    assert set(made.compared_columns) <= set(made.mapped_columns)
    assert set() == set(made.compared_columns) & set(made.key)


# The fingerprints that commit 6da763c computed for this header at its two destinations.
RECORDED = {
    "segment": "0be8da2a4e8cb61a170f384bb395d911d51bf0266d5c73347387c6ecb6cc0b83",
    "segment_eu": "04add89ed30361c494ba3d456d5954ef9b32e1028808470cf1abbf5f4af6ac61",
}


def test_a_mapping_of_an_older_version_keeps_its_name_key_and_fingerprint() -> None:
    """Its `name` was the ledger key, and `called` the name where the two differed."""
    sent = audience("key: id\nuser_id: id\ntrack: true\ndestination: [segment, segment_eu]", "a")
    for sync in sent.syncs():
        called = sync.name if sync.ledger_key != sync.name else None
        older = {**sync.mapping(), "name": sync.ledger_key, "called": called}
        restored = Audience.from_mapping(older)
        assert sync == restored
        assert (sync.name, sync.ledger_key) == (restored.name, restored.ledger_key)
        assert RECORDED[sync.destination_name] == restored.mapping_fingerprint
