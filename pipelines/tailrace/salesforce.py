"""Salesforce objects in the warehouse: a dlt source for any pipeline, and the extract of ours.

    pipeline = dlt.pipeline("crm", destination="duckdb", dataset_name="salesforce")
    pipeline.run(salesforce(objects=["Account", "Contact"]), loader_file_format="parquet")

One resource an object, named as its table: `contact`, `opportunity_line_item`. Each reads what
changed since its watermark and merges it by id; the watermark moves when all of it was read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tailrace.clock import Clock, SystemClock
from tailrace.errors import (
    ConfigurationError,
    ExtractIncomplete,
    SalesforceFault,
    TailraceError,
    UnknownObject,
    Unreachable,
)
from tailrace.object_reader import ApiName, ObjectReader, Reading, remember
from tailrace.project import did_you_mean
from tailrace.salesforce_api import Api
from tailrace.settings import STANDARD_OBJECTS, SalesforceCredentials, SalesforceSettings
from tailrace.sobject import SObject, read_describe

# Imported after project, which switches dlt's telemetry off.
import dlt  # isort: skip
from dlt.common.configuration import configspec  # isort: skip
from dlt.common.configuration.specs import CredentialsConfiguration  # isort: skip
from dlt.common.typing import TSecretStrValue  # isort: skip
from dlt.extract import DltResource  # isort: skip
from dlt.extract.items import DataItemWithMeta  # isort: skip
from dlt.pipeline.exceptions import PipelineStepFailed  # isort: skip

SOURCE = "salesforce"
# One of these says that nothing further can be read, whatever the object.
FOR_ALL = (ConfigurationError, Unreachable)


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """What an extract did for one object: what the guards of a plan want to know."""

    object: str
    table: str
    rows: int = 0
    window_start: datetime | None = None
    window_end: datetime | None = None
    watermark: datetime | None = None
    complete: bool = False
    empty: bool = False
    quarantined: int = 0
    vanished_fields: tuple[str, ...] = ()
    new_fields: tuple[str, ...] = ()
    api: ApiName = "rest"
    error: TailraceError | None = None


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """What an extract did, and what it cost."""

    objects: tuple[ObjectFacts, ...]
    calls_used: int
    quota_used: int | None
    quota_max: int | None
    seconds: float


@configspec
class SalesforceLogin(CredentialsConfiguration):
    """`[sources.salesforce.credentials]` as dlt injects it."""

    instance_url: str = None  # type: ignore[assignment]
    client_id: TSecretStrValue | None = None
    client_secret: TSecretStrValue | None = None
    username: TSecretStrValue | None = None
    password: TSecretStrValue | None = None
    security_token: TSecretStrValue | None = None
    private_key: TSecretStrValue | None = None
    access_token: TSecretStrValue | None = None

    def credentials(self) -> SalesforceCredentials:
        """The same as our own frozen value."""
        return SalesforceCredentials(
            instance_url=self.instance_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            username=self.username,
            password=self.password,
            security_token=self.security_token,
            private_key=self.private_key,
            access_token=self.access_token,
        )


class Extraction:
    """The resources of one run, and what became of each object."""

    def __init__(
        self,
        api: Api,
        settings: SalesforceSettings,
        *,
        folder: Path,
        keep_going: bool,
        progress: Callable[[str, int], None] | None = None,
    ) -> None:
        self.api = api
        self.settings = settings
        self.folder = folder
        self.keep_going = keep_going
        self.progress = progress
        self.described: dict[str, SObject] = {}
        self.readings: dict[str, Reading] = {}
        self.errors: dict[str, TailraceError] = {}

    def describe(self, name: str) -> SObject:
        """The object as it lands; asked of Salesforce once.

        Raises:
            UnknownObject: There is none, or this user may not see it.
            UnknownField: The settings name a field that is not there.
        """
        if name not in self.described:
            described = describe(self.api, name)
            self.described[name] = read_describe(
                described, self.settings.of(name), formula=self.settings.formula
            )
        return self.described[name]

    def resource(self, name: str, normalize: Callable[[str], str]) -> DltResource:
        """The dlt resource of one object."""
        table = normalize(name)

        @dlt.resource(
            name=table, primary_key=normalize("Id"), write_disposition="merge", parallelized=True
        )
        def rows() -> Iterator[Any]:
            yield from self._items(name, table)

        return rows

    def _items(self, name: str, table: str) -> Iterator[Any]:
        schema = dlt.current.source_schema()
        state = dlt.current.resource_state(table)
        reader = ObjectReader(
            self.api,
            self.settings,
            self.folder,
            normalize=schema.naming.normalize_identifier,
            progress=self.progress,
        )
        try:
            reading = reader.read(self.describe(name), state, schema.tables.get(table))
        except FOR_ALL:
            raise
        except TailraceError as error:
            if not self.keep_going:
                raise
            self.errors[name] = error
            return
        self.readings[name] = reading
        yield from self._landed(reading, known=table in schema.tables)
        remember(state, reading)

    def _landed(self, reading: Reading, *, known: bool) -> Iterator[DataItemWithMeta]:
        hints = dlt.mark.make_hints(
            # Nothing is there to merge with on the first load.
            write_disposition="replace" if reading.whole else "merge",
            columns=reading.layout.hints(remove_deleted=self.settings.deleted == "remove"),
        )
        for path, rows in reading.files:
            if self.keep_going:
                yield dlt.mark.with_file_import(str(path), "parquet", rows, hints=hints)
            else:
                # A table instead of a file, so that the steps which a user adds can see it.
                yield dlt.mark.with_hints(pq.read_table(path), hints)
        if not reading.files and (not known or reading.layout.new or reading.whole):
            empty = reading.layout.schema.empty_table()
            yield dlt.mark.with_hints(empty, hints)


def describe(api: Api, name: str) -> Mapping[str, Any]:
    """Salesforce's describe of an object.

    Raises:
        UnknownObject: There is none, or this user may not see it.
    """
    try:
        described: Mapping[str, Any] = getattr(api.salesforce, name).describe()
        return described
    except SalesforceFault as fault:
        if fault.code not in ("NOT_FOUND", "404", "INVALID_TYPE"):
            raise
    known = [str(each["name"]) for each in api.get("sobjects")["sobjects"]]
    raise UnknownObject(
        f"Salesforce has no object {name} that this user may see.{did_you_mean(name, known)}",
        hint="Correct objects under [sources.salesforce], or give the user access to the object.",
    )


@dlt.source(name=SOURCE, max_table_nesting=0)
def salesforce(
    objects: Sequence[str] = STANDARD_OBJECTS,
    credentials: SalesforceLogin = dlt.secrets.value,
    *,
    settings: SalesforceSettings | None = None,
    api_version: str = SalesforceSettings.api_version,
    deleted: str = SalesforceSettings.deleted,
    formula: str = SalesforceSettings.formula,
) -> Iterator[DltResource]:
    """Salesforce objects as dlt resources, into any destination.

    Args:
        objects: API names, standard and custom.
        credentials: As `[sources.salesforce.credentials]` says.
        settings: Every other setting; what is given here by name is then not read.
    """
    chosen = settings or SalesforceSettings(
        objects=tuple(objects),
        api_version=api_version,
        deleted=deleted,  # type: ignore[arg-type]
        formula=formula,  # type: ignore[arg-type]
    )
    api = Api(credentials.credentials(), chosen, clock=SystemClock())
    folder = Path(tempfile.mkdtemp(prefix="tailrace-"))
    extraction = Extraction(api, chosen, folder=folder, keep_going=False)
    normalize = dlt.current.source_schema().naming.normalize_identifier
    for name in objects:
        yield extraction.resource(name, normalize)


def extract(
    pipeline: dlt.Pipeline,
    settings: SalesforceSettings,
    credentials: SalesforceCredentials,
    *,
    clock: Clock,
    objects: Sequence[str] | None = None,
    reconcile: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> ExtractResult:
    """Land what changed in the objects, each complete or not at all.

    Args:
        pipeline: Bound to the warehouse and to the dataset where objects land.
        objects: API names; the configured ones when left out.
        reconcile: Compare all ids too, for rows that vanished without a trace.
        progress: Told of an object's name and rows as they arrive.

    Raises:
        UnknownObject, UnknownField: Before anything is landed.
        CredentialRefused, Unreachable: There is no use in going on.
    """
    started = clock.monotonic()
    api = Api(credentials, settings, clock=clock)
    api.token()
    start_from_destination(pipeline)
    folder = Path(tempfile.mkdtemp(prefix="pages-", dir=pipeline.working_dir))
    extraction = Extraction(api, settings, folder=folder, keep_going=True, progress=progress)
    try:
        names = describe_all(extraction, objects or settings.objects)
        run(pipeline, extraction, names)
        return ExtractResult(
            objects=tuple(facts(pipeline, extraction, name) for name in names),
            calls_used=api.usage.calls,
            quota_used=api.usage.used,
            quota_max=api.usage.max,
            seconds=clock.monotonic() - started,
        )
    finally:
        api.close()
        shutil.rmtree(folder, ignore_errors=True)


def start_from_destination(pipeline: dlt.Pipeline) -> None:
    """Forget what earlier runs left in the working folder.

    What a run read and did not load is read again: the watermarks in the warehouse are the only
    ones, and so a run that died anywhere leaves neither a gap nor a row twice.
    """
    pipeline.drop()
    pipeline.sync_destination()


def describe_all(extraction: Extraction, wanted: Sequence[str]) -> list[str]:
    """The API names of the objects, all described before anything is read."""
    with ThreadPoolExecutor(extraction.settings.objects_in_flight_max) as pool:
        found = list(pool.map(extraction.describe, wanted))
    for sobject in found:
        extraction.described[sobject.name] = sobject
    return list(dict.fromkeys(sobject.name for sobject in found))


def run(pipeline: dlt.Pipeline, extraction: Extraction, names: Sequence[str]) -> None:
    """Extract, normalize and load the objects by dlt, its own errors turned into ours."""
    schema = pipeline.schemas.get(SOURCE) if SOURCE in pipeline.schema_names else None
    schema = schema or dlt.Schema(SOURCE)
    normalize = schema.naming.normalize_identifier

    @dlt.source(schema=schema, max_table_nesting=0)
    def chosen() -> Iterator[DltResource]:
        for name in names:
            yield extraction.resource(name, normalize)

    try:
        pipeline.extract(
            chosen(),
            loader_file_format="parquet",
            workers=extraction.settings.objects_in_flight_max,
        )
        pipeline.normalize()
        pipeline.load(workers=2)
    except PipelineStepFailed as failed:
        raise _ours(failed) from failed


def facts(pipeline: dlt.Pipeline, extraction: Extraction, name: str) -> ObjectFacts:
    """What became of one object."""
    schema = pipeline.schemas[SOURCE] if SOURCE in pipeline.schema_names else dlt.Schema(SOURCE)
    table = schema.naming.normalize_identifier(name)
    reading = extraction.readings.get(name)
    if reading is None:
        return ObjectFacts(object=name, table=table, error=extraction.errors.get(name))
    return ObjectFacts(
        object=name,
        table=table,
        rows=reading.rows,
        window_start=reading.window.low,
        window_end=reading.window.high,
        watermark=reading.watermark,
        complete=True,
        empty=not _has_live_rows(pipeline, table),
        quarantined=len(reading.bad),
        vanished_fields=reading.layout.vanished,
        new_fields=reading.layout.new,
        api=reading.api,
    )


def _has_live_rows(pipeline: dlt.Pipeline, table: str) -> bool:
    with pipeline.sql_client() as client:
        name = client.make_qualified_table_name(table)
        rows = client.execute_sql(f"SELECT 1 FROM {name} WHERE NOT is_deleted LIMIT 1")
    return bool(rows)


def _ours(failed: PipelineStepFailed) -> TailraceError:
    cause: BaseException | None = failed
    while cause is not None:
        if isinstance(cause, TailraceError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return ExtractIncomplete(f"The warehouse could not take the rows ({failed.step})")
