"""The settings that a project may have, as frozen values with their limits.

A field's name is its key in `.dlt/config.toml` or `.dlt/secrets.toml`; nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Literal

from tailrace.dataclass import dataclass

Formula = Literal["exclude", "land", "refresh"]
ApiSetting = Literal["auto", "rest", "bulk"]
Deleted = Literal["flag", "remove"]

# Where nothing at all is an answer: no throttle, no waiting, not one call. Elsewhere a zero would
# stop everything.
MAY_BE_ZERO = frozenset(
    {
        "api_calls_max",
        "bulk_rows_min",
        "events_per_second_max",
        "first_run_members_max",
        "formula_refresh_hours",
        "late_hours",
        "lock_wait_seconds_max",
        "quota_share_max",
        "reconcile_days",
        "rejected_share_min",
        "requests_per_second_max",
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
    """`[tailrace]`: the warehouse and its datasets.

    Attributes:
        warehouse: Engine that holds all data: `duckdb`, `postgres`, `ducklake`, `spark`, `mariadb`,
            or another SQL destination of dlt.
        dataset: Schema that Salesforce objects land in.
        ledger_dataset: Schema of the ledger.
        model_dataset: Schema of the views and tables that models are built into.
        model_role: On PostgreSQL, the role that the SQL of models runs as; it needs to read the
            three datasets only. The user of the connection if left out.
        memory_share_max: Share of the machine's memory that DuckDB may use.
        lock_wait_seconds_max: Time to wait for another run to end; 0 exits with 75 at once.
        lock_lease_seconds: Time after which the lock of a dead process on another machine expires.
        first_run_members_max: Members that a first run into an empty ledger may send; 0 removes
            the limit.
        audiences_in_flight_max: On DuckDB, audiences that are planned at the same time, if no
            table that they read has more than 1,000,000 rows.
        salt: Text put in front of each value before it is hashed (`hash: sha256`).
        state_url: Where the DuckDB file is kept between runs on throw-away machines:
            `s3://bucket/prefix`, `gs://`, `az://` or `file:///folder`.
    """

    warehouse: str = "duckdb"
    dataset: str = "salesforce"
    ledger_dataset: str = "tailrace"
    model_dataset: str = "tailrace_models"
    model_role: str | None = None
    memory_share_max: float = 0.5
    lock_wait_seconds_max: float = 0.0
    lock_lease_seconds: float = 60.0
    first_run_members_max: int = 10_000
    audiences_in_flight_max: int = 2
    salt: str | None = field(default=None, repr=False)
    state_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class StateSettings:
    """`[tailrace.state]`: how the state is transferred to and from `state_url`.

    Attributes:
        parts_in_flight_max: Parts of the file that are transferred at the same time.
        timeout_seconds: Time that one request may take.
        retry_seconds_max: Time to keep retrying one request.
    """

    parts_in_flight_max: int = 6
    timeout_seconds: float = 60.0
    retry_seconds_max: float = 60.0


@dataclass(frozen=True, kw_only=True)
class StateCredentials:
    """`[tailrace.state.credentials]`: the login to the object store of `state_url`.

    The keys are those of dlt's filesystem destination. What is left out is read from the
    environment variables of the store (`AWS_ACCESS_KEY_ID`, `GOOGLE_SERVICE_ACCOUNT`,
    `AZURE_STORAGE_ACCOUNT_NAME`) or from the machine's role.

    Attributes:
        endpoint_url: URL of an S3-compatible server, or of a private endpoint of the store.
        region_name: Region of the S3 bucket.
        aws_access_key_id: Access key of S3.
        aws_secret_access_key: Secret of the access key.
        aws_session_token: Token of a temporary access key.
        service_account_file: JSON key file of Google Cloud, relative to the project.
        azure_storage_account_name: Storage account of Azure.
        azure_storage_account_key: Key of the storage account.
        azure_storage_sas_token: Token for the storage account, instead of its key.
    """

    endpoint_url: str | None = None
    region_name: str | None = None
    aws_access_key_id: str | None = field(default=None, repr=False)
    aws_secret_access_key: str | None = field(default=None, repr=False)
    aws_session_token: str | None = field(default=None, repr=False)
    service_account_file: str | None = field(default=None, repr=False)
    azure_storage_account_name: str | None = None
    azure_storage_account_key: str | None = field(default=None, repr=False)
    azure_storage_sas_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class DbtSettings:
    """`[tailrace.dbt]`: the dbt project whose models audiences read with `model: dbt://NAME`.

    Attributes:
        manifest: dbt's `manifest.json`, relative to the project.
        manifest_bytes_max: Size up to which the file is read.
    """

    manifest: str = "target/manifest.json"
    manifest_bytes_max: int = 268_435_456


@dataclass(frozen=True, kw_only=True)
class AlertSettings:
    """`[tailrace.alerts]`: when an audience needs attention, and who is alerted.

    Attributes:
        urls: URLs of the receivers, as apprise writes them: `slack://…`, `pagerduty://…`,
            `mailtos://…`, `jsons://…`. They hold tokens.
        on: What is alerted: `broken`, `failed`, `held`, `rejected`, `late`, `recovered`; `failed`
            includes `broken`.
        rejected_share_min: Share of an audience's members from which rejected ones are a problem;
            0 means that one is.
        late_hours: Time without a successful run after which an audience is late; 0 means never.
        timeout_seconds: Time that all receivers together have to take an alert.
        report_url: Link that each alert shows; on GitHub Actions and GitLab CI, the job's page.
    """

    urls: tuple[str, ...] = field(default=(), repr=False)
    on: tuple[str, ...] = ("broken", "failed", "held", "rejected", "late", "recovered")
    rejected_share_min: float = 0.0
    late_hours: float = 24.0
    timeout_seconds: float = 20.0
    report_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class SalesforceCredentials:
    """`[sources.salesforce.credentials]`: one of the four ways to log in.

    Attributes:
        instance_url: URL of the org, such as https://acme.my.salesforce.com.
        client_id: Consumer key of the connected app.
        client_secret: Consumer secret; with `client_id`, the OAuth 2.0 client credentials flow.
        username: Integration user, for the JWT bearer and password logins.
        password: Password of `username`; Salesforce is retiring this login.
        security_token: Security token that belongs to the password.
        private_key: PEM text of the JWT bearer key.
        private_key_file: File with the JWT bearer key, relative to the project.
        access_token: Token of an existing session; it is not renewed.
        audience: Audience of the JWT; the login host of the org if left out.
    """

    instance_url: str
    client_id: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    security_token: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    private_key_file: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    audience: str | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectSettings:
    """`[sources.salesforce.object.<Name>]`: what differs for one object.

    Attributes:
        fields: Fields to extract; all fields if left out.
        exclude: Fields to leave out.
        formula: As `formula` under `[sources.salesforce]`, for this object.
        api: As `api` under `[sources.salesforce]`, for this object.
        partition_by: Partitions of the landed table: `year`, `month` or `day` of a date field, such
            as `month(CreatedDate)`.
    """

    fields: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    formula: Formula | None = None
    api: ApiSetting | None = None
    partition_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class SalesforceSettings:
    """`[sources.salesforce]`: what to extract, and within which limits.

    Attributes:
        objects: API names of the objects to extract.
        api_version: Version of the Salesforce API.
        api: `rest`, `bulk`, or `auto`: REST below `bulk_rows_min` rows, else Bulk API 2.0.
        deleted: `flag` keeps deleted rows with `is_deleted`; `remove` deletes them.
        formula: `land` formula fields as read, `exclude` them, or `refresh` them for every row.
        formula_refresh_hours: Least time between two refreshes with `formula = "refresh"`.
        reconcile_days: Time between two full comparisons of ids; without it, only `--reconcile`.
        pages_in_flight_max: Pages of one Bulk result that are downloaded at the same time.
        objects_in_flight_max: Objects that are extracted at the same time.
        page_rows_max: Rows of one Bulk page.
        bulk_rows_min: Number of rows from which `api = "auto"` uses the Bulk API.
        timeout_seconds: Time to wait for a connection or for the next bytes of a response.
        attempts_max: Attempts for one request.
        job_seconds_max: Time that one Bulk job may take.
        answer_seconds_max: Time that one response may take.
        answer_bytes_max: Size of one response after decompression.
        api_calls_max: API calls that one extract may use; no limit if left out.
        quota_share_max: Share of the org's daily API quota at which an extract stops.
    """

    objects: tuple[str, ...] = STANDARD_OBJECTS
    api_version: str = "64.0"
    api: ApiSetting = "auto"
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
    answer_seconds_max: float = 600.0
    answer_bytes_max: int = 1_000_000_000
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
class BatchLimits:
    """The largest request: its uncompressed bytes, and its messages."""

    bytes_max: int
    messages_max: int


@dataclass(frozen=True, kw_only=True)
class SendLimits:
    """What a sender may do at a destination. A rate of 0 means no limit."""

    batch: BatchLimits
    requests_in_flight_max: int
    messages_per_second_max: float
    retry_seconds_max: float
    requests_per_second_max: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SegmentSettings:
    """`[destination.segment]`: where to send, and within which limits.

    Attributes:
        type: Kind of receiver.
        host: Tracking API; https://events.eu1.segmentapis.com in the EU.
        write_key: Write key of the source.
        events_per_second_max: Throttle; 0 for none.
        requests_in_flight_max: Requests that are open at the same time.
        batch_bytes_max: Size of a batch before compression.
        batch_events_max: Messages of a batch; with a throttle, at most one second's worth.
        timeout_seconds: Time to wait for the next bytes of a response.
        answer_seconds_max: Time until a response has to be complete.
        compress: Send requests with gzip; false for hosts that refuse it.
        retry_seconds_max: Time to keep retrying before the run fails with 1.
        resend_hours_max: Age at which pending messages are sent with `--resend` only.
        check_write_key: Ask Segment about the write key before the first request.
        settings_host: Host that the write key is checked at; the region's own if left out.
        proxy: URL of an HTTP proxy for requests to Segment.
        oauth_client_id: Id of the OAuth application, to send with OAuth 2.0.
        oauth_client_key: PEM text of the application's private key.
        oauth_key_id: Id of that key.
        oauth_auth_server: Authorization server; the region's own if left out.
        oauth_scope: Scope to request.
        public_api_token: Token of the Public API, to compare acknowledged with received events.
        public_api_host: Public API; https://eu1.api.segmentapis.com in the EU.
        source_id: Id of the source in the Public API; looked up if left out.
        overview_seconds_max: Time to wait for Delivery Overview to count the events.
    """

    type: Literal["segment"] = "segment"
    host: str = "https://api.segment.io"
    write_key: str = field(repr=False)
    events_per_second_max: float = 1_000.0
    requests_in_flight_max: int = 8
    batch_bytes_max: int = 490_000
    batch_events_max: int = 2_500
    timeout_seconds: float = 15.0
    answer_seconds_max: float = 60.0
    compress: bool = True
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

    def batch_limits(self) -> BatchLimits:
        """The largest request.

        It holds at most the messages of one second of the rate limit: more would be a burst.
        """
        messages_max = self.batch_events_max
        if self.events_per_second_max:
            messages_max = min(messages_max, max(1, int(self.events_per_second_max)))
        return BatchLimits(bytes_max=self.batch_bytes_max, messages_max=messages_max)

    def receiver(self) -> tuple[str, str]:
        """The host, and the credential that names the source there."""
        return self.host, self.write_key

    def send_limits(self) -> SendLimits:
        """The limits of batches, requests, rates and retries."""
        return SendLimits(
            batch=self.batch_limits(),
            requests_in_flight_max=self.requests_in_flight_max,
            messages_per_second_max=self.events_per_second_max,
            retry_seconds_max=self.retry_seconds_max,
        )
