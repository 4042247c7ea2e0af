"""The latency of a run: from a record's modification in Salesforce to its acknowledgement.

A record counts if it landed in the run and an audience that reads its object had changes
acknowledged in the run. Its latency ends with the last of these acknowledgements, so it is the time
after which all that the record led to has arrived.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import reduce

from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Latency, Run
from tailrace.warehouse.statements import Binding, Column, TableName, query

# The columns that say when a record was modified; the first one that a table has is used.
MODIFIED_COLUMNS = ("system_modstamp", "last_modified_date", "created_date")


def measure_latency(ledger: Ledger, run: Run, reads: Mapping[str, Collection[str]]) -> Latency:
    """The latency of the records that landed in a run.

    Args:
        ledger: The open ledger.
        run: The run, whose changes are acknowledged.
        reads: The landed tables that each audience reads, by its ledger key.
    """
    acknowledged = ledger.run("last_acknowledged", run=run.seq)
    until: dict[str, datetime] = {}
    for sync_key, at in acknowledged:
        for table in reads.get(str(sync_key), ()):
            until[table] = max(at, until.get(table, at))
    windows = [row for row in ledger.run("windows_of_run", run=run.seq) if row[0] in until]
    if not windows:
        return Latency(records=0, p50_seconds=None, p95_seconds=None)
    dataset = ledger.warehouse.project.settings.dataset
    landed = ledger.warehouse.columns_in(dataset)
    measured: list[Binding] = []
    for table, window_end, window_start in windows:
        column = _modified_column(landed.get(str(table), ()))
        if column is not None:
            latencies = query(
                "ledger/record_latencies",
                ledger.warehouse.dialect,
                tables={"landed": TableName(dataset, str(table))},
                column=column,
                acknowledged_at=until[table],
                window_start=window_start,
                window_end=window_end,
            )
            measured.append(latencies)
    if not measured:
        return Latency(records=0, p50_seconds=None, p95_seconds=None)
    both = reduce(lambda first, second: _together(ledger, first, second), measured)
    ((records, p50, p95),) = ledger.warehouse.run("ledger/latency", tables={"latencies": both})
    return Latency(records=int(records), p50_seconds=_rounded(p50), p95_seconds=_rounded(p95))


def _together(ledger: Ledger, first: Binding, second: Binding) -> Binding:
    tables = {"first": first, "second": second}
    return query("ledger/all_latencies", ledger.warehouse.dialect, tables=tables)


def _modified_column(columns: Collection[Column]) -> Column | None:
    by_name = {column.name: column for column in columns}
    return next((by_name[name] for name in MODIFIED_COLUMNS if name in by_name), None)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(float(seconds), 3)
