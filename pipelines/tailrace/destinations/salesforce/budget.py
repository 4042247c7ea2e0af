"""How many calls of the org's daily budget a plan needs."""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.destinations.salesforce.header import WriteBack

ROWS_A_CALL = 200
# Create, upload, close, three result files and delete; and the polls of a job that is soon done.
CALLS_A_JOB = 7
POLLS_A_JOB = 4


def calls_needed(write_back: WriteBack, messages: Mapping[str, int], *, bulk_rows_min: int) -> int:
    """The calls for so many messages by kind.

    >>> block = {"object": "Contact", "match": {"Key__c": "key"}, "fields": {"A__c": "a"}}
    >>> calls_needed(WriteBack(block), {"upsert": 401, "clear": 1}, bulk_rows_min=2_000)
    5
    >>> calls_needed(WriteBack(block), {"upsert": 200_000}, bulk_rows_min=2_000)
    11
    >>> calls_needed(WriteBack({**block, "mode": "update"}), {"update": 4_000}, bulk_rows_min=2_000)
    31
    """
    total = sum(messages.values())
    as_job = write_back.takes_jobs and (write_back.api == "bulk" or total > bulk_rows_min)
    calls = 0
    jobs = False
    for kind, count in messages.items():
        requests = -(-count // ROWS_A_CALL)
        # Records that must not be created are looked up by their key first.
        looked_up = kind not in ("upsert", "publish") and not write_back.by_id
        calls += requests if looked_up else 0
        if as_job and (kind in ("upsert", "update") or (write_back.by_id and kind != "delete")):
            jobs = jobs or count > 0
            continue
        calls += requests
    return calls + (CALLS_A_JOB + POLLS_A_JOB if jobs else 0)
