"""Audiences that are written back to Salesforce, from the plan to the record."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salesforce_org import QuietClock, forget_writes, served_org
from write_back import CONFIG, HEADER, WriteBackShop

from tailrace.destinations.registry import project_models
from tailrace.destinations.salesforce.destination import SalesforceDestination
from tailrace.destinations.salesforce.header import WriteBack
from tailrace.errors import ModelError, UnknownConfigKey
from tailrace.plan.policy import PlanOptions
from tailrace.run import job
from tailrace.testing import Fault, JobFault, SalesforceSimulator
from tailrace.testing.salesforce.write_settings import RowFault

UPSERT = ("PATCH", "composite/sobjects/Contact/Crm_Key__c")
DESCRIBE = ("GET", "sobjects/Contact/describe")


@pytest.fixture(scope="module")
def served() -> Iterator[SalesforceSimulator]:
    with served_org() as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, served: SalesforceSimulator) -> Iterator[WriteBackShop]:
    shop = WriteBackShop(tmp_path / "shop", served)
    shop.header()
    served.requests.clear()
    yield shop
    forget_writes(served)


def person(place: int, **values: Any) -> dict[str, Any]:
    return {"crm_key": f"c-{place:04d}", "tier": "gold", "health": 1.0, **values}


def test_members_become_records(shop: WriteBackShop) -> None:
    """The plan makes no call; the run writes in one; an unchanged run writes nothing."""
    shop.people([person(1), person(2, tier=None)])
    plan = shop.plan()
    assert plan.audiences[0].calls["upsert"] == 2
    assert shop.requests() == []
    result = shop.sync()
    assert (result.exit_code, result.errors) == (0, ())
    assert shop.requests() == [DESCRIBE, UPSERT]
    assert shop.record("c-0001")["Plan_Tier__c"] == "gold"
    assert shop.record("c-0002")["Plan_Tier__c"] is None
    assert shop.sync().exit_code == 0
    assert shop.requests() == []


def test_one_refused_row_is_sent_again_alone(shop: WriteBackShop) -> None:
    """It ends with exit 4 and its code; the next run repeats it and nothing else."""
    shop.people([person(1), person(2)])
    shop.simulator.writer.row_faults.append(
        RowFault(code="FIELD_CUSTOM_VALIDATION_EXCEPTION", message="no", times=1)
    )
    assert shop.sync().exit_code == 4
    assert [reason for reason, _ in shop.rejections()] == ["FIELD_CUSTOM_VALIDATION_EXCEPTION"]
    assert len(shop.simulator.writer.writes) == 1
    assert shop.sync().exit_code == 0
    assert len(shop.simulator.writer.writes) == 2
    assert shop.rejections() == []


@pytest.mark.parametrize(
    ("on_exit", "expected"),
    [
        ("leave", {"Plan_Tier__c": "gold", "Health__c": 1.0}),
        ("clear", {"Plan_Tier__c": None, "Health__c": None}),
        ("{set: {Plan_Tier__c: {value: bronze}}}", {"Plan_Tier__c": "bronze", "Health__c": 1.0}),
    ],
)
def test_exits(shop: WriteBackShop, on_exit: str, expected: dict[str, Any]) -> None:
    shop.header(f"{HEADER}on_exit: {on_exit}\n")
    shop.people([person(3), person(4)])
    assert shop.sync().exit_code == 0
    before = shop.record("c-0003")
    shop.people([person(4)])
    result = shop.sync()
    assert result.exit_code == 0
    after = shop.record("c-0003")
    assert {name: after[name] for name in expected} == expected
    stamps = {"SystemModstamp", "LastModifiedDate", "LastModifiedById", *expected}
    assert {name: after[name] for name in set(after) - stamps} == {
        name: before[name] for name in set(after) - stamps
    }


def test_an_exit_deletes_the_record(shop: WriteBackShop) -> None:
    """A record that is gone already is deleted as well."""
    shop.header(f"{HEADER}on_exit: delete\n")
    shop.people([person(290), person(291), person(292)])
    assert shop.sync().exit_code == 0
    org = shop.simulator.org
    org.delete("Contact", shop.record("c-0291")["Id"])
    shop.people([person(292)])
    assert shop.sync().exit_code == 0
    deleted = [row["Crm_Key__c"] for row in org.rows("Contact").records() if row.get("IsDeleted")]
    assert sorted(deleted) == ["c-0290", "c-0291"]


@pytest.mark.parametrize("on_exit", ["clear", "{set: {Plan_Tier__c: {value: silver}}}", "delete"])
def test_the_exit_of_a_deleted_record_has_nothing_left_to_do(
    shop: WriteBackShop, on_exit: str
) -> None:
    fields = "fields: {Plan_Tier__c: tier}"
    shop.header(f"object: Contact\nmatch: {{Id: crm_key}}\n{fields}\non_exit: {on_exit}\n")
    org = shop.simulator.org
    record = org.insert("Contact", {"LastName": "Ng"})
    shop.people([{"crm_key": record, "tier": "gold"}])
    assert shop.sync().exit_code == 0
    org.delete("Contact", record)
    shop.people([])
    assert shop.sync().exit_code == 0
    assert shop.plan().audiences[0].diff.size_before == 0


def test_an_exit_has_the_last_values_of_a_column_that_only_it_sends(shop: WriteBackShop) -> None:
    """A change of that column is recorded and writes nothing."""
    shop.header(
        "object: Contact\nmatch: {Crm_Key__c: crm_key}\nfields: {Plan_Tier__c: tier}\n"
        "on_exit: {set: {Next_Offer__c: offer}}\n"
    )
    shop.people([person(7, offer="first")])
    assert shop.sync().exit_code == 0
    shop.people([person(7, offer="last")])
    shop.simulator.requests.clear()
    assert shop.sync().exit_code == 0
    assert shop.requests() == []
    shop.people([])
    assert shop.sync().exit_code == 0
    assert shop.record("c-0007")["Next_Offer__c"] == "last"


def test_a_member_that_is_now_another_record(shop: WriteBackShop) -> None:
    """The old record gets the exit, the new one the values."""
    shop.header(f"{HEADER}on_exit: clear\n")
    shop.people([person(5, id="m")])
    assert shop.sync().exit_code == 0
    shop.people([person(6, id="m", tier="silver")])
    assert shop.sync().exit_code == 0
    assert shop.record("c-0005")["Plan_Tier__c"] is None
    assert shop.record("c-0006")["Plan_Tier__c"] == "silver"


def test_a_cut_connection_is_retried(shop: WriteBackShop) -> None:
    shop.people([person(7)])
    shop.simulator.faults.append(Fault(path="*/composite/*", nth=1, cut="after"))
    assert shop.sync().exit_code == 0
    assert shop.requests() == [DESCRIBE, UPSERT, UPSERT]


def test_the_header_names_what_the_org_has_not(shop: WriteBackShop) -> None:
    """Exit 2 before the first row, with file and line."""
    shop.header(HEADER.replace("Health__c", "Helth__c"))
    shop.people([person(8)])
    result = shop.sync()
    (error,) = result.errors
    assert result.exit_code == 2
    assert "Contact has no field Helth__c" in error.message
    assert 'Did you mean "Health__c"?' in error.message
    assert (error.file, error.line) == ("models/audiences/people.sql", 7)
    assert shop.simulator.writer.writes == []


def test_an_object_that_the_org_has_not_leaves_nothing_behind(shop: WriteBackShop) -> None:
    """Nothing is saved with the wrong name, others are delivered, and a corrected header is."""
    shop.header(HEADER.replace("Contact", "Contakt"))
    good = shop.root / "models" / "audiences" / "others.sql"
    block = "\n".join(f"  {line}" for line in HEADER.strip().splitlines())
    good.write_text(
        f"/* ---\naudience: others\nkey: id\nsalesforce:\n{block}\n--- */\n"
        "SELECT id, crm_key, tier, health FROM salesforce.account WHERE crm_key = 'c-0009'\n"
    )
    shop.people([person(8), person(9)])
    result = shop.sync()
    (error,) = result.errors
    assert (result.exit_code, error.file, error.line) == (1, "models/audiences/people.sql", 5)
    assert "no object Contakt" in error.message
    sent = {entry["audience"]: entry["sent"] for entry in result.audiences}
    assert sent == {"others": 1, "people": 0}
    good.unlink()
    alone = shop.sync()
    assert (alone.exit_code, shop.query("SELECT COUNT(*) FROM tailrace.audience_runs")) == (
        2,
        [(1,)],
    )
    shop.header()
    corrected = shop.sync()
    assert (corrected.exit_code, corrected.errors, corrected.audiences[0]["sent"]) == (0, (), 2)


def test_pending_changes_outlive_a_field_that_was_removed(shop: WriteBackShop) -> None:
    """They are planned again with the corrected header, and others are not held up."""
    shop.people([person(8), person(9)])
    shop.simulator.faults.append(Fault(path="*/composite/sobjects/*", cut="before"))
    shop.environ["DESTINATION__SALESFORCE__RETRY_SECONDS_MAX"] = "0.1"
    assert shop.sync().exit_code == 1
    shop.simulator.faults.clear()
    shop.simulator.org.hide_field("Contact", "Health__c")
    try:
        with shop.connection() as con:
            con.execute("DELETE FROM tailrace.described_objects")
        shop.header(HEADER.replace(", Health__c: health", ""))
        result = shop.sync()
        assert [type(error) for error in result.errors] == []
        assert any("Health__c" in notice["message"] for notice in result.as_dict()["warnings"])
        assert shop.record("c-0008")["Plan_Tier__c"] == "gold"
        assert (result.exit_code, shop.sync().exit_code) == (0, 0)
        assert shop.rejections() == []
    finally:
        shop.simulator.org.show_field("Contact", "Health__c")


@pytest.mark.parametrize(
    ("field", "message", "hint"),
    [
        ("CreatedDate: tier", "is set by Salesforce itself", "Leave it out"),
        ("Name: tier", "is made of other fields", "LastName, FirstName"),
        ("Plan_Tier__c: {value: emerald}", "restricted picklist", "gold"),
    ],
)
def test_a_field_that_takes_no_such_value(
    shop: WriteBackShop, field: str, message: str, hint: str
) -> None:
    shop.header(f"object: Contact\nmatch: {{Crm_Key__c: crm_key}}\nfields: {{{field}}}")
    shop.people([person(8)])
    result = shop.sync()
    (error,) = result.errors
    assert (result.exit_code, shop.requests()) == (2, [DESCRIBE])
    assert message in error.message
    assert hint in str(error.hint)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("object: Contact\nfields: {A__c: tier}", "match names no field"),
        ("object: Contact\nmatch: {Id: id}\nmode: upsert\nfields: {A__c: tier}", "mode: upsert"),
        ("object: X__e\nmatch: {Key__c: id}\nfields: {A__c: tier}", "platform event"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {A__c: tier}", "identifies the record"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: tier}\nmode: insert", "insert"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: nowhere}", "nowhere"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: tier, b__C: tier}", "one field"),
        (
            "object: Contact\nmatch: {A__c: id}\nduplicate_rules: allow\napi: bulk"
            "\nfields: {B__c: tier}",
            "bulk",
        ),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: tier}\non_exit: remove", "on_exit"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: id}\non_exit: {set: {}}", "is empty"),
        (
            "object: Contact\nmatch: {A__c: id}\nfields: {AccountId: id, Account.B__c: tier}",
            "both write AccountId",
        ),
        (
            "object: Contact\nmatch: {A__c: id}\nfields: {B__c: id}\non_exit: {set: {C__c: tier, "
            "c__C: id}}",
            "one field",
        ),
        ("object: CampaignMember\nmatch: {ContactId: id}\nfields: {A__c: tier}", "ContactId alone"),
        (
            "object: CampaignMember\nmatch: {CampaignId: tier, ContactId: id}\nmode: update",
            "mode: update would add",
        ),
    ],
)
def test_contradictions_in_the_header(shop: WriteBackShop, block: str, message: str) -> None:
    """They are found without a call."""
    shop.header(block)
    shop.people([person(8)])
    with pytest.raises(ModelError) as caught:
        shop.plan()
    assert message in caught.value.message
    assert caught.value.line


BAD_ROWS = (
    {"tier": "platinum"},
    {"tier": ""},
    {"health": 1000.0},
    {"health": 999.96},
    {"health": float("nan")},
    {"health": -1000.0},
    {"offer": "x" * 41},
    {"offer": "x" * 40},
    {"offer": "\U0001f600" * 21},
    {"offer": "ä" * 40},
    {"offer": None},
)


def test_refusals_are_foretold(shop: WriteBackShop, caplog: pytest.LogCaptureFixture) -> None:
    """The plan knows them without a call; the run rejects the same rows for the same reasons."""
    block = HEADER.replace("Health__c: health", "Health__c: health, Next_Offer__c: offer")
    shop.header(block)
    shop.people([person(1)])
    assert shop.sync().exit_code == 0, "describes the object"
    rows = [person(place, **values) for place, values in enumerate(BAD_ROWS, start=10)]
    shop.people([person(1), *rows, person(30, crm_key=None, id="x")])
    shop.requests()
    plan = shop.plan()
    (audience,) = plan.as_dict()["audiences"]
    assert audience["refused_by_reason"] == {
        "Crm_Key__c is NULL, and identifies the record": 1,
        "Health__c has more than 3 digits before the decimal point": 3,
        "Next_Offer__c is longer than 40 characters": 2,
        "Plan_Tier__c is not a value of the restricted picklist": 1,
    }
    assert (plan.exit_code, shop.requests()) == (0, [])
    with caplog.at_level(logging.DEBUG, logger="tailrace.warehouse.connection"):
        result = shop.sync()
    rejected = shop.query(
        "SELECT path || ' ' || reason, COUNT(*) FROM tailrace.rejections"
        " WHERE resolved_at IS NULL GROUP BY 1 ORDER BY 1"
    )
    assert dict(rejected) == audience["refused_by_reason"]
    assert result.exit_code == 4
    assert result.as_dict()["audiences"][0]["refused"] == audience["refused"] == 7
    sent = result.as_dict()["destinations"]["salesforce"]["calls"]
    assert sum(audience["calls"].values()) == sent == len(rows) + 1 - 7
    assert shop.requests() == [UPSERT], "the refused rows are not sent"
    assert 1 == caplog.messages.count("statement ledger/reject"), "one statement for all of them"


def test_a_replay_writes_lost_records_again(shop: WriteBackShop) -> None:
    """Without the models: from the values that the ledger has."""
    shop.people([person(1), person(2, tier=None)])
    assert shop.sync().exit_code == 0
    for place in (1, 2):
        lost = {"Plan_Tier__c": "silver", "Health__c": None}
        shop.simulator.org.update("Contact", shop.record(f"c-{place:04d}")["Id"], lost)
    shop.people([])
    done = job.replay(shop.project, "people", "salesforce", clock=shop.clock)
    assert (done.exit_code, done.errors, done.audiences[0]["sent"]) == (0, (), 2)
    assert (shop.record("c-0001")["Plan_Tier__c"], shop.record("c-0002")["Health__c"]) == (
        "gold",
        1.0,
    )
    assert shop.record("c-0002")["Plan_Tier__c"] is None


@pytest.mark.parametrize("count", [2_001])
def test_many_rows_go_as_a_job(shop: WriteBackShop, count: int) -> None:
    """Above 2,000 rows: one job. The rows that Salesforce refuses keep their codes."""
    shop.many(count)
    result = shop.sync()
    assert result.exit_code == 4
    assert [method for method, _ in shop.requests()] == [
        *("GET", "POST", "PUT", "PATCH", "GET"), *("GET", "GET", "GET"), "DELETE",
    ]  # fmt: skip
    codes = {reason for reason, _ in shop.rejections()}
    assert codes == {"REQUIRED_FIELD_MISSING"}, "contacts that do not exist have no LastName"
    assert shop.query("SELECT state FROM tailrace.write_jobs") == [("done",)]


CURRENT = """/* ---
audience: people
key: id
salesforce:
  object: Contact
  match: {Crm_Key__c: crm_key}
  fields:
    Plan_Tier__c: tier
    Is_VIP__c: {value: true}
    Next_Offer__c: {column: offer, on_null: keep}
  on_exit: clear
--- */
SELECT id, crm_key__c AS crm_key, 'gold' AS tier, CAST(NULL AS VARCHAR) AS offer
FROM salesforce.contact
WHERE crm_key__c IN ('c-0020', 'c-0021', 'c-0022')
"""


def test_records_that_are_current_are_not_written(shop: WriteBackShop) -> None:
    """Their landed record has all mapped values; they are members all the same."""
    org = shop.simulator.org
    (shop.root / ".dlt" / "config.toml").write_text(CONFIG.replace('"Account"', '"Contact"'))
    shop.audience(CURRENT)
    for key in ("c-0020", "c-0021"):
        values = {"Plan_Tier__c": "gold", "Is_VIP__c": True, "Next_Offer__c": "kept"}
        org.update("Contact", shop.record(key)["Id"], values)
    org.update("Contact", shop.record("c-0022")["Id"], {"Plan_Tier__c": "gold"})
    job.extract(shop.project, clock=shop.clock)
    (audience,) = shop.plan().as_dict()["audiences"]
    assert (audience["current"], audience["entered"], audience["calls"]["upsert"]) == (2, 3, 1)
    result = shop.sync()
    assert (result.exit_code, result.as_dict()["audiences"][0]["current"]) == (0, 2)
    assert len(shop.simulator.writer.writes) == 1
    assert shop.record("c-0022")["Is_VIP__c"] is True
    # The landed rows are older than the delivery now, and prove nothing any more.
    org.update("Contact", shop.record("c-0020")["Id"], {"Plan_Tier__c": "bronze"})
    shop.simulator.writer.writes.clear()
    shop.audience(CURRENT.replace("'c-0020', ", ""))
    assert shop.sync().exit_code == 0
    shop.audience(CURRENT)
    assert shop.sync().exit_code == 0
    assert shop.record("c-0020")["Plan_Tier__c"] == "gold"


def test_records_that_cannot_be_created_are_foretold(shop: WriteBackShop) -> None:
    """The landed records tell which rows would create one, and describe what that needs."""
    config = shop.root / ".dlt" / "config.toml"
    config.write_text(CONFIG.replace('["Account"]', '["Account", "Contact"]'))
    job.extract(shop.project, clock=shop.clock)
    shop.header("""
