"""`[destination.salesforce]`: where to write, and within which limits."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from tailrace.config.project import ProjectConfig
from tailrace.config.settings import (
    BatchLimits,
    SalesforceCredentials,
    SalesforceSettings,
    SendLimits,
)
from tailrace.dataclass import dataclass
from tailrace.destinations.salesforce.records import COLLECTION_ROWS_MAX

# A request of 200 records; Salesforce takes bodies of some 50 MB.
REQUEST_BYTES_MAX = 5_000_000


@dataclass(frozen=True, kw_only=True)
class SalesforceWriteSettings:
    """`[destination.salesforce]`: where to write, and within which limits.

    Attributes:
        type: Kind of receiver.
        api_version: Version of the Salesforce API; that of `[sources.salesforce]` if left out.
        requests_in_flight_max: Requests that are open at the same time.
        bulk_rows_min: Number of rows above which `api: auto` uses the Bulk API.
        timeout_seconds: Time to wait for the next bytes of a response.
        answer_seconds_max: Time until a response has to be complete.
        retry_seconds_max: Time to keep retrying before the run fails with 1.
        job_seconds_max: Time that one Bulk job may take.
        resend_hours_max: Age at which pending records are written with `--resend` only. Writes
            are idempotent, so the default is ten years.
        api_calls_max: API calls that one run may use for writes; no limit if left out.
        quota_share_max: Share of the org's daily API quota at which writes stop.
    """

    # Tables below the section that are read on their own.
    SUBSECTIONS: ClassVar[tuple[str, ...]] = ("credentials",)

    type: Literal["salesforce"] = "salesforce"
    api_version: str | None = None
    requests_in_flight_max: int = 4
    bulk_rows_min: int = 2_000
    timeout_seconds: float = 120.0
    answer_seconds_max: float = 600.0
    retry_seconds_max: float = 900.0
    job_seconds_max: float = 7_200.0
    resend_hours_max: float = 87_600.0
    api_calls_max: int | None = None
    quota_share_max: float | None = None

    def send_limits(self) -> SendLimits:
        """The limits of batches, requests and retries."""
        return SendLimits(
            batch=BatchLimits(bytes_max=REQUEST_BYTES_MAX, messages_max=COLLECTION_ROWS_MAX),
            requests_in_flight_max=self.requests_in_flight_max,
            messages_per_second_max=0.0,
            retry_seconds_max=self.retry_seconds_max,
        )

    def receiver(self) -> tuple[str, str]:
        """Empty: the org is only known from the login; see `OrgSettings`."""
        return "", ""


@dataclass(frozen=True, kw_only=True)
class OrgSettings:
    """A section with the login of its org.

    Attributes:
        source: What the Salesforce client reads: limits, version and budget.
    """

    section: SalesforceWriteSettings
    credentials: SalesforceCredentials
    source: SalesforceSettings

    @property
    def resend_hours_max(self) -> float:
        return self.section.resend_hours_max

    def send_limits(self) -> SendLimits:
        """See `SalesforceWriteSettings.send_limits`."""
        return self.section.send_limits()

    def receiver(self) -> tuple[str, str]:
        """The org's address. A user or an app of the same org is the same receiver."""
        return self.credentials.instance_url.rstrip("/").lower(), ""


def read_section(project: ProjectConfig, destination: str) -> SalesforceWriteSettings:
    """The section `[destination.NAME]`, which may be left out: the source's login is used then."""
    return project.destination(destination, SalesforceWriteSettings, secrets=False)


def read_settings(project: ProjectConfig, destination: str) -> OrgSettings:
    """The section with its credentials, or with those of `[sources.salesforce]`.

    Raises:
        MissingCredential: There is no instance URL, or nothing to log in with.
        InsecureHost: The instance URL is http:// and not on this machine.
    """
    section = read_section(project, destination)
    source = project.salesforce()
    return OrgSettings(
        section=section,
        credentials=project.salesforce_credentials(destination),
        source=replace(
            source,
            api_version=section.api_version or source.api_version,
            timeout_seconds=section.timeout_seconds,
            answer_seconds_max=section.answer_seconds_max,
            job_seconds_max=section.job_seconds_max,
            api_calls_max=section.api_calls_max,
            quota_share_max=section.quota_share_max,
        ),
    )
