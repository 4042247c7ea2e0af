"""Salesforce objects in the warehouse: a dlt source for any pipeline, and Tailrace's own extract.

    pipeline = dlt.pipeline("crm", destination="duckdb", dataset_name="salesforce")
    pipeline.run(salesforce(objects=["Account", "Contact"]), loader_file_format="parquet")

There is one resource for each object, named as its table: `contact`, `opportunity_line_item`. Each
reads what changed since its watermark and merges it by id. The watermark moves when all of it was
read.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration import configspec
from dlt.common.configuration.specs import CredentialsConfiguration
from dlt.common.typing import TSecretStrValue
from dlt.extract import DltResource

from tailrace.clock import Clock, SystemClock
from tailrace.config.settings import (
    STANDARD_OBJECTS,
    ApiSetting,
    Deleted,
    Formula,
    ObjectSettings,
    SalesforceCredentials,
    SalesforceSettings,
)
from tailrace.errors import (
    ObjectNotVisible,
    QuotaSpent,
    SeveralUnknown,
    TailraceError,
    UnknownField,
    UnknownObject,
    UserError,
    all_of,
)
from tailrace.salesforce.answers import readable_answers
from tailrace.salesforce.client import Api
from tailrace.salesforce.extract.facts import ExtractResult, ObjectFacts, facts_of, warnings_of
from tailrace.salesforce.extract.load import (
    capabilities_once,
    library_logs_to_debug,
    run,
    schema_of,
    start_from_destination,
)
from tailrace.salesforce.extract.resources import (
    FATAL_ERRORS,
    HAD_ROWS,
    ORG_ID,
    ExtractContext,
    check_org,
    check_table_name,
    table_name_taken,
)
from tailrace.salesforce.extract.staging import (
    SOURCE,
    CorrectionResult,
    apply_corrections,
    resource_states,
    tables_with_live_rows,
)

__all__ = [
    "ExtractResult",
    "ObjectFacts",
    "SalesforceLogin",
    "apply_corrections",
    "extract",
    "salesforce",
]


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
    audience: str | None = None

    def credentials(self) -> SalesforceCredentials:
        """The same as a frozen value."""
        return SalesforceCredentials(
            instance_url=self.instance_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            username=self.username,
            password=self.password,
            security_token=self.security_token,
            private_key=self.private_key,
            access_token=self.access_token,
            audience=self.audience,
        )


@dlt.source(name=SOURCE, max_table_nesting=0)
def salesforce(
    objects: Sequence[str] = STANDARD_OBJECTS,
    credentials: SalesforceLogin = dlt.secrets.value,
    *,
    object: dict[str, Any] | None = None,
    settings: SalesforceSettings | None = None,
    api_version: str = SalesforceSettings.api_version,
    api: ApiSetting = SalesforceSettings.api,
    deleted: Deleted = SalesforceSettings.deleted,
    formula: Formula = SalesforceSettings.formula,
    formula_refresh_hours: float | None = None,
    reconcile_days: float | None = None,
    api_calls_max: int | None = None,
    quota_share_max: float | None = None,
) -> Iterator[DltResource]:
    """Salesforce objects as dlt resources, into any destination.

    Deletions, refreshed columns and vanished rows land in staging tables; apply them with
    `apply_corrections(pipeline)` after the run.

    Args:
        objects: API names, standard and custom.
        credentials: `[sources.salesforce.credentials]`.
        object: Settings of single objects, by name: `fields`, `exclude`, `formula`, `api`.
        settings: Every setting at once; the arguments by name are then ignored.
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
    context = ExtractContext(session, chosen, folder=folder, continue_on_error=False)
    weakref.finalize(context, shutil.rmtree, folder, ignore_errors=True)
    normalize = dlt.current.source_schema().naming.normalize_path
    check_distinct_tables(objects, normalize)
    for name in objects:
        yield context.resource(name, normalize)


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
    full_refresh: bool = False,
    progress: Callable[[str, int], None] | None = None,
    before_replacing: Callable[[Sequence[tuple[str, str]]], None] | None = None,
) -> ExtractResult:
    """Land what changed in the objects, each of them completely or not at all.

    Changes are merged in one transaction. Loading a whole table takes several: an extract that dies
    in between leaves a part of it, until the next extract loads it again.

    Args:
        pipeline: Bound to the warehouse and to the dataset where objects land.
        objects: API names; the configured ones by default.
        reconcile: Also compare all ids, to find rows that vanished without a trace.
        full_refresh: Drop the objects' tables and load all rows again.
        progress: Called with an object's name and the number of rows that arrived.
        before_replacing: Called with the objects, and their tables, that are about to be loaded
            from the start.

    Raises:
        UnknownObject, UnknownField, SeveralUnknown: Names that never landed are wrong; nothing was
            landed.
        TableNameTaken, OtherOrg: Nothing was landed.
        CredentialRefused, Unreachable: No object can be read.
    """
    started = clock.monotonic()
    api = Api(credentials, settings, clock=clock)
    folder = Path(pipeline.working_dir) / "pages"
    context = ExtractContext(
        api, settings, folder=folder, continue_on_error=True, progress=progress
    )
    context.before_replacing = before_replacing
    context.full_refresh = full_refresh
    wanted = tuple(objects or settings.objects)
    try:
        with library_logs_to_debug():
            facts = _extract(
                pipeline, context, wanted, reconcile=reconcile, is_complete_refresh=objects is None
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(Path(pipeline.working_dir) / "load" / "loaded", ignore_errors=True)
    return ExtractResult(
        objects=facts,
        calls_used=api.usage.calls,
        quota_used_before=api.usage.used_at_start,
        quota_used=api.usage.used,
        quota_max=api.usage.max,
        seconds=clock.monotonic() - started,
        warnings=tuple(warnings_of(context, facts)),
    )


def select_objects(settings: SalesforceSettings, names: Sequence[str]) -> tuple[str, ...]:
    """The API names of the objects that are named on a command line, in any case.

    Args:
        names: API names (`Contact`), or table names (`order_line__c`), of configured objects; or
            API names of objects that are not configured.
    """
    naming = dlt.Schema(SOURCE).naming
    configured = {}
    for name in settings.objects:
        configured[name.lower()] = configured[naming.normalize_path(name)] = name
    return tuple(dict.fromkeys(configured.get(name.lower(), name) for name in names))


def check_distinct_tables(names: Sequence[str], normalize: Callable[[str], str]) -> None:
    """Refuse objects whose names become the same table.

    Raises:
        TableNameTaken: Names both objects.
    """
    owners: dict[str, str] = {}
    for name in names:
        owner = owners.setdefault(normalize(name), name)
        if owner.lower() != name.lower():
            raise table_name_taken(owner, name, normalize(name))


def _extract(
    pipeline: dlt.Pipeline,
    context: ExtractContext,
    wanted: Sequence[str],
    *,
    reconcile: bool,
    is_complete_refresh: bool,
) -> tuple[ObjectFacts, ...]:
    settings = context.settings
    # The session is closed before the thread ends, so that a login that still waits gives up.
    with capabilities_once(pipeline), ThreadPoolExecutor(1) as worker, closing(context.api):
        # Salesforce describes the objects while the warehouse restores the state.
        asked = worker.submit(ask, context, wanted)
        start_from_destination(pipeline)
        (Path(pipeline.working_dir) / "pages").mkdir()
        apply_corrections(pipeline, deleted=settings.deleted)
        normalize = schema_of(pipeline).naming.normalize_path
        names, unknown, org_id = asked.result()
        states = resource_states(pipeline)
        check_distinct_tables((*settings.objects, *names), normalize)
        for name in names:
            check_table_name(states.get(normalize(name), {}), name, normalize(name))
        source_state = (pipeline.state.get("sources") or {}).get(SOURCE) or {}
        is_accepted = context.full_refresh and is_complete_refresh
        check_org({ORG_ID: source_state.get(ORG_ID)}, org_id, is_full_refresh=is_accepted)
        _hold_unknown(
            context, names, unknown, {name: states.get(normalize(name)) for name in names}
        )
        context.had_rows = tables_with_live_rows(pipeline, map(normalize, names)) | {
            table for table, state in states.items() if state.get(HAD_ROWS)
        }
        context.reconcile = frozenset(names if reconcile else ())
        readable = [name for name in names if name not in context.errors]
        if readable:
            run(pipeline, context, readable, full_refresh=context.full_refresh)
        corrections = _correct_and_read_missing(pipeline, context, names)
        return facts_of(pipeline, context, names, corrections)


def ask(
    context: ExtractContext, wanted: Sequence[str]
) -> tuple[list[str], dict[str, TailraceError], str | None]:
    """Log in, and ask for the budget, the objects and the org's id.

    Returns:
        The API names, the errors of names that Salesforce does not know, and the org's id.
    """
    with readable_answers("the org"):
        context.api.token()
        context.api.ask_limits()
        names, unknown = describe_all(context, wanted)
        return names, unknown, context.api.org_id()


def describe_all(
    context: ExtractContext, wanted: Sequence[str]
) -> tuple[list[str], dict[str, TailraceError]]:
    """Describe all objects before anything is read.

    Returns:
        The API names; and the errors of names that Salesforce does not know.
    """
    unknown: dict[str, TailraceError] = {}

    def described(name: str) -> str:
        try:
            with readable_answers(name):
                sobject = context.describe(name)
        except (UnknownObject, UnknownField, SeveralUnknown) as error:
            unknown[name] = error
            return name
        except (UserError, *FATAL_ERRORS, QuotaSpent):
            raise
        except TailraceError as error:
            # The service failed for this object; the others go on.
            context.fail(name, error)
            return name
        context.described[sobject.name] = sobject
        return sobject.name

    with ThreadPoolExecutor(context.settings.objects_in_flight_max) as pool:
        names = list(dict.fromkeys(pool.map(described, wanted)))
    return names, unknown


def _hold_unknown(
    context: ExtractContext,
    names: Sequence[str],
    unknown: Mapping[str, TailraceError],
    states: Mapping[str, Mapping[str, Any] | None],
) -> None:
    """Record unknown names of objects that landed before as failures of these objects.

    Raises:
        UnknownObject, UnknownField, SeveralUnknown: A name never landed, so it is a mistake in the
            configuration; all such names are reported together.
    """
    mistakes = []
    for name in names:
        if name not in unknown:
            continue
        error = unknown[name]
        if not (states.get(name) or {}).get("fields"):
            mistakes.append(error)
        elif isinstance(error, UnknownObject):
            context.errors[name] = ObjectNotVisible(
                f"{name} landed before, and this user cannot see it any more",
                hint=f"Give the user read access to {name}, or take it out of objects under"
                " [sources.salesforce] and out of the models.",
            )
        else:
            context.errors[name] = ObjectNotVisible(error.message, hint=error.hint)
    if mistakes:
        raise all_of(mistakes)


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
        run(pipeline, context, missed)
        for name, extracted in before.items():
            # The facts have the window of the first read, and the rows of the second one.
            again = context.extracted[name]
            context.extracted[name] = replace(
                extracted, parquet=again.parquet, rejected=again.rejected
            )
    return corrections