object: Contact
match: {Crm_Key__c: crm_key}
fields: {Plan_Tier__c: tier, LastName: {column: offer, on_null: keep}}
""")
    shop.people(
        [
            person(1),
            person(2, crm_key="C-0002"),
            person(3, crm_key="new-1"),
            person(4, crm_key="new-2", offer="Berg"),
            person(5, crm_key="new-3", tier="x"),
        ]
    )
    shop.requests()
    (audience,) = shop.plan().as_dict()["audiences"]
    assert (shop.requests(), audience["refused"]) == ([], 2)
    assert audience["refused_by_reason"] == {
        "LastName is required to create a record": 1,
        "Plan_Tier__c is not a value of the restricted picklist": 1,
    }
    result = shop.sync()
    assert (result.exit_code, result.audiences[0]["rejected"]) == (4, 2)
    assert ("REQUIRED_FIELD_MISSING: LastName", 1) in shop.rejections()
    created = shop.record("new-2")
    assert created["LastName"] == "Berg"
    shop.simulator.org.delete("Contact", created["Id"])


LOOP = """/* ---
audience: people
key: id
salesforce:
  object: Contact
  match: {Crm_Key__c: crm_key}
  fields:
    Plan_Tier__c: tier
    Account.Crm_Key__c: parent
--- */
"""


@pytest.mark.parametrize(
    ("sql", "line"),
    [
        (
            "SELECT id, crm_key__c AS crm_key, 'x' AS tier, '' AS parent FROM salesforce.contact",
            None,
        ),
        ("SELECT id, id AS crm_key, plan_tier__c AS tier, '' AS parent FROM salesforce.contact", 8),
        ("SELECT id, id AS crm_key, to_json(c) AS tier, 1 AS parent FROM salesforce.contact c", 8),
        (
            "SELECT id, id AS crm_key, 'x' AS tier, '' AS parent FROM salesforce.contact"
            " WHERE plan_tier__c IS NULL",
            8,
        ),
        (
            "SELECT id, id AS crm_key, 'x' AS tier, 1 AS parent FROM salesforce.contact"
            " NATURAL JOIN salesforce.account",
            8,
        ),
        (
            "SELECT c.id, c.id AS crm_key, 'x' AS tier, '' AS parent FROM salesforce.contact AS c"
            " JOIN salesforce.account AS a ON a.id = c.account_id",
            9,
        ),
        (
            "WITH c AS (SELECT *, 'x' AS tier, '' AS parent, id AS crm_key FROM salesforce.contact)"
            " SELECT id, crm_key, tier, parent FROM c",
            None,
        ),
        ("SELECT id, id AS crm_key, name AS tier, '' AS parent FROM salesforce.account", None),
    ],
)
def test_a_model_that_reads_what_it_writes(shop: WriteBackShop, sql: str, line: int | None) -> None:
    """Refused offline with the line of the field, unless the header allows it."""
    config = CONFIG.replace('"Account"', '"Contact", "Account"')
    (shop.root / ".dlt" / "config.toml").write_text(config)
    shop.audience(LOOP + sql)
    broken = project_models(shop.project).broken
    if line is None:
        assert not broken
        return
    # A whole row, and columns that two tables have in common, read every field that is written.
    error, *others = sorted(broken["people"].errors, key=lambda error: error.line or 0)
    assert len(others) == ("to_json" in sql or "NATURAL" in sql)
    assert (error.file, error.line) == ("models/audiences/people.sql", line)
    assert "loop: allow" in error.hint
    shop.audience(LOOP.replace("  object:", "  loop: allow\n  object:") + sql)
    assert not project_models(shop.project).broken


MEMBERS = """
object: CampaignMember
match: {CampaignId: parent, ContactId: crm_key}
fields: {Status: tier}
"""


@pytest.mark.parametrize(
    ("on_exit", "left"), [("delete", []), ("{set: {Status: {value: Sent}}}", ["Sent"])]
)
def test_campaign_members(shop: WriteBackShop, on_exit: str, left: list[str]) -> None:
    """Added, updated where they are members already, and removed or set to another status."""
    org = shop.simulator.org
    shop.header(f"{MEMBERS}on_exit: {on_exit}\n")
    campaign = next(iter(org.rows("Campaign").ids()))
    people = [shop.record(f"c-{place:04d}")["Id"] for place in (100, 101)]
    present = {"CampaignId": campaign, "ContactId": people[1], "Status": "Sent"}
    org.insert("CampaignMember", present)
    try:
        rows = [{"crm_key": key, "parent": campaign, "tier": "Responded"} for key in people]
        shop.people(rows)
        assert shop.sync().exit_code == 0
        assert statuses(shop) == dict.fromkeys(people, "Responded")
        shop.people(rows[:1])
        assert shop.sync().exit_code == 0
        assert statuses(shop) == {
            people[0]: "Responded",
            **dict(zip(people[1:], left, strict=False)),
        }
    finally:
        for member in list(org.rows("CampaignMember").ids()):
            org.delete("CampaignMember", member)


def statuses(shop: WriteBackShop) -> dict[str, str]:
    rows = shop.simulator.org.rows("CampaignMember").records()
    return {row["ContactId"]: row["Status"] for row in rows if not row.get("IsDeleted")}


def test_platform_events(shop: WriteBackShop) -> None:
    """Published once a change; an exit may publish another one."""
    shop.header(
        "object: Vip_Change__e\nfields: {Email__c: crm_key, Tier__c: tier}\n"
        "on_exit: {publish: {Email__c: crm_key, Tier__c: {value: none}}}\n"
    )
    shop.people([person(1), person(2)])
    assert shop.sync().exit_code == 0
    shop.people([person(1, tier="silver")])
    assert shop.sync().exit_code == 0
    published = [
        (event.values["Email__c"], event.values["Tier__c"])
        for event in shop.simulator.writer.events
    ]
    assert sorted(published[:2]) == [("c-0001", "gold"), ("c-0002", "gold")]
    assert sorted(published[2:]) == [("c-0001", "silver"), ("c-0002", "none")]


def test_parents_by_their_external_id(shop: WriteBackShop) -> None:
    """A lookup is set by the parent's key, and cleared by NULL."""
    shop.header(HEADER.replace("health}", "health, Account.Crm_Key__c: parent}"))
    shop.people([person(110, parent="a-0002"), person(111), person(112, parent="nowhere")])
    assert shop.sync().exit_code == 4
    account = shop.record("a-0002", "Account")["Id"]
    assert shop.record("c-0110")["AccountId"] == account
    assert shop.record("c-0111")["AccountId"] is None
    assert [reason for reason, _ in shop.rejections()] == ["INVALID_FIELD: AccountId"]


