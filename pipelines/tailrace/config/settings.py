"""The settings that a project may have, as frozen values with their limits.

A field's name is its key in `.dlt/config.toml` or `.dlt/secrets.toml`; nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Formula = Literal["exclude", "land", "refresh"]
Api = Literal["auto", "rest", "bulk"]
Deleted = Literal["flag", "remove"]

# Where nothing at all is an answer: no throttle, no waiting, not one call. Elsewhere a zero would
# stop everything.
MAY_BE_ZERO = frozenset(
    {
        "api_calls_max",
        "bulk_rows_min",
        "events_per_second_max",
        "formula_refresh_hours",
        "lock_wait_seconds_max",
        "quota_share_max",
        "reconcile_days",
        "resend_hours_max",
        "retry_seconds_max",
    }
)

STANDARD_OBJECTS = (
    "Account",
    "Contact",
    "Lead",
    "Opportunity",
    "Campaign",
    "CampaignMember",
    "Case",
    "Task",
    "Event",
    "User",
)


@dataclass(frozen=True, kw_only=True)
class WarehouseSettings:
    """`[tailrace]`: where things live."""

    warehouse: str = "duckdb"
    dataset: str = "salesforce"
    ledger_dataset: str = "tailrace"
    model_dataset: str = "tailrace_models"
    memory_share_max: float = 0.5
    lock_wait_seconds_max: float = 0.0
    lock_lease_seconds: float = 60.0
    salt: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class SalesforceCredentials:
    """`[sources.salesforce.credentials]`: one of the four ways to log in."""

    instance_url: str
    client_id: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    security_token: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    private_key_file: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class ObjectSettings:
    """`[sources.salesforce.object.<Name>]`: what differs for one object."""

    fields: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    formula: Formula | None = None
    api: Api | None = None


@dataclass(frozen=True, kw_only=True)
class SalesforceSettings:
    """`[sources.salesforce]`: what to extract, and within which limits."""

    objects: tuple[str, ...] = STANDARD_OBJECTS
    api_version: str = "64.0"
    api: Api = "auto"
    deleted: Deleted = "flag"
    formula: Formula = "land"
    formula_refresh_hours: float | None = None
    reconcile_days: float | None = None
    pages_in_flight_max: int = 5
    objects_in_flight_max: int = 4
    page_rows_max: int = 50_000
    bulk_rows_min: int = 2_000
    timeout_seconds: float = 60.0
    attempts_max: int = 6
    job_seconds_max: float = 7_200.0
    api_calls_max: int | None = None
    quota_share_max: float | None = None
    per_object: Mapping[str, ObjectSettings] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, name: str) -> ObjectSettings:
        """The settings of one object, by its API name in any case."""
        for known, settings in self.per_object.items():
            if known.lower() == name.lower():
                return settings
        return ObjectSettings()


@dataclass(frozen=True, kw_only=True)
class SegmentSettings:
    """`[destination.segment]`: where to send, and within which limits."""

    host: str = "https://api.segment.io"
    write_key: str = field(repr=False)
    events_per_second_max: float = 1_000.0
    requests_in_flight_max: int = 8
    batch_bytes_max: int = 490_000
    batch_events_max: int = 2_500
    timeout_seconds: float = 15.0
    retry_seconds_max: float = 900.0
    resend_hours_max: float = 24.0
    check_write_key: bool = True
    settings_host: str | None = None
    proxy: str | None = field(default=None, repr=False)
    oauth_client_id: str | None = field(default=None, repr=False)
    oauth_client_key: str | None = field(default=None, repr=False)
    oauth_key_id: str | None = field(default=None, repr=False)
    oauth_auth_server: str | None = None
    oauth_scope: str | None = None
    public_api_token: str | None = field(default=None, repr=False)
    public_api_host: str = "https://api.segmentapis.com"
    source_id: str | None = None
    overview_seconds_max: float = 90.0
