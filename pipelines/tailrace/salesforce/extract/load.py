"""An extract by the steps of dlt: from the warehouse's state by its packages to the tables."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pyarrow as pa

from tailrace.errors import ExtractIncomplete, TailraceError
from tailrace.salesforce.extract.extractor import Reading
from tailrace.salesforce.extract.load_memory import LOADS_MAX, bounded_memory, is_out_of_memory
from tailrace.salesforce.extract.resources import Extraction
from tailrace.salesforce.extract.staging import SOURCE

# Imported after project, which switches dlt's telemetry off.
import dlt  # isort: skip
from dlt.extract import DltResource  # isort: skip
from dlt.pipeline.exceptions import PipelineStepFailed  # isort: skip


@contextmanager
def capabilities_once(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Ask what the destination can do only once, instead of at each of dlt's steps.

    Each time dlt would read the whole configuration of the destination again, which took a
    third of a small extract.
    """
    destination = pipeline.destination
    assert destination is not None
    ask = destination.capabilities
    known: dict[Any, Any] = {}

    def capabilities(config: Any = None, naming: Any = None) -> Any:
        if config is not None:
            return ask(config, naming)
        key = None if naming is None else (type(naming), naming.max_length)
        if key not in known:
            known[key] = ask(None, naming)
        # A copy: dlt writes into what it is given.
        return copy.deepcopy(known[key])

    vars(destination)["capabilities"] = capabilities
    try:
        yield
    finally:
        del vars(destination)["capabilities"]


def start_from_destination(pipeline: dlt.Pipeline) -> None:
    """Forget what earlier runs left in the working folder.

    What a run read and did not load is read again: the watermarks in the warehouse are the only
    ones, and so a run that died anywhere leaves neither a gap nor a row twice.
    """
    pipeline.drop()
    pipeline.sync_destination()


def run(
    pipeline: dlt.Pipeline, extraction: Extraction, names: Sequence[str], *, afresh: bool = False
) -> None:
    """Extract, normalize and load the objects by dlt, its own errors turned into ours."""
    normalize = schema_of(pipeline).naming.normalize_path

    @dlt.source(name=SOURCE, max_table_nesting=0)
    def chosen() -> Iterator[DltResource]:
        for name in names:
            yield extraction.resource(name, normalize)

    try:
        pipeline.extract(
            chosen(),
            loader_file_format=_file_format(pipeline),
            workers=extraction.settings.objects_in_flight_max,
            refresh="drop_resources" if afresh else None,
        )
        if afresh and extraction.errors:
            # The tables would be dropped, and an object that failed would have none.
            raise next(iter(extraction.errors.values()))
        pipeline.normalize()
        readings = [extraction.readings[name] for name in names if name in extraction.readings]
        anew = [each.sobject.name for each in readings if each.first]
        if anew and extraction.before_replacing is not None:
            extraction.before_replacing([(name, normalize(name)) for name in anew])
        load(pipeline, readings)
    except PipelineStepFailed as failed:
        raise _ours(failed) from failed


def _file_format(pipeline: dlt.Pipeline) -> Literal["parquet"] | None:
    """Parquet where the warehouse takes it; elsewhere dlt chooses, and would say so each time."""
    assert pipeline.destination is not None
    capabilities = pipeline.destination.capabilities()
    supported = capabilities.supported_loader_file_formats
    if capabilities.loader_file_format_selector is not None:
        _, supported = capabilities.loader_file_format_selector(
            capabilities.preferred_loader_file_format, supported, table_schema={}
        )
    return "parquet" if "parquet" in supported else None


def load(pipeline: dlt.Pipeline, readings: Sequence[Reading]) -> None:
    """Load by dlt within bounded memory, or within the warehouse's own limit if need be."""
    # What the pages took would otherwise stay beside what the load takes.
    pa.default_memory_pool().release_unused()
    with bounded_memory(pipeline, readings) as bounded:
        try:
            pipeline.load(workers=LOADS_MAX)
            return
        except PipelineStepFailed as failed:
            if not bounded or not is_out_of_memory(failed):
                raise
    pipeline.load(workers=LOADS_MAX)


def schema_of(pipeline: dlt.Pipeline) -> dlt.Schema:
    """The schema of the source, empty as long as nothing has landed."""
    if SOURCE in pipeline.schema_names:
        return pipeline.schemas[SOURCE]
    return dlt.Schema(SOURCE)


def _ours(failed: PipelineStepFailed) -> TailraceError:
    cause: BaseException | None = failed
    while cause is not None:
        if isinstance(cause, TailraceError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return ExtractIncomplete(f"The warehouse could not take the rows ({failed.step})")
