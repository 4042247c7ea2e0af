"""Fields that Salesforce computes: names, stages, fiscal periods, formulas, roll-ups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from tailrace.testing.org.rows import Record, Rows

RowsOf = Callable[[str], Rows]

_PROBABILITY = {
    "Prospecting": 10.0,
    "Qualification": 20.0,
    "Proposal/Price Quote": 60.0,
    "Negotiation/Review": 80.0,
    "Closed Won": 100.0,
    "Closed Lost": 0.0,
}


def derived(sobject: str, record: Record) -> Record:
    """The record with its dependent fields, as Salesforce saves it."""
    if "LastName" in record and record["LastName"] is not None:
        parts = (record.get("FirstName"), record.get("LastName"))
        record = {**record, "Name": " ".join(part for part in parts if isinstance(part, str))}
    rule = _RULES.get(sobject)
    return rule(record) if rule else record


def _opportunity(record: Record) -> Record:
    stage = record.get("StageName")
    close = record.get("CloseDate")
    probability = _PROBABILITY.get(str(stage), 50.0)
    more: Record = {
        "IsClosed": str(stage).startswith("Closed"),
        "IsWon": stage == "Closed Won",
        "Probability": probability,
        "ExpectedRevenue": _product(record.get("Amount"), probability),
        "ForecastCategory": "Closed" if stage == "Closed Won" else "Pipeline",
    }
    if close is not None and not isinstance(close, str):
        quarter = (close.month + 2) // 3
        more |= {"FiscalYear": close.year, "FiscalQuarter": quarter}
        more["Fiscal"] = f"{close.year} {quarter}"
    return {**record, **more}


def _case(record: Record) -> Record:
    closed = record.get("Status") == "Closed"
    moment = (record.get("ClosedDate") or record.get("SystemModstamp")) if closed else None
    return {**record, "IsClosed": closed, "ClosedDate": moment}


def _member(record: Record) -> Record:
    responded = record.get("Status") in ("Responded", "Attended")
    first = record.get("FirstRespondedDate")
    if responded and first is None and record.get("SystemModstamp") is not None:
        first = record["SystemModstamp"].date()
    return {**record, "HasResponded": responded, "FirstRespondedDate": first}


_RULES: dict[str, Callable[[Record], Record]] = {
    "Opportunity": _opportunity,
    "Case": _case,
    "CampaignMember": _member,
}


def formulas(rows_of: RowsOf) -> dict[str, dict[str, Mapping[str, Any]]]:
    """object -> id -> formula fields whose stored value is out of date."""
    won: dict[str, float] = defaultdict(float)
    for opportunity in _living(rows_of, "Opportunity"):
        if opportunity.get("IsWon") and opportunity.get("AccountId"):
            won[opportunity["AccountId"]] += opportunity.get("Amount") or 0.0
    open_cases = Counter(
        case["AccountId"]
        for case in _living(rows_of, "Case")
        if case.get("AccountId") and not case.get("IsClosed")
    )
    members = Counter(
        member["CampaignId"]
        for member in _living(rows_of, "CampaignMember")
        if member.get("ContactId")
    )
    wanted: dict[str, Callable[[Record], Record]] = {
        "Account": lambda record: {
            "Won_Amount__c": won.get(record["Id"], 0.0),
            "Health_Score__c": float(max(0, 10 - open_cases[record["Id"]])),
        },
        "Campaign": lambda record: {"NumberOfContacts": members[record["Id"]]},
        "Contact": lambda record: {"Score__c": _tenth(record.get("Visits__c"))},
    }
    return {sobject: _stale(rows_of, sobject, compute) for sobject, compute in wanted.items()}


def _stale(
    rows_of: RowsOf, sobject: str, compute: Callable[[Record], Record]
) -> dict[str, Mapping[str, Any]]:
    names = {field.name for field in rows_of(sobject).spec.fields}
    changes: dict[str, Mapping[str, Any]] = {}
    for record in rows_of(sobject).records():
        values = {name: value for name, value in compute(record).items() if name in names}
        if any(record.get(name) != value for name, value in values.items()):
            changes[record["Id"]] = values
    return changes


def _living(rows_of: RowsOf, sobject: str) -> list[Record]:
    return [record for record in rows_of(sobject).records() if not record.get("IsDeleted")]


def _tenth(visits: Any) -> float | None:
    return round(visits * 0.1, 1) if isinstance(visits, float) else None


def _product(amount: Any, probability: float) -> float | None:
    return round(amount * probability / 100, 2) if isinstance(amount, int | float) else None
