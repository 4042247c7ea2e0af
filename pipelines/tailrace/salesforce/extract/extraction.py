"""Tailrace's own extract: lands what changed in the objects.

Objects that landed before are read first. dlt is imported when one of them has something to load,
so an extract that finds nothing new costs its requests and a few statements.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tailrace.clock import Clock
from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.salesforce.answers import parse_timestamp
from tailrace.salesforce.client import Api, Login
from tailrace.salesforce.extract.context import (
    HAD_ROWS,
    Answered,
    ExtractContext,
    ask,
    check_org,
    hold_unknown,
)
from tailrace.salesforce.extract.extracted_object import ExtractedObject
from tailrace.salesforce.extract.facts import ExtractResult, ObjectFacts, facts_of, warnings_of
from tailrace.salesforce.extract.landing import Landing
from tailrace.salesforce.extract.merge import merge
from tailrace.salesforce.extract.reconciliation import Reconciliation
from tailrace.salesforce.extract.staging import apply_pending, live_tables
from tailrace.salesforce.extract.stored import (
    NotStored,
    StoredExtract,
    keep_stored,
    known_stored,
    read_stored,
)

__all__ = ["ExtractResult", "ObjectFacts", "extract"]

log = logging.getLogger(__name__)

LIBRARY_LOGGERS = ("dlt", "urllib3")
# A watermark stays where it is while its object has no news. Salesforce's log of deletions goes
# back fifteen days, so the watermark moves before that.
WATERMARK_AGE_MAX = timedelta(days=7)


LIBRARY_LOGGERS = ("dlt", "urllib3")


class _DebugLog(logging.Handler):
    """Writes the records of a library to Tailrace's debug log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("%s: %s", record.name, record.getMessage())


@contextmanager
def library_logs_to_debug() -> Iterator[None]:
    """Send what libraries log to the debug log: an error is shown once, as Tailrace's own."""
    handler = _DebugLog()
    before = []
    for name in LIBRARY_LOGGERS:
        logger = logging.getLogger(name)
        before.append((logger, logger.handlers, logger.propagate))
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate


def extract(
    landing: Landing,
    settings: SalesforceSettings,
    credentials: SalesforceCredentials,
    *,
    clock: Clock,
    objects: Sequence[str] | None = None,
    reconcile: bool = False,
    full_refresh: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    before_replacing: Callable[[Sequence[tuple[str, str]]], None] | None = None,
    before_loading: Callable[[], None] | None = None,
    login: Login | None = None,
) -> ExtractResult:
    """Land what changed in the objects, each of them completely or not at all.

    Changes are merged in one transaction. A whole table is loaded in several: an extract that dies
    leaves a part of it, until the next extract loads it again.

    Args:
        landing: The warehouse, with the dataset where objects land.
        objects: API names; the configured ones by default.
        reconcile: Also compare all ids, to find rows that vanished without a trace.
        full_refresh: Drop the objects' tables and load all rows again.
        progress: Called with an object's name, how many rows arrived, and how many will (or 0).
        before_replacing: Called with objects and their tables before all of their rows are loaded.
        before_loading: Called before each load by dlt, whose transactions check no lock.
        login: A login that other extracts of the process share.

    Raises:
        UnknownObject, UnknownField, SeveralUnknown: New names are wrong; nothing was landed.
        TableNameTaken, OtherOrg: Nothing was landed.
        CredentialRefused, Unreachable: No object can be read.
    """
    started = clock.monotonic()
    is_known = not full_refresh and known_stored(landing) is not None
    api = Api(credentials, settings, clock=clock, login=login, expects_no_news=is_known)
    context = ExtractContext(
        api, settings, folder=landing.folder, continue_on_error=True, progress=progress
    )
    context.before_replacing, context.before_loading = before_replacing, before_loading
    context.full_refresh = full_refresh
    with library_logs_to_debug(), _empty_folder(landing.folder):
        wanted = tuple(objects or settings.objects)
        facts = _extract(
            landing, context, wanted, reconcile=reconcile, is_complete_refresh=objects is None
        )
    return ExtractResult(
        objects=facts,
        calls_used=api.usage.calls,
        quota_used_before=api.usage.used_at_start,
        quota_used=api.usage.used,
        quota_max=api.usage.max,
        seconds=clock.monotonic() - started,
        warnings=tuple(warnings_of(context, facts)),
        is_idle=context.is_idle,
    )


