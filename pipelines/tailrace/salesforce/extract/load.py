"""Lands objects by dlt: extract, normalize and load, and the corrections after it."""

from __future__ import annotations

import copy
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import dlt
import pyarrow as pa
from dlt.extract import DltResource
from dlt.pipeline.exceptions import PipelineStepFailed

from tailrace.errors import ExtractIncomplete, TailraceError
from tailrace.salesforce.extract.context import (
    HAD_ROWS,
    ORG_ID,
    Answered,
    ExtractContext,
    check_distinct_tables,
    check_org,
    check_table_name,
    hold_unknown,
)
from tailrace.salesforce.extract.extracted_object import ExtractedObject
from tailrace.salesforce.extract.facts import ObjectFacts, facts_of
from tailrace.salesforce.extract.landing import PipelineLanding
from tailrace.salesforce.extract.load_memory import LOADS_MAX, bounded_memory, is_out_of_memory
from tailrace.salesforce.extract.resources import Resources
from tailrace.salesforce.extract.staging import (
    SOURCE,
    CorrectionResult,
    apply_corrections,
    live_tables,
    resource_states,
)
from tailrace.warehouse.driver_errors import describe_error, raised_by_engine


def land_all(
    pipeline: dlt.Pipeline,
    context: ExtractContext,
    asked: Callable[[], Answered],
    *,
    reconcile: bool,
    is_complete_refresh: bool,
) -> tuple[ObjectFacts, ...]:
    """Read and load all objects of the run.

    Args:
        asked: Returns what Salesforce answered at the start; it may wait for the answers.
        reconcile: Compare all ids of all objects.
        is_complete_refresh: A full refresh is one of all objects.
    """
    settings = context.settings
    with capabilities_once(pipeline):
        # Salesforce describes the objects while the warehouse restores the state.
        start_from_destination(pipeline)
        apply_corrections(pipeline, deleted=settings.deleted)
        normalize = schema_of(pipeline).naming.normalize_path
        names, unknown, org_id = asked()
        states = resource_states(pipeline)
        check_distinct_tables((*settings.objects, *names), normalize)
        for name in names:
            check_table_name(states.get(normalize(name), {}), name, normalize(name))
        source_state = (pipeline.state.get("sources") or {}).get(SOURCE) or {}
        is_accepted = context.full_refresh and is_complete_refresh
        check_org({ORG_ID: source_state.get(ORG_ID)}, org_id, is_full_refresh=is_accepted)
        hold_unknown(context, names, unknown, {name: states.get(normalize(name)) for name in names})
        tables = {name: normalize(name) for name in names}
        context.had_rows = _live_tables(pipeline, tables.values()) | {
            table for table, state in states.items() if state.get(HAD_ROWS)
        }
        context.reconcile = frozenset(names if reconcile else ())
        readable = [name for name in names if name not in context.errors]
        if readable:
            _run(pipeline, context, readable, full_refresh=context.full_refresh)
        corrections = _correct_and_read_missing(pipeline, context, names)
        live = _live_tables(pipeline, tables.values())
        return facts_of(context, tables, live, corrections)


def _live_tables(pipeline: dlt.Pipeline, tables: Iterable[str]) -> frozenset[str]:
    landing = PipelineLanding(pipeline)
    with landing.session():
        return live_tables(landing, schema_of(pipeline).tables, tables)


def load_ahead(
    pipeline: dlt.Pipeline, context: ExtractContext, names: Sequence[str], news: Sequence[str]
) -> Mapping[str, CorrectionResult]:
    """Load the objects that were read before dlt was started, and apply their staging tables.

    Args:
        names: All objects of the run.
        news: Those that have something to load.
    """
    with capabilities_once(pipeline):
        start_from_destination(pipeline)
        _run(pipeline, context, news)
        return _correct_and_read_missing(pipeline, context, names)


