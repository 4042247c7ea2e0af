"""The lines of a job that the warehouse writes have the bytes that the mapper makes of each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from rendered_rows import desk, land
from warehouses.desk import Desk

from tailrace.destinations.protocol import MapperOptions
from tailrace.destinations.salesforce.describe import WritableObject
from tailrace.destinations.salesforce.header import WriteBack
from tailrace.destinations.salesforce.jobs import IngestJobs
from tailrace.destinations.salesforce.mapper import WriteMapper
from tailrace.run.job_delivery import JobRows
from tailrace.run.member_messages import OutboxMessages
from tailrace.run.planned_delivery import Delivery

pytestmark = pytest.mark.older_duckdb

__all__ = ["desk"]

ROWS = 500


def field(name: str, type_: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, "createable": True, "updateable": True, **more}


NUMBER = {"precision": 18, "scale": 2}
PARENT_KEY = field("Key__c", "string", length=4, externalId=True)
DESCRIBED: dict[str, dict[str, Any]] = {
    "thing__c": {
        "name": "Thing__c",
        "fields": [
            field("Id", "id", length=18),
            field("Key__c", "string", length=12, externalId=True),
            field("Text__c", "string", length=8),
            field("Tier__c", "picklist", length=40, restrictedPicklist=True,
                  picklistValues=[{"value": "Ann", "active": True}, {"value": "Zoë"}]),
            field("Long__c", "textarea", length=32000),
            field("Digits__c", "string", length=80),
            field("Number__c", "double", **NUMBER),
            field("Money__c", "currency", **NUMBER),
            field("Percent__c", "percent", precision=5, scale=5),
            field("Whole__c", "int", digits=9),
            field("Flag__c", "boolean", nillable=False, defaultedOnCreate=True),
            field("Day__c", "date"),
            field("At__c", "datetime"),
            field("Midnight__c", "datetime"),
            field("Required__c", "string", length=300, nillable=False),
            field("Parent__c", "reference", relationshipName="Parent__r", referenceTo=["Parent"]),
        ],
    },
    "parent": {"name": "Parent", "fields": [PARENT_KEY]},
}  # fmt: skip
PLAIN = """
    Text__c: wide
    Tier__c: tier
    Long__c: name
    Number__c: score
    Money__c: amount
    Flag__c: {value: true}
    Day__c: born
    At__c: seen
    Midnight__c: born
    Whole__c: small
    Digits__c: big
"""
FIELDS = {
    "values": PLAIN,
    "kept": f"{PLAIN}  on_null: keep\n  on_exit: {{set: {{Required__c: account}}}}\n",
    "lookups": """
    Parent__r.Key__c: parent
    Required__c: name
    Flag__c: ok
    Text__c: {value: 'a "b", c'}
    Long__c: {value: null}
    Number__c: units
    Money__c: ratio
    At__c: moved
    Digits__c: ok
""",
    # Mapped row by row: the digits of a rate need rounding, and a time becomes a date.
    "rounded": "    Percent__c: rate\n    Whole__c: score\n    Day__c: seen\n",
}
MODEL = """/* ---
audience: people
key: id
guards: {{max_exited: null}}
salesforce:
  object: Thing__c
  match: {{Key__c: crm_key}}
  fields:
{fields}--- */
SELECT *,
  CASE WHEN known = ' u3' THEN NULL ELSE upper(id) END AS crm_key,
  CASE WHEN name = '東京' THEN '😀😀😀😀😀' ELSE name END AS wide,
  CASE WHEN name IN ('Ann', 'Zoë', '') THEN name WHEN ok THEN 'Ann' END AS tier,
  CASE account WHEN '-' THEN '#N/A' WHEN '001' THEN 'a' || chr(13) ELSE account END AS parent
FROM salesforce.contact
"""


class Filled(NamedTuple):
    """A file of a job, and what was remembered of its rows."""

    text: bytes
    seqs: dict[str, int]
    silent: list[int]
    refused: list[tuple[int, str, str]]


def filled(desk: Desk, delivery: Delivery, file: Path, *, as_lines: bool) -> tuple[Filled, int]:
    """The file of a job, and how many of its rows the mapper made."""
    audience = delivery.audience
    assert audience.block is not None
    options = MapperOptions(
        namespace=desk.ledger.namespace, planned_at=delivery.planned_at, described=DESCRIBED
    )
    refused: list[tuple[int, str, str]] = []
    members = OutboxMessages(
        desk.ledger,
        WriteMapper(audience, namespace=options.namespace, described=DESCRIBED),
        run_seq=delivery.run_seq,
        shape=delivery.shape,
        planned=delivery.planned,
        refuse=lambda row, refusal: refused.append((row.seq, refusal.path, refusal.rule)),
    )
    objects = {name: WritableObject.of(known) for name, known in DESCRIBED.items()}
    jobs = IngestJobs(
        cast("Any", None),
        WriteBack(audience.block.values),
        described=objects["thing__c"],
        parents=objects,
        clock=desk.clock,
        seconds_max=1.0,
    )
    rows, job_file, mapped = JobRows(), jobs.new_file(file), delivery.planned
    pages = members.line_pages(jobs) if as_lines else None
    if pages is not None:
        mapped = 0
        for page in pages:
            mapped += len(page.mapped)
            assert rows.take_page(page, job_file)
    else:
        assert all(rows.take(member, job_file) for member in members)
    job_file.close()
    return Filled(file.read_bytes(), rows.seqs, list(rows.silent), refused), mapped


@pytest.mark.parametrize("fields", FIELDS)
def test_both_ways_write_the_same_lines(desk: Desk, fields: str, tmp_path: Path) -> None:
    """Entering, changing and leaving, over every type of column and field."""
    desk.clear()
    desk.store.audience(MODEL.format(fields=FIELDS[fields]))
    for seed, (first, last) in enumerate([(0, ROWS), (ROWS // 10, ROWS + ROWS // 10)]):
        land(desk, first=first, last=last, seed=seed + 1)
        if seed:
            # Many rows change in a column that is only sent when they leave.
            moved = "UPDATE salesforce.contact SET account = 'B-3' WHERE account = '001'"
            desk.warehouse.execute(moved)
        _, delivery = desk.save_plan()
        lines, mapped = filled(desk, delivery, tmp_path / "lines.csv", as_lines=True)
        rows, _ = filled(desk, delivery, tmp_path / "rows.csv", as_lines=False)
        assert lines == rows
        # A double would round it to 1e16.
        exact = b",9999999999999999.99," in lines.text
        assert exact == ("Money__c: amount" in FIELDS[fields])
        assert lines.text.count(b"\n") > ROWS // 10 and lines.refused
        by_lines = delivery.planned - mapped
        assert (by_lines > ROWS // 10) == (fields != "rounded"), by_lines
        desk.settle(delivery)
