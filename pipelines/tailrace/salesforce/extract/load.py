"""Runs the steps of dlt for an extract: extract, normalize and load."""

from __future__ import annotations

import copy
import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import dlt
import pyarrow as pa
from dlt.extract import DltResource
from dlt.pipeline.exceptions import PipelineStepFailed

from tailrace.errors import ExtractIncomplete, TailraceError
from tailrace.salesforce.extract.extracted_object import ExtractedObject
from tailrace.salesforce.extract.load_memory import LOADS_MAX, bounded_memory, is_out_of_memory
from tailrace.salesforce.extract.resources import ExtractContext
from tailrace.salesforce.extract.staging import SOURCE

log = logging.getLogger(__name__)

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


def run(
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

    @dlt.source(name=SOURCE, max_table_nesting=0)
    def chosen() -> Iterator[DltResource]:
        for name in names:
            yield context.resource(name, normalize)

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
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return ExtractIncomplete(f"The warehouse could not take the rows ({failed.step})")