@contextmanager
def capabilities_once(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Read the destination's capabilities once, instead of at each step of dlt.

    dlt resolves the whole configuration of the destination each time, which took a third of the
    time of a small extract.
    """
    destination = pipeline.destination
    assert destination is not None
    ask = destination.capabilities
    cached: dict[Any, Any] = {}

    def capabilities(config: Any = None, naming: Any = None) -> Any:
        if config is not None:
            return ask(config, naming)
        key = None if naming is None else (type(naming), naming.max_length)
        if key not in cached:
            cached[key] = ask(None, naming)
        # A copy, because dlt changes the object.
        return copy.deepcopy(cached[key])

    vars(destination)["capabilities"] = capabilities
    try:
        yield
    finally:
        del vars(destination)["capabilities"]


def start_from_destination(pipeline: dlt.Pipeline) -> None:
    """Drop what earlier runs left in the working folder, and restore the state of the warehouse.

    Rows that a run read and did not load are read again. Only the watermarks in the warehouse
    count, so a run that died at any point leaves neither a gap nor a duplicate.
    """
    pipeline.drop()
    pipeline.sync_destination()


def _run(
    pipeline: dlt.Pipeline,
    context: ExtractContext,
    names: Sequence[str],
    *,
    full_refresh: bool = False,
) -> None:
    """Extract, normalize and load the objects by dlt.

    Raises:
        TailraceError: Also in place of dlt's own errors.
    """
    normalize = schema_of(pipeline).naming.normalize_path
    resources = Resources(context)

    @dlt.source(name=SOURCE, max_table_nesting=0)
    def chosen() -> Iterator[DltResource]:
        for name in names:
            yield resources.resource(name, normalize)

    try:
        pipeline.extract(
            chosen(),
            loader_file_format=_file_format(pipeline),
            workers=context.settings.objects_in_flight_max,
            refresh="drop_resources" if full_refresh else None,
        )
        if full_refresh and context.errors:
            # The tables would be dropped, and an object that failed would be left without one.
            raise next(iter(context.errors.values()))
        pipeline.normalize()
        objects = [context.extracted[name] for name in names if name in context.extracted]
        replaced = [extracted.sobject.name for extracted in objects if extracted.first]
        if replaced and context.before_replacing is not None:
            context.before_replacing([(name, normalize(name)) for name in replaced])
        if context.before_loading is not None:
            context.before_loading()
        load(pipeline, objects)
    except PipelineStepFailed as failed:
        raise _error_of(failed) from failed


def _file_format(pipeline: dlt.Pipeline) -> Literal["parquet"] | None:
    """Parquet where the warehouse takes it; elsewhere dlt chooses, without a warning."""
    assert pipeline.destination is not None
    capabilities = pipeline.destination.capabilities()
    supported = capabilities.supported_loader_file_formats
    if capabilities.loader_file_format_selector is not None:
        _, supported = capabilities.loader_file_format_selector(
            capabilities.preferred_loader_file_format, supported, table_schema={}
        )
    return "parquet" if "parquet" in supported else None


def load(pipeline: dlt.Pipeline, objects: Sequence[ExtractedObject]) -> None:
    """Load within bounded memory; where that is too little, within the warehouse's own limit."""
    # The memory of the pages would otherwise stay allocated during the load.
    pa.default_memory_pool().release_unused()
    with bounded_memory(pipeline, objects) as bounded:
        try:
            pipeline.load(workers=LOADS_MAX)
            return
        except PipelineStepFailed as failed:
            if not bounded or not is_out_of_memory(failed):
                raise
    pipeline.load(workers=LOADS_MAX)


def schema_of(pipeline: dlt.Pipeline) -> dlt.Schema:
    """The schema of the source, empty before anything has landed."""
    if SOURCE in pipeline.schema_names:
        return pipeline.schemas[SOURCE]
    return dlt.Schema(SOURCE)


def _error_of(failed: PipelineStepFailed) -> TailraceError:
    """The error that dlt's error stands for: ours where there is one, else the warehouse's."""
    seen: set[int] = set()
    reason: str = failed.step
    cause: BaseException | None = failed
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, TailraceError):
            return cause
        is_full = isinstance(cause, OSError) and cause.errno == errno.ENOSPC
        if is_full or "No space left" in str(cause):
            return ExtractIncomplete(
                "The disk is full",
                hint="Free some space for the warehouse and for .tailrace/, then run again.",
            )
        if isinstance(cause, Exception) and raised_by_engine(cause):
            reason = f"{failed.step}: {describe_error(cause)}"
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return ExtractIncomplete(f"The warehouse could not take the rows ({reason})")


def _correct_and_read_missing(
    pipeline: dlt.Pipeline, context: ExtractContext, names: Sequence[str]
) -> Mapping[str, CorrectionResult]:
    """Apply the staging tables, and read objects again of which rows never landed.

    A row can become visible without a change: by a new sharing rule, or by a new owner.
    """
    deleted = context.settings.deleted
    corrections = {result.table: result for result in apply_corrections(pipeline, deleted=deleted)}
    normalize = schema_of(pipeline).naming.normalize_path
    missed = [
        name
        for name in names
        if name in context.extracted and normalize(name) in corrections
        if corrections[normalize(name)].missing
    ]
    if missed:
        context.reread = frozenset(missed)
        before = {name: context.extracted[name] for name in missed}
        _run(pipeline, context, missed)
        for name, extracted in before.items():
            # The facts have the window of the first read, and the rows of the second one.
            again = context.extracted[name]
            context.extracted[name] = replace(
                extracted, parquet=again.parquet, rejected=again.rejected
            )
    return corrections