def test_an_interrupted_job_is_asked_first(shop: WriteBackShop) -> None:
    """A run that died after the upload is finished from the job's results; no row is sent again."""
    shop.header(HEADER + "api: bulk\n")
    shop.people([person(120), person(121), person(122, health=9.0)])
    refused = RowFault(
        code="FIELD_CUSTOM_VALIDATION_EXCEPTION",
        when=lambda values: values["Health__c"] == 9,
        times=None,
    )
    shop.simulator.writer.row_faults.append(refused)
    shop.simulator.faults.append(Fault(path="*/jobs/ingest/*", method="GET", status=500, times=50))
    (shop.root / ".dlt" / "config.toml").write_text(CONFIG)
    assert shop.sync().exit_code == 1
    assert len(shop.simulator.writer.writes) == 2
    shop.simulator.faults.clear()
    shop.requests()
    result = shop.sync()
    assert result.exit_code == 4
    assert len(shop.simulator.writer.writes) == 2
    assert [reason for reason, _ in shop.rejections()] == ["FIELD_CUSTOM_VALIDATION_EXCEPTION"]


@pytest.mark.parametrize(
    ("api", "path", "processed", "intent"),
    [
        ("rest", "*/composite/sobjects/*", False, "retry"),
        ("rest", "*/composite/sobjects/*", True, "changes"),
        ("bulk", "*/jobs/ingest/*/batches", True, "retry"),
    ],
)
def test_a_server_that_fails_and_recovers(
    api: str,
    path: str,
    processed: bool,
    intent: Any,
    shop: WriteBackShop,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HTTP 500 for longer than `retry_seconds_max`: the log and the error say what goes on, and
    the next run, or a retry, writes the rows."""
    caplog.set_level(logging.INFO)
    shop.header(f"{HEADER}api: {api}\n")
    shop.people([person(190), person(191, tier=None)])
    shop.environ["DESTINATION__SALESFORCE__RETRY_SECONDS_MAX"] = "0.1"
    shop.clock = QuietClock()
    shop.simulator.faults.append(Fault(path=path, status=500, processed=processed))
    failed = shop.sync()
    (error,) = failed.errors
    assert (failed.exit_code, failed.audiences[0]["status"]) == (1, "failed")
    assert "UNKNOWN_EXCEPTION" in error.message
    assert "run the same command again" in error.hint.lower()
    if api == "rest":
        assert "500: UNKNOWN_EXCEPTION; retry in" in caplog.text
        assert "retry_seconds_max under [destination.salesforce]" in error.hint
    shop.simulator.faults.clear()
    shop.simulator.writer.writes.clear()
    recovered = shop.sync(options=PlanOptions(intent=intent))
    assert (recovered.exit_code, recovered.errors, shop.rejections()) == (0, (), [])
    assert len(shop.simulator.writer.writes) == 2
    assert [shop.record(f"c-019{n}")["Plan_Tier__c"] for n in (0, 1)] == ["gold", None]
    shop.requests()
    assert shop.sync().exit_code == 0
    assert shop.requests() == []


def test_a_failed_job_leaves_rows_to_requests(shop: WriteBackShop) -> None:
    """The rows that a job did not process are sent by the next job or by requests. A server error
    while a job is handed over is retried, with the whole file."""
    shop.clock = QuietClock()
    for path in ("*/jobs/ingest", "*/jobs/ingest/*/batches"):
        shop.simulator.faults.append(Fault(path=path, status=500, nth=1))
    shop.header(HEADER + "api: bulk\n")
    shop.people([person(place) for place in range(130, 136)])
    shop.simulator.ingest.faults.append(JobFault(after_rows=2, message="InternalServerError"))
    assert shop.sync().exit_code == 0
    assert len(shop.simulator.writer.writes) == 6
    states = shop.query("SELECT state FROM tailrace.write_jobs ORDER BY created_at")
    assert states[0] == ("failed",)


def test_no_right_to_the_bulk_api(shop: WriteBackShop) -> None:
    """Without batches left today, `api: auto` uses requests."""
    shop.simulator.writer.settings.ingest_batches_max = 0
    shop.many(2_001)
    assert shop.sync().exit_code == 4
    assert not shop.simulator.ingest.jobs
    assert ("PATCH", UPSERT[1]) in shop.requests()


def test_the_budget_of_calls(shop: WriteBackShop) -> None:
    """The plan says what it needs; the ceiling stops cleanly, and the next run goes on."""
    shop.many(450)
    plan = shop.plan().as_dict()
    assert plan["destinations"]["salesforce"]["api_calls"] == 3
    shop.environ |= {
        "DESTINATION__SALESFORCE__API_CALLS_MAX": "2",
        "DESTINATION__SALESFORCE__REQUESTS_IN_FLIGHT_MAX": "1",
    }
    result = shop.sync()
    assert (result.exit_code, [type(e).__name__ for e in result.errors]) == (1, ["QuotaSpent"])
    assert "api_calls_max" in result.errors[0].message
    written = len(shop.simulator.writer.writes)
    assert 0 < written < 300
    del shop.environ["DESTINATION__SALESFORCE__API_CALLS_MAX"]
    shop.environ["DESTINATION__SALESFORCE__QUOTA_SHARE_MAX"] = "0.000001"
    result = shop.sync()
    assert (result.exit_code, [type(e).__name__ for e in result.errors]) == (1, ["QuotaSpent"])
    assert "quota_share_max" in result.errors[0].message
    assert len(shop.simulator.writer.writes) == written
    del shop.environ["DESTINATION__SALESFORCE__QUOTA_SHARE_MAX"]
    assert shop.sync().exit_code == 4, "contacts that do not exist lack a LastName"
    contacts = shop.simulator.org.rows("Contact").records()
    assert len(shop.simulator.writer.writes) == sum(not row.get("IsDeleted") for row in contacts)


def test_what_differs_at_a_destination(shop: WriteBackShop) -> None:
    """Fields are dropped and renamed on the way to one destination."""
    more = (
        "destinations: {salesforce: {drop: [Health__c], rename: {Plan_Tier__c: Next_Offer__c}}}\n"
    )
    shop.header(more=more)
    shop.people([person(140)])
    assert shop.sync().exit_code == 0
    (write,) = shop.simulator.writer.writes
    assert write.values == {"Next_Offer__c": "gold"}


def test_credentials_of_its_own(shop: WriteBackShop) -> None:
    """The section may log in as another user than the extract."""
    for name in [name for name in shop.environ if name.startswith("SOURCES__")]:
        shop.environ[name.replace("SOURCES__", "DESTINATION__")] = shop.environ.pop(name)
    shop.people([person(141)])
    assert shop.sync().exit_code == 0
    assert len(shop.simulator.writer.writes) == 1


def test_a_key_that_no_setting_has(shop: WriteBackShop) -> None:
    shop.environ["DESTINATION__SALESFORCE__BULK_ROWS"] = "1"
    with pytest.raises(UnknownConfigKey, match="BULK_ROWS"):
        shop.plan()


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (HEADER, "the user may write what the headers name (Contact)"),
        (HEADER.replace("Health__c", "Score__c"), "Contact.Score__c is calculated"),
        (HEADER.replace("Crm_Key__c", "Title"), "Contact.Title is not an external id"),
        (
            HEADER.replace("Health__c", "CreatedDate"),
            "Contact.CreatedDate is set by Salesforce itself",
        ),
        (HEADER.replace("Contact", "Kontact"), "no object Kontact"),
        (HEADER + "on_exit: {set: {Is_VIP__c: {value: null}}}\n", "checkbox and cannot be empty"),
        (HEADER + "on_exit: {set: {Next_Offer__c: {value: [a]}}}\n", "is a list"),
        (HEADER.replace("Health__c", "Account.Name"), "Account.Name is not an external id"),
        (HEADER.replace("Health__c", "LastName") + "on_exit: clear\n", "cannot clear"),
    ],
)
def test_doctor_compares_the_header_with_the_org(
    shop: WriteBackShop, block: str, found: str
) -> None:
    """Without a write: the login, the rights to the fields, and the external ids."""
    shop.header(block)
    kind = SalesforceDestination()
    syncs = [s for m in project_models(shop.project).audiences() for s in m.audience.syncs()]
    try:
        _, answer = kind.examine(shop.project, "salesforce", syncs, clock=shop.clock)
    except ModelError as error:
        answer = error.message
        assert error.line
    assert found in answer
    assert {method for method, _ in shop.requests()} == {"GET"}


def test_two_rows_of_one_record(shop: WriteBackShop) -> None:
    """The second one is refused, in the plan and in the run: each run would write both."""
    shop.people([person(150)])
    assert shop.sync().exit_code == 0
    twice = person(151, id="b", crm_key="C-0151", tier="silver")
    shop.people([person(150), person(151, id="a"), twice])
    shop.requests()
    (audience,) = shop.plan().as_dict()["audiences"]
    assert audience["refused_by_reason"] == {"Crm_Key__c is that of another row as well": 1}
    assert audience["calls"] == {"upsert": 1}
    assert shop.sync().exit_code == 4
    assert shop.record("c-0151")["Plan_Tier__c"] == "gold"
    assert shop.sync().exit_code == 4
    assert shop.record("c-0151")["Plan_Tier__c"] == "gold", "the first row by key, at each run"


def test_the_plan_knows_the_header_is_wrong(shop: WriteBackShop) -> None:
    """Once the object has been described, without a call."""
    shop.people([person(160)])
    assert shop.sync().exit_code == 0
    shop.header(HEADER.replace("Health__c", "Helth__c"))
    shop.requests()
    plan = shop.plan()
    assert (plan.exit_code, shop.requests()) == (2, [])
    assert "Helth__c" in plan.errors[0].message


@pytest.mark.parametrize(
    ("block", "columns"),
    [
        ({"match": {"Key__c": "k"}, "fields": {"Account.Key__c": "a", "Name": "n"}}, ("a",)),
        ({"match": {"Key__c": "k"}, "fields": {"OwnerId": "o", "AccountId": "a"}}, ("a", "o")),
        (
            {
                "object": "CampaignMember",
                "match": {"ContactId": "c", "CampaignId": "p"},
                "fields": {"Status": "s"},
            },
            ("p",),
        ),
    ],
)
def test_rows_are_sorted_by_their_parents(block: dict[str, Any], columns: tuple[str, ...]) -> None:
    """By external id or by Id; members by campaign, which is also one query for each campaign."""
    assert WriteBack({"object": "Contact", **block}).parent_columns == columns


def test_children_of_a_parent_are_written_together(shop: WriteBackShop) -> None:
    """A large delivery is sorted by the parents, which Salesforce locks for each request."""
    shop.header(HEADER.replace("health}", "health, Account.Crm_Key__c: parent}"))
    shop.many(1_200)
    with shop.connection() as connection:
        connection.execute(
            "UPDATE salesforce.account SET parent = 'a-000' || (health::INT % 4 + 1)"
        )
    assert shop.sync().exit_code == 4, "contacts that do not exist lack a LastName"
    order = shop.query("SELECT parent FROM tailrace.outbox__people__salesforce ORDER BY seq")
    assert order == sorted(order)
