"""Salesforce objects in the warehouse: a dlt source for any pipeline, and the extract of ours.

    pipeline = dlt.pipeline("crm", destination="duckdb", dataset_name="salesforce")
    pipeline.run(salesforce(objects=["Account", "Contact"]), loader_file_format="parquet")

One resource an object, named as its table: `contact`, `opportunity_line_item`. Each reads what
changed since its watermark and merges it by id; the watermark moves when all of it was read.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tailrace.clock import Clock, SystemClock
from tailrace.config.settings import (
    STANDARD_OBJECTS,
    Deleted,
    Formula,
    ObjectSettings,
    SalesforceCredentials,
    SalesforceSettings,
)
from tailrace.config.settings import Api as ApiChoice
from tailrace.errors import (
    ExtractIncomplete,
    QuotaSpent,
    SeveralUnknown,
    TailraceError,
    UnknownField,
    UnknownObject,
    UserError,
    all_of,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.extract.extractor import ApiName, Reading
from tailrace.salesforce.extract.load import (
    capabilities_once,
    run,
    schema_of,
    start_from_destination,
)
from tailrace.salesforce.extract.resources import FOR_ALL, Extraction
from tailrace.salesforce.extract.staging import QUARANTINE, SOURCE, Settled, settle, with_live_rows

# Imported after project, which switches dlt's telemetry off.
import dlt  # isort: skip
from dlt.common.configuration import configspec  # isort: skip
from dlt.common.configuration.specs import CredentialsConfiguration  # isort: skip
from dlt.common.typing import TSecretStrValue  # isort: skip
from dlt.extract import DltResource  # isort: skip

__all__ = ["ExtractResult", "ObjectFacts", "SalesforceLogin", "extract", "salesforce", "settle"]

PASSWORD_LOGIN_RETIRES = (
    "Salesforce retires the login with username and password in Summer '27, and new orgs have it"
    " switched off. Use OAuth client credentials or JWT bearer."
)


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
    retyped_fields: tuple[str, ...] = ()
    api: ApiName = "rest"
    error: TailraceError | None = None


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """What an extract did, and what it cost.

    Attributes:
        calls_used: API calls of this run.
        quota_used_before, quota_used, quota_max: The org's daily budget, as far as it tells.
        warnings: What to change before it breaks.
    """

    objects: tuple[ObjectFacts, ...]
    calls_used: int
    quota_used_before: int | None
    quota_used: int | None
    quota_max: int | None
    seconds: float
    warnings: tuple[str, ...] = ()


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


@dlt.source(name=SOURCE, max_table_nesting=0)
def salesforce(
    objects: Sequence[str] = STANDARD_OBJECTS,
    credentials: SalesforceLogin = dlt.secrets.value,
    *,
    object: dict[str, Any] | None = None,
    settings: SalesforceSettings | None = None,
    api_version: str = SalesforceSettings.api_version,
    api: ApiChoice = SalesforceSettings.api,
    deleted: Deleted = SalesforceSettings.deleted,
    formula: Formula = SalesforceSettings.formula,
    formula_refresh_hours: float | None = None,
    reconcile_days: float | None = None,
    api_calls_max: int | None = None,
    quota_share_max: float | None = None,
) -> Iterator[DltResource]:
    """Salesforce objects as dlt resources, into any destination.

    What a window of changes cannot show lands in side tables; apply those by `settle(pipeline)`
    after the run.

    Args:
        objects: API names, standard and custom.
        credentials: As `[sources.salesforce.credentials]` says.
        object: What differs for one object, by its name: `fields`, `exclude`, `formula`, `api`.
        settings: Every setting at once; what is given here by name is then not read.
    """
    chosen = settings or SalesforceSettings(
        objects=tuple(objects),
        api_version=api_version,
        api=api,
        deleted=deleted,
        formula=formula,
        formula_refresh_hours=formula_refresh_hours,
        reconcile_days=reconcile_days,
        api_calls_max=api_calls_max,
        quota_share_max=quota_share_max,
        per_object={name: _object_settings(given) for name, given in (object or {}).items()},
    )
    session = Api(credentials.credentials(), chosen, clock=SystemClock())
    folder = Path(tempfile.mkdtemp(prefix="tailrace-"))
    extraction = Extraction(session, chosen, folder=folder, keep_going=False)
    weakref.finalize(extraction, shutil.rmtree, folder, ignore_errors=True)
    normalize = dlt.current.source_schema().naming.normalize_path
    for name in objects:
        yield extraction.resource(name, normalize)


def _object_settings(given: Mapping[str, Any]) -> ObjectSettings:
    lists = {key: tuple(given[key]) for key in ("fields", "exclude") if key in given}
    return ObjectSettings(**{**given, **lists})


def extract(
    pipeline: dlt.Pipeline,
    settings: SalesforceSettings,
    credentials: SalesforceCredentials,
    *,
    clock: Clock,
    objects: Sequence[str] | None = None,
    reconcile: bool = False,
    afresh: bool = False,
    progress: Callable[[str, int], None] | None = None,
    before_replacing: Callable[[Sequence[tuple[str, str]]], None] | None = None,
) -> ExtractResult:
    """Land what changed in the objects, each complete or not at all.

    What changed is merged in one transaction. A table that is loaded anew takes several: who
    stops in between leaves a part of it, until the next extract loads it again.

    Args:
        pipeline: Bound to the warehouse and to the dataset where objects land.
        objects: API names; the configured ones when left out.
        reconcile: Compare all ids too, for rows that vanished without a trace.
        afresh: Drop the objects' tables and land all of them anew.
        progress: Told of an object's name and rows as they arrive.
        before_replacing: Told of the objects, with their tables, that are about to be loaded anew.

    Raises:
        UnknownObject, UnknownField, SeveralUnknown: Before anything is landed.
        CredentialRefused, Unreachable: There is no use in going on.
    """
    started = clock.monotonic()
    api = Api(credentials, settings, clock=clock)
    folder = Path(pipeline.working_dir) / "pages"
    extraction = Extraction(
        api,
        settings,
        folder=folder,
        keep_going=True,
        progress=progress,
        before_replacing=before_replacing,
    )
    wanted = objects or settings.objects
    try:
        found = _land(pipeline, extraction, wanted, reconcile=reconcile, afresh=afresh)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(Path(pipeline.working_dir) / "load" / "loaded", ignore_errors=True)
    return ExtractResult(
        objects=found,
        calls_used=api.usage.calls,
        quota_used_before=api.usage.used_at_start,
        quota_used=api.usage.used,
        quota_max=api.usage.max,
        seconds=clock.monotonic() - started,
        warnings=tuple(_warnings(api, found)),
    )


def _land(
    pipeline: dlt.Pipeline,
    extraction: Extraction,
    wanted: Sequence[str],
    *,
    reconcile: bool,
    afresh: bool,
) -> tuple[ObjectFacts, ...]:
    # Closed before the thread is waited for: what still tries to reach Salesforce gives up.
    with capabilities_once(pipeline), ThreadPoolExecutor(1) as beside, closing(extraction.api):
        # Salesforce is asked what there is while the warehouse is asked what it has.
        asked = beside.submit(_ask, extraction, wanted)
        start_from_destination(pipeline)
        (Path(pipeline.working_dir) / "pages").mkdir()
        settle(pipeline, deleted=extraction.settings.deleted)
        names = asked.result()
        extraction.reconcile = frozenset(names if reconcile else ())
        readable = [name for name in names if name not in extraction.errors]
        if readable:
            run(pipeline, extraction, readable, afresh=afresh)
        settled = settle_all(pipeline, extraction, names)
        return facts_of(pipeline, extraction, names, settled)


def _warnings(api: Api, found: Sequence[ObjectFacts]) -> Iterator[str]:
    if api.login_kind == "username and password":
        yield PASSWORD_LOGIN_RETIRES
    for each in found:
        if each.vanished_fields:
            yield (
                f"{each.object}: {', '.join(each.vanished_fields)} cannot be seen any more, and"
                " rows that change have NULL there. Either the field is gone, or the user needs"
                " read access to it."
            )
        if each.retyped_fields:
            yield (
                f"{each.object}: another type in Salesforce, landed as before:"
                f" {', '.join(each.retyped_fields)}"
            )
        if each.quarantined:
            yield (
                f"{each.object}: {each.quarantined:,} cells did not fit their fields and are NULL."
                f" Table {QUARANTINE} says which, without their values."
            )


def _ask(extraction: Extraction, wanted: Sequence[str]) -> list[str]:
    """Log in, and ask for the budget and for the objects; returns their API names."""
    extraction.api.token()
    extraction.api.ask_limits()
    return describe_all(extraction, wanted)


def describe_all(extraction: Extraction, wanted: Sequence[str]) -> list[str]:
    """The API names of the objects, all described before anything is read.

    Raises:
        UnknownObject, UnknownField, SeveralUnknown: Names that are wrong, all of them at once.
    """
    unknown: dict[str, TailraceError] = {}

    def described(name: str) -> str:
        try:
            sobject = extraction.describe(name)
        except (UnknownObject, UnknownField, SeveralUnknown) as error:
            unknown[name] = error
            return name
        except (UserError, *FOR_ALL, QuotaSpent):
            raise
        except TailraceError as error:
            # The service stumbled over this one: the others may go on.
            extraction.errors[name] = error
            return name
        extraction.described[sobject.name] = sobject
        return sobject.name

    with ThreadPoolExecutor(extraction.settings.objects_in_flight_max) as pool:
        names = list(dict.fromkeys(pool.map(described, wanted)))
    if unknown:
        raise all_of([unknown[name] for name in names if name in unknown])
    return names


def settle_all(
    pipeline: dlt.Pipeline, extraction: Extraction, names: Sequence[str]
) -> Mapping[str, Settled]:
    """Apply the side tables; rows that never landed are fetched by reading their object again.

    A row can come into sight without having changed: by a new sharing rule, or by a new owner.
    """
    settled = {each.table: each for each in settle(pipeline, deleted=extraction.settings.deleted)}
    normalize = schema_of(pipeline).naming.normalize_path
    missed = [
        name
        for name in names
        if name in extraction.readings and normalize(name) in settled
        if settled[normalize(name)].missing
    ]
    if missed:
        extraction.reread = frozenset(missed)
        before = {name: extraction.readings[name] for name in missed}
        run(pipeline, extraction, missed)
        for name, reading in before.items():
            # The facts are of both readings: the window of the first, the rows of the second.
            now = extraction.readings[name]
            extraction.readings[name] = replace(reading, landed=now.landed, bad=now.bad)
    return settled


def facts_of(
    pipeline: dlt.Pipeline,
    extraction: Extraction,
    names: Sequence[str],
    settled: Mapping[str, Settled],
) -> tuple[ObjectFacts, ...]:
    """What became of each object."""
    normalize = schema_of(pipeline).naming.normalize_path
    live = with_live_rows(pipeline, map(normalize, names))
    found = []
    for name in names:
        table = normalize(name)
        reading = extraction.readings.get(name)
        error = extraction.errors.get(name)
        if table in settled and settled[table].emptied:
            error = ExtractIncomplete(
                f"Salesforce shows no {name} at all, and there were some",
                hint="Nothing was taken for deleted. Check that the user may still see the object.",
            )
        facts = ObjectFacts(object=name, table=table, empty=table not in live, error=error)
        found.append(facts if reading is None else _with_reading(facts, reading))
    return tuple(found)


def _with_reading(facts: ObjectFacts, reading: Reading) -> ObjectFacts:
    return replace(
        facts,
        rows=reading.rows,
        window_start=reading.window.low,
        window_end=reading.window.high,
        watermark=reading.watermark,
        complete=facts.error is None,
        quarantined=len(reading.bad),
        vanished_fields=reading.layout.vanished,
        new_fields=reading.layout.new,
        retyped_fields=reading.layout.retyped,
        api=reading.api,
    )