@contextmanager
def _empty_folder(folder: Path) -> Iterator[None]:
    """A folder that is empty at the start, and removed at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(
    landing: Landing,
    context: ExtractContext,
    wanted: Sequence[str],
    *,
    reconcile: bool,
    is_complete_refresh: bool,
) -> tuple[ObjectFacts, ...]:
    context.engine = landing.engine
    # The session is closed before the thread ends, so that a login that still waits gives up.
    with ThreadPoolExecutor(1) as worker, closing(context.api):
        # Salesforce answers while the warehouse says what has landed.
        asked = worker.submit(ask, context, wanted)
        stored = None if context.full_refresh else known_stored(landing) or read_stored(landing)
        if stored is not None and stored.has_all((*context.settings.objects, *wanted)):
            context.reconcile = frozenset()
            return _extract_landed(landing, context, stored, asked, reconcile=reconcile)
        from tailrace.salesforce.extract.load import land_all

        with landing.pipeline() as pipeline, _without_loaded(pipeline):
            return land_all(
                pipeline,
                context,
                asked.result,
                reconcile=reconcile,
                is_complete_refresh=is_complete_refresh,
            )


def _extract_landed(
    landing: Landing,
    context: ExtractContext,
    stored: StoredExtract,
    asked: Future[Answered],
    *,
    reconcile: bool,
) -> tuple[ObjectFacts, ...]:
    """Read objects that landed before, and load those that have news."""
    names, unknown, org_id = asked.result()
    table_of = {name: stored.normalize(name) for name in names}
    check_org(stored.source_state, org_id, is_full_refresh=False)
    hold_unknown(
        context, names, unknown, {name: stored.states[table] for name, table in table_of.items()}
    )
    corrected = apply_pending(
        landing, stored.states, stored.tables, deleted=context.settings.deleted
    )
    live = _live_tables(landing, stored, table_of.values())
    context.had_rows = live | {
        table for table, state in stored.states.items() if state.get(HAD_ROWS)
    }
    context.reconcile = frozenset(names if reconcile else ())
    context.api.expect_little_news()
    news = _read_ahead(context, stored, table_of)
    corrections: Mapping[str, Any] = {}
    if not news:
        context.is_idle = not corrected
        if context.is_idle:
            keep_stored(landing, stored, {table: table in live for table in table_of.values()})
        return facts_of(context, table_of, live, corrections)
    if not merge(landing, context, stored, news, org_id):
        from tailrace.salesforce.extract.load import load_ahead

        with landing.pipeline() as pipeline, _without_loaded(pipeline):
            corrections = load_ahead(pipeline, context, names, news)
    live = live_tables(landing, stored.tables, table_of.values())
    return facts_of(context, table_of, live, corrections)


def _live_tables(
    landing: Landing, stored: StoredExtract, tables: Collection[str]
) -> frozenset[str]:
    """Those of the tables that have a row which is not deleted."""
    if all(table in stored.live for table in tables):
        return frozenset(table for table in tables if stored.live[table])
    return live_tables(landing, stored.tables, tables)


def _read_ahead(
    context: ExtractContext, stored: StoredExtract, table_of: Mapping[str, str]
) -> list[str]:
    """Read the objects; returns those that have something to load."""

    def has_news(name: str) -> bool:
        table = table_of[name]
        state = stored.states[table]
        try:
            read = context.read_completely(name, state, stored.tables[table], stored.normalize)
        except NotStored:
            # A new field: dlt normalizes its name, and the object is read when it is loaded.
            return True
        if read is None:
            return False
        context.ahead[name] = read
        return _has_news(context, state, *read)

    readable = [name for name in table_of if name not in context.errors]
    with ThreadPoolExecutor(context.settings.objects_in_flight_max) as pool:
        results = list(pool.map(has_news, readable))
    return [name for name, is_news in zip(readable, results, strict=True) if is_news]


def _has_news(
    context: ExtractContext,
    state: Mapping[str, Any],
    extracted: ExtractedObject,
    reconciliation: Reconciliation,
) -> bool:
    """Whether rows, staging tables or anything but the watermark are to be stored.

    A watermark that stays makes the next window longer, and leaves out nothing.
    """
    if extracted.files or extracted.rejected or extracted.layout.new:
        return True
    if reconciliation.deleted or reconciliation.refreshed or reconciliation.ids:
        return True
    after = dict(state)
    context.record(after, extracted, reconciliation)
    watermark = after.pop("watermark", None)
    before = {key: value for key, value in state.items() if key != "watermark"}
    if after != before or watermark is None:
        return True
    moved = parse_timestamp(str(watermark)) - _watermark_of(state)
    return moved > WATERMARK_AGE_MAX


def _watermark_of(state: Mapping[str, Any]) -> datetime:
    return parse_timestamp(str(state["watermark"]))


@contextmanager
def _without_loaded(pipeline: Any) -> Iterator[None]:
    """Remove dlt's copies of what was loaded."""
    try:
        yield
    finally:
        shutil.rmtree(Path(pipeline.working_dir) / "load" / "loaded", ignore_errors=True)
