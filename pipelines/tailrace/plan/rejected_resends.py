"""Plans members whose rejected messages no difference to the snapshot would find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tailrace.ledger.ledger import Ledger
from tailrace.warehouse.statements import Bound, Column, query


def plan_rejected(
    ledger: Ledger,
    sync_key: str,
    *,
    tables: Mapping[str, Bound],
    columns: Mapping[str, Sequence[Column]],
) -> None:
    """Plan rejected members as the run did that was to send them.

    Args:
        ledger: The open ledger.
        sync_key: The sync, which has open rejections.
        tables: The diff's tables.
        columns: The diff's lists of columns.
    """
    warehouse = ledger.warehouse
    warehouse.run("plan/keep_initial", tables=tables, columns=columns, sync_key=sync_key)
    resends = query(
        "plan/rejected_resends",
        warehouse.dialect,
        tables={**ledger.tables, "outbox": ledger.outbox(sync_key)},
        columns=columns,
        sync_key=sync_key,
    )
    for name in ("plan/repeat_rejected_whole", "plan/resend_rejected"):
        warehouse.run(name, tables={**tables, "rejected_resend": resends}, columns=columns)
