"""A Salesforce org behind an HTTP server: OAuth, REST, Bulk API 2.0, writes, quotas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from tailrace.clock import Clock
from tailrace.testing.http.faults import Fault
from tailrace.testing.http.messages import BadEncoding, Request, Response
from tailrace.testing.http.server import Simulator
from tailrace.testing.org.org import Org
from tailrace.testing.salesforce.apex import ROOT as APEX_ROOT
from tailrace.testing.salesforce.apex import ApexRest
from tailrace.testing.salesforce.behavior import OrgBehavior
from tailrace.testing.salesforce.bulk import Bulk, BulkSettings
from tailrace.testing.salesforce.composite import composite
from tailrace.testing.salesforce.controls import control
from tailrace.testing.salesforce.ingest import Ingest
from tailrace.testing.salesforce.languages import localized
from tailrace.testing.salesforce.logins import Credentials, Logins, private_key_pem
from tailrace.testing.salesforce.pages import Pages
from tailrace.testing.salesforce.record_writes import RecordWrites
from tailrace.testing.salesforce.refusals import (
    SCRIPTED,
    Refused,
    TokenRefused,
    not_found,
    not_played,
    wrong_method,
)
from tailrace.testing.salesforce.rest import Rest
from tailrace.testing.salesforce.write_settings import WriteSettings
from tailrace.testing.salesforce.writer import Writer

HEAD_BYTES_MAX = 16_384
_PATH = re.compile(r"/services/data/v(\d+\.\d)(?:/(.*))?")
_SOAP_PATH = re.compile(r"/services/Soap/u/(\d+\.\d)/?")
_ELSEWHERE = (
    "analytics", "chatter", "composite", "connect", "event", "parameterizedSearch", "process",
    "recent", "search", "support", "theme", "tooling", "ui-api", "wave",
)  # fmt: skip


class SalesforceSimulator(Simulator):
    """`with SalesforceSimulator() as sf:` serves an org at `sf.url`.

    Args:
        org: the org; by default one with a few hundred invented records.
        port: 0 = any free port.
        faults: fault rules.
        clock: source of the time for tokens; records use the org's clock.
        credentials: client id and secret, user name, password and security token.
        token_seconds: lifetime of a session.
        soap_login: whether the SOAP login is enabled.
        api_calls_max: API calls in 24 hours; `api_calls_used` counts them.
        bulk: options of Bulk queries.
        behavior: how the org differs from the documented API.
        writes: rules for writes that describe does not show.
    """

    def __init__(
        self,
        *,
        org: Org | None = None,
        port: int = 0,
        faults: Iterable[Fault] = (),
        clock: Clock | None = None,
        credentials: Credentials | None = None,
        token_seconds: float = 7_200,
        soap_login: bool = True,
        api_calls_max: int = 100_000,
        bulk: BulkSettings | None = None,
        behavior: OrgBehavior | None = None,
        writes: WriteSettings | None = None,
    ) -> None:
        self.org = org or Org()
        super().__init__(port=port, faults=faults, clock=clock)
        self.credentials = credentials or Credentials()
        self.behavior = behavior or OrgBehavior()
        self.api_calls_max = api_calls_max
        self.api_calls_used = 0
        self.logins = Logins(
            self.credentials,
            url=lambda: self.url,
            now=lambda: self.clock.now(),
            org_id=lambda: self.org.org_id,
            behavior=self.behavior,
            token_seconds=token_seconds,
            soap=soap_login,
        )
        pages = Pages()
        self.writer = Writer(self.org, writes or WriteSettings())
        self.apex = ApexRest()
        self._record_writes = RecordWrites(self.writer)
        self.rest = Rest(self.org, pages, self.behavior, self._record_writes)
        self.bulk = Bulk(
            self.org,
            bulk or BulkSettings(),
            pages,
            self.behavior,
            monotonic=self.clock.monotonic,
        )
        self.ingest = Ingest(
            self.writer,
            polls=lambda: self.bulk.settings.polls,
            seconds=lambda: self.bulk.settings.job_seconds,
            monotonic=self.clock.monotonic,
        )

    @property
    def client_id(self) -> str:
        """The connected app's consumer key."""
        return self.credentials.client_id

    @property
    def client_secret(self) -> str:
        """The connected app's consumer secret."""
        return self.credentials.client_secret

    @property
    def username(self) -> str:
        """The integration user's name."""
        return self.credentials.username

    @property
    def password(self) -> str:
        """The integration user's password, without the security token."""
        return self.credentials.password

    @property
    def security_token(self) -> str:
        """The integration user's security token."""
        return self.credentials.security_token

    @property
    def private_key_pem(self) -> str:
        """The key that signs JWT assertions for this org."""
        return private_key_pem()

    def access_token(self) -> str:
        """A valid token, without a login."""
        return self.logins.grant()

    def now(self) -> datetime:
        """The org's time, also used for the Date header."""
        return self.org.now()

    def expire_tokens(self) -> None:
        """End every session."""
        self.logins.expire()

    def control(self, request: Request) -> Response | None:
        """Answer a call under `/_control/`."""
        return control(self, request)

    def failure(self, status: int, request: Request) -> Response:
        """Salesforce's answer for the status of a fault without a body."""
        if request.path.startswith("/services/oauth2/"):
            return TokenRefused("unknown_error", "retry your request", status).response()
        if status in (406, 414, 420, 431, 502, 504):
            page = f"<html><head><title>Error {status}</title></head><body></body></html>"
            return Response(body=page.encode(), headers={"Content-Type": "text/html"})
        code, message = SCRIPTED.get(status, ("UNKNOWN_EXCEPTION", "An unexpected error occurred"))
        return Refused(status, code, message).response()

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        if len(request.target) > HEAD_BYTES_MAX:
            return self._page(414, "URI Too Long")
        if request.head_bytes > HEAD_BYTES_MAX:
            return self._page(431, "Request Header Fields Too Large")
        try:
            return self._routed(request)
        except TokenRefused as refusal:
            return refusal.response()
        except Refused as refusal:
            refusal.message = localized(refusal.code, refusal.message, self.behavior.language)
            return refusal.response()
        except BadEncoding as error:
            return Refused(400, "INVALID_CONTENT_ENCODING", str(error)).response()

    def _routed(self, request: Request) -> Response:
        path = request.path
        if path.rstrip("/") == "/services/oauth2/token":
            return self.logins.token(request)
        soap = _SOAP_PATH.fullmatch(path)
        if soap:
            return self.logins.soap_login(request, soap.group(1))
        if path.rstrip("/") == "/services/data":
            if request.method != "GET":
                raise wrong_method(request.method, "GET,HEAD")
            versions = range(self.behavior.version_first, self.behavior.version_last + 1)
            return Response.of_json([_version(number) for number in versions])
        if path.rstrip("/") == "/services/oauth2/userinfo":
            return self.logins.user_info(request)
        if path.startswith(APEX_ROOT + "/"):
            return self._counted(request, lambda: self.apex.answer(request))
        match = _PATH.fullmatch(path)
        if not match:
            if path.startswith("/services/"):
                raise not_played(path)
            return self._page(404, "Not Found")
        return self._api(request, match.group(1), match.group(2) or "")

    def _api(self, request: Request, version: str, rest: str) -> Response:
        """A call of the data API."""
        number = float(version)

        def answer() -> Response:
            if number < self.behavior.version_first:
                raise Refused(410, "UNSUPPORTED_API_VERSION", "This API version is retired")
            if number > self.behavior.version_last or number % 1:
                raise not_found()
            steps = [step for step in rest.split("/") if step]
            return self._resource(request, version, steps)

        return self._counted(request, answer)

    def _counted(self, request: Request, answer: Callable[[], Response]) -> Response:
        """Check the session and the quota, do the work, and add the usage to the answer."""
        self.logins.admit(request)
        if self.api_calls_used >= self.api_calls_max:
            message = "TotalRequests Limit exceeded."
            raise Refused(403, "REQUEST_LIMIT_EXCEEDED", message, self._usage())
        self.api_calls_used += 1
        try:
            response = answer()
        except Refused as refusal:
            refusal.headers |= self._usage()
            raise
        return Response(
            status=response.status,
            body=response.body,
            headers={**response.headers, **self._usage()},
            gzipped=response.gzipped,
        )

    def _resource(self, request: Request, version: str, steps: list[str]) -> Response:
        root = f"/services/data/v{version}"
        if not steps:
            names = ("sobjects", "query", "queryAll", "limits", "jobs", "composite")
            return Response.of_json({name: f"{root}/{name}" for name in names})
        if steps[:2] == ["jobs", "query"]:
            return self.bulk.answer(request, version, steps[2:])
        if steps == ["limits"]:
            if request.method != "GET":
                raise wrong_method(request.method, "GET,HEAD")
            return Response.of_json(self._limits())
        if steps[:2] == ["jobs", "ingest"]:
            return self.ingest.answer(request, version, steps[2:])
        if steps == ["composite"]:
            return composite(request, version, self.rest.answer)
        if steps[:2] == ["composite", "sobjects"]:
            return self._record_writes.collection(request, steps[2:])
        if (steps[0] in _ELSEWHERE and steps != ["tooling", "query"]) or steps[0] == "jobs":
            raise not_played(request.path)
        return self.rest.answer(request, version, steps)

    def _usage(self) -> dict[str, str]:
        used = f"api-usage={self.api_calls_used}/{self.api_calls_max}; api-bursts=1/750"
        return {"Sforce-Limit-Info": used}

    def _limits(self) -> dict[str, dict[str, int]]:
        jobs_max = self.bulk.settings.jobs_max
        return {
            "DailyApiRequests": _limit(self.api_calls_max, self.api_calls_used),
            "DailyBulkApiBatches": _limit(
                self.writer.settings.ingest_batches_max, self.ingest.batches_today()
            ),
            "DailyBulkV2QueryFileStorageMB": _limit(976_562, 0),
            "DailyBulkV2QueryJobs": _limit(jobs_max, self.bulk.created_today()),
            "DailyAsyncApexExecutions": _limit(250_000, 0),
            "DataStorageMB": _limit(1_024, 12),
        }

    def _page(self, status: int, phrase: str) -> Response:
        page = f"<html><head><title>{phrase}</title></head><body>{phrase}</body></html>"
        return Response(
            status=status, body=page.encode(), headers={"Content-Type": "text/html;charset=UTF-8"}
        )


def _limit(most: int, used: int) -> dict[str, int]:
    return {"Max": most, "Remaining": max(most - used, 0)}


def _version(number: int) -> dict[str, str]:
    """Three releases a year: v64.0 is Summer '25."""
    season = ("Winter", "Spring", "Summer")[(number - 62) % 3]
    year = 25 + (number - 62) // 3
    url = f"/services/data/v{number}.0"
    return {"label": f"{season} '{year:02d}", "url": url, "version": f"{number}.0"}
