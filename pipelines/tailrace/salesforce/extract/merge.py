"""Merges changed rows into landed tables by SQL, where a load of dlt would write the same.

That is so on DuckDB, for rows of tables whose columns stay as they are. The rows, the state with
the watermarks, and dlt's record of the load are written in one transaction. Everything else is
loaded by dlt, which continues from this state: it is stored in dlt's own tables and format.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import logging
import secrets
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tailrace.errors import WarehouseFailed
from tailrace.salesforce.arrow import pa, pq
from tailrace.salesforce.extract.context import ORG_ID, ExtractContext
from tailrace.salesforce.extract.extracted_object import ExtractedObject
from tailrace.salesforce.extract.landing import Landing
from tailrace.salesforce.extract.reconciliation import PENDING, PENDING_DELETED, Reconciliation
from tailrace.salesforce.extract.staging import SOURCE
from tailrace.salesforce.extract.stored import STATE_ENGINE, StoredExtract, own_tables
from tailrace.salesforce.extract.table_layout import TableLayout
from tailrace.warehouse.statements import Column, TableName

log = logging.getLogger(__name__)

# The rows of an object that are merged here. dlt merges more of them within bounded memory.
ROWS_MAX = 10_000
# What dlt leaves out of the hash of a state.
UNHASHED = ("_local", "_state_version", "_state_engine_version", "_version_hash")
ROW_ID_BYTES = 10


def merge(
    landing: Landing,
    context: ExtractContext,
    stored: StoredExtract,
    news: Sequence[str],
    org_id: str | None,
) -> bool:
    """Merge the objects that have news, and record the state of all objects that were read.

    Args:
        news: The API names of the objects that have something to load.

    Returns:
        False if dlt has to load them; then nothing was written.
    """
    if not landing.merges_files or not all(
        name in context.ahead and _is_mergeable(context, stored, *context.ahead[name])
        for name in news
    ):
        return False
    now = context.api.clock.now()
    # dlt orders loads by the text of their ids.
    load_id = str(now.timestamp())
    document = _document(context, stored, org_id)
    if document is None or load_id <= stored.load_id:
        return False
    try:
        with landing.transaction():
            for name in news:
                _merge_object(landing, context, *context.ahead[name])
            tables = own_tables(landing.dataset)
            landing.run(
                "landing/save_load",
                tables=tables,
                load_id=load_id,
                schema=SOURCE,
                now=now,
                schema_hash=stored.schema_hash,
            )
            landing.run(
                "landing/save_state",
                tables=tables,
                version=document["_state_version"],
                engine=STATE_ENGINE,
                pipeline=landing.pipeline_name,
                state=compressed(document),
                now=now,
                state_hash=document["_version_hash"],
                load_id=load_id,
                row_id=secrets.token_urlsafe(ROW_ID_BYTES),
            )
    except WarehouseFailed as error:
        log.info("dlt loads the changes, which SQL could not merge: %s", error.message)
        return False
    return True


def compressed(document: Mapping[str, Any]) -> str:
    """A state in the form in which dlt stores it."""
    return base64.b64encode(zlib.compress(orjson.dumps(document), level=9)).decode("ascii")


def version_hash(document: Mapping[str, Any]) -> str:
    """dlt's hash of a state."""
    content = {key: value for key, value in document.items() if key not in UNHASHED}
    digest = hashlib.sha3_256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()
    return base64.b64encode(digest).decode("ascii")


def _document(
    context: ExtractContext, stored: StoredExtract, org_id: str | None
) -> dict[str, Any] | None:
    """The state after the merge; None if something would be left for dlt to apply."""
    document: dict[str, Any] = copy.deepcopy(dict(stored.document))
    source_state = document["sources"][SOURCE]
    if org_id is not None:
        source_state[ORG_ID] = org_id
    for extracted, reconciliation in context.ahead.values():
        state = source_state["resources"][extracted.layout.table]
        context.record(state, extracted, reconciliation)
        if set(state.pop(PENDING, ())) - {PENDING_DELETED}:
            return None
    document["_state_version"] += 1
    document["_version_hash"] = version_hash(document)
    return document


def _is_mergeable(
    context: ExtractContext,
    stored: StoredExtract,
    extracted: ExtractedObject,
    reconciliation: Reconciliation,
) -> bool:
    """Whether the object's news are rows and deletions only, in the columns that exist."""
    return (
        not extracted.first
        and extracted.rows <= ROWS_MAX
        and not extracted.rejected
        and not extracted.layout.new
        and reconciliation.refreshed is None
        and reconciliation.ids is None
        and extracted.sobject.cursor is not None
        and has_stored_hints(
            extracted.layout,
            stored.tables[extracted.layout.table]["columns"],
            remove_deleted=context.settings.deleted == "remove",
        )
    )


def has_stored_hints(
    layout: TableLayout, columns: Mapping[str, Mapping[str, Any]], *, remove_deleted: bool
) -> bool:
    """Whether dlt's schema says of each column what a load would write into it."""
    return all(
        column in columns
        and all(
            # dlt leaves out what is the default.
            columns[column].get(key, key == "nullable") == value
            for key, value in hints.items()
        )
        for column, hints in layout.hints(remove_deleted=remove_deleted).items()
    )


def _merge_object(
    landing: Landing,
    context: ExtractContext,
    extracted: ExtractedObject,
    reconciliation: Reconciliation,
) -> None:
    """Replace the changed rows, and apply the deletions."""
    cursor = extracted.sobject.cursor
    table = {"landed": TableName(landing.dataset, extracted.layout.table)}
    columns = {
        "cursor": [
            Column(column.column)
            for column in extracted.layout.columns
            if column.field is not None and column.field.name == cursor
        ]
    }
    removes = context.settings.deleted == "remove"
    # Of the rows of an id in several files, the file that was written last has the newest.
    for path, _ in extracted.files:
        landing.run("landing/delete_changed", tables=table, file=str(path))
        name, newest = "landing/insert_distinct", {}
        if not _has_distinct_ids(path):
            name, newest = "landing/insert_changed", columns
        landing.run(name, tables=table, columns=newest, file=str(path), removes=removes)
    if reconciliation.deleted:
        path = context.extractor.folder / f"_deleted_{extracted.layout.table}.parquet"
        _write_ids(path, [record_id for record_id, _ in reconciliation.deleted])
        verb = "remove" if removes else "flag"
        landing.run(f"landing/{verb}_deleted_in_file", tables=table, file=str(path))


def _has_distinct_ids(path: Path) -> bool:
    """Whether no id occurs twice in a file, so that no newest row of an id has to be found."""
    ids = pq.ParquetFile(path).read(columns=["id"]).column(0)
    return len(ids.unique()) == len(ids)


def _write_ids(path: Path, ids: Sequence[str]) -> None:
    pq.write_table(pa.table({"id": pa.array(ids, pa.string())}), path)
