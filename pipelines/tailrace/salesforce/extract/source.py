"""Salesforce objects as a dlt source, for any pipeline.

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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration import configspec
from dlt.common.configuration.specs import CredentialsConfiguration
from dlt.common.typing import TSecretStrValue
from dlt.extract import DltResource

from tailrace.clock import SystemClock
from tailrace.config.settings import (
    STANDARD_OBJECTS,
    ApiSetting,
    Deleted,
    Formula,
    ObjectSettings,
    SalesforceCredentials,
    SalesforceSettings,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.extract.context import ExtractContext, check_distinct_tables
from tailrace.salesforce.extract.resources import Resources
from tailrace.salesforce.extract.staging import SOURCE, apply_corrections

__all__ = ["SalesforceLogin", "apply_corrections", "salesforce"]


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
    resources = Resources(context)
    for name in objects:
        yield resources.resource(name, normalize)


def _object_settings(given: Mapping[str, Any]) -> ObjectSettings:
    lists = {key: tuple(given[key]) for key in ("fields", "exclude") if key in given}
    return ObjectSettings(**{**given, **lists})
