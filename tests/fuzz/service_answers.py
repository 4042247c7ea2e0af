"""Answers of Salesforce and Segment with wrong types, missing keys, HTML, and other statuses."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import dlt
from salesforce_landing import QuickClock

from tailrace.cli.commands.doctor import examine
from tailrace.clock import SystemClock
from tailrace.config.settings import SalesforceCredentials, SalesforceSettings, SegmentSettings
from tailrace.destinations.messages import Message
from tailrace.destinations.segment.delivery_overview import wait_for_overview
from tailrace.destinations.segment.http import SegmentClient
from tailrace.errors import AnswerUnreadable, InternalError, TailraceError
from tailrace.salesforce.client import Api
from tailrace.salesforce.extract.context import ExtractContext, ask
from tailrace.salesforce.login import log_in
from tailrace.testing import Fault, SalesforceSimulator, SegmentSimulator

from .mutations import BODIES, changed_value

STATUSES = (200, 200, 200, 200, 201, 204, 206, 302, 400, 401, 403, 404, 429, 500, 503)
SOAP = b"""<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">
<s:Body><loginResponse><result><sessionId>00D!a</sessionId><serverUrl>https://a/b</serverUrl>
</result></loginResponse></s:Body></s:Envelope>"""
CSV = b'"Id","IsDeleted","SystemModstamp","LastName"\n"003A","false","2026-01-01T00:00:00Z","x"\n'
# What this fuzz itself makes of an answer counts as read; a class that nothing foresaw does not.
UNFORESEEN = "an answer of Salesforce cannot be read ("


class SalesforceAnswers:
    """An org that gives one kind of wrong answer, and all that Tailrace asks an org."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sf = SalesforceSimulator()
        self.sf.__enter__()
        self.sf.bulk.settings.page_rows = 100
        self.answers = self._true_answers()
        (folder / ".dlt").mkdir(parents=True)
        self.unforeseen: list[str] = []

    def close(self) -> None:
        """Stop the org."""
        self.sf.__exit__(None, None, None)

    def play(self, choose: random.Random) -> None:
        """Break an answer and ask for it.

        Raises:
            AssertionError: The error is one of Tailrace's own.
        """
        self.sf.faults.clear()
        path = choose.choice(list(self.answers))
        fault = self._fault(choose, path)
        self.sf.faults.append(fault)
        asked = choose.choices(
            [self._read, self._describe, self._login, self._doctor], (6, 1, 2, 1)
        )
        try:
            asked[0](choose)
        except TailraceError as error:
            check(error, (path, fault.status, fault.body))
            if isinstance(error, AnswerUnreadable) and UNFORESEEN in error.message:
                self.unforeseen.append(f"{path}: {error.message}: {error.__cause__!r}")

    def _fault(self, choose: random.Random, path: str) -> Fault:
        body: Any = self.answers[path]
        headers: dict[str, str] = {}
        chance = choose.random()
        if isinstance(body, bytes):
            body = body[: choose.randrange(len(body))] + choose.choice([b"", b'"', *BODIES])
            headers = {"Content-Type": "text/csv" if path.endswith("results") else "text/xml"}
            numbers = ["0", "1", "-1", "x", "99999999999999999999"]
            headers |= {"Sforce-NumberOfRecords": choose.choice(numbers)}
            headers |= {"Sforce-Locator": choose.choice(["null", "MTAw", "x" * 300])}
        elif chance < 0.3:
            body = choose.choice(BODIES)
        else:
            body = json.dumps(changed_value(choose, body)).encode()
        status = choose.choice(STATUSES)
        if status == 302:
            headers["Location"] = choose.choice(["/", "https://[", "http://evil.invalid/", ""])
        if status in (429, 503):
            headers["Retry-After"] = choose.choice(["1", "x", "-1", "9" * 30])
        return Fault(
            path=path,
            nth=choose.choice([1, 1, 1, 2]),
            times=choose.choice([1, 3, 1_000]),
            status=status,
            body=body,
            headers=headers,
        )

    def _api(self, **changes: Any) -> Api:
        settings = SalesforceSettings(
            objects=("Contact",), attempts_max=2, page_rows_max=100, **changes
        )
        return Api(self._credentials("client"), settings, clock=QuickClock(), jitter=lambda: 0.0)

    def _credentials(self, kind: str) -> SalesforceCredentials:
        sf = self.sf
        ways: dict[str, dict[str, str]] = {
            "client": {"client_id": sf.client_id, "client_secret": sf.client_secret},
            "jwt": {
                "client_id": sf.client_id,
                "username": sf.username,
                "private_key": sf.private_key_pem,
            },
            "soap": {
                "username": sf.username,
                "password": sf.password,
                "security_token": sf.security_token,
            },
        }
        return SalesforceCredentials(instance_url=sf.url, **ways[kind])

    def _read(self, choose: random.Random) -> None:
        """Read an object from the start, or what changed in the last hour."""
        folder = self.folder / "pages"
        folder.mkdir(exist_ok=True)
        try:
            with closing(self._api(api=choose.choice(["rest", "bulk", "auto"]))) as api:
                context = ExtractContext(api, api.settings, folder=folder, continue_on_error=True)
                state: dict[str, Any] = {}
                if choose.random() < 0.5:
                    sobject = {"cursor": "SystemModstamp", "fields": ["Id", "LastName"]}
                    start = self.sf.org.now() - timedelta(hours=1)
                    state = {**sobject, "object": "Contact", "watermark": start.isoformat()}
                    context.reconcile = frozenset(choose.choice([[], ["Contact"]]))
                context.read("Contact", state, None, dlt.Schema("salesforce").naming.normalize_path)
        finally:
            shutil.rmtree(folder)

    def _describe(self, choose: random.Random) -> None:
        with closing(self._api()) as api:
            context = ExtractContext(api, api.settings, folder=self.folder, continue_on_error=True)
            ask(context, ["Contact", choose.choice(["Account", "Nothing"])])
        for error in context.errors.values():
            check(error, "describe")

    def _login(self, choose: random.Random) -> None:
        kind = choose.choice(["client", "jwt", "soap"])
        log_in(self._credentials(kind), api_version="64.0", timeout_seconds=5)

    def _doctor(self, _: random.Random) -> None:
        config = (
            "[sources.salesforce]\nobjects = ['Contact']\nattempts_max = 1\n"
            f"[sources.salesforce.credentials]\ninstance_url = '{self.sf.url}'\n"
            f"client_id = '{self.sf.client_id}'\nclient_secret = '{self.sf.client_secret}'\n"
            "[destination.segment]\nwrite_key = 'k'\ncheck_write_key = false\n"
        )
        (self.folder / ".dlt" / "config.toml").write_text(config)
        examine(self.folder, None, clock=QuickClock())

    def _true_answers(self) -> dict[str, Any]:
        """What an org answers, by the pattern of the path."""
        query = "SELECT Id, LastName, SystemModstamp, IsDeleted FROM Contact LIMIT 3"
        job = {"id": "750", "state": "JobComplete", "numberRecordsProcessed": 200}
        page = {"resultUrl": "/services/data/v64.0/jobs/query/750/results?locator=MTAw"}
        with closing(self._api()) as api:
            rows = api.get("queryAll", q=query)
            token = {"access_token": self.sf.access_token(), "instance_url": self.sf.url}
            return {
                "/services/oauth2/token": {**token, "id": f"{self.sf.url}/id/00D/005"},
                "/services/Soap/*": SOAP,
                "*/describe": api.get("sobjects/Contact/describe"),
                "*/sobjects": {"sobjects": api.get("sobjects")["sobjects"][:3]},
                "*/limits": api.get("limits"),
                "*/queryAll": rows,
                "*/query/*": rows,
                "*/query": {"records": [{"Id": "00D"}], "totalSize": 1, "done": True},
                "*/updated/": {"ids": ["003A"], "latestDateCovered": "2026-01-01T00:00:00Z"},
                "*/deleted/": {
                    "deletedRecords": [{"id": "003A", "deletedDate": "2026-01-01T00:00:00Z"}],
                    "earliestDateAvailable": "2026-01-01T00:00:00Z",
                    "latestDateCovered": "2026-01-01T00:00:00Z",
                },
                "*/jobs/query": {"id": "750", "state": "UploadComplete"},
                "*/jobs/query/*": job,
                "*/resultPages": {"resultPages": [page], "done": True},
                "*/results": CSV,
                "/services/data": [{"version": "64.0", "label": "x", "url": "/"}],
                "*/tooling/query": {"records": [{"QualifiedApiName": "Id", "Description": "x"}]},
            }


class SegmentAnswers:
    """A Segment that gives one kind of wrong answer, and all that Tailrace asks Segment."""

    def __init__(self) -> None:
        self.segment = SegmentSimulator(oauth=True)
        self.segment.__enter__()
        source = {"integrations": {"Segment.io": {"apiHost": "api.segment.io/v1"}}}
        rows = [{"eventType": "track", "eventName": "Segment Entered", "total": 2}]
        self.answers: dict[str, Any] = {
            "/v1/batch": {"success": True},
            "/v1/projects/*": source,
            "*/token": {"access_token": "t", "expires_in": 60, "token_type": "Bearer"},
            "/delivery-overview/*": {"data": {"dataset": rows, "pagination": {"next": "x"}}},
            "/sources": {"data": {"sources": [{"id": "s", "writeKeys": ["k"]}]}},
            "/": {},
        }

    def close(self) -> None:
        """Stop the simulator."""
        self.segment.__exit__(None, None, None)

    def play(self, choose: random.Random) -> None:
        """Break an answer and ask for it.

        Raises:
            AssertionError: The error is one of Tailrace's own.
        """
        segment = self.segment
        segment.faults.clear()
        path = choose.choice(list(self.answers))
        body = choose.choice(BODIES)
        if choose.random() < 0.6:
            body = json.dumps(changed_value(choose, self.answers[path])).encode()
        status = choose.choice(STATUSES)
        headers = {"Location": choose.choice(["https://[", "/x"])} if status == 302 else {}
        if choose.random() < 0.2:
            headers["Retry-After"] = choose.choice(["0", "x", "-1", "9" * 30, "Fri, 99 Nov"])
        segment.faults.append(
            Fault(path=path, status=status, body=body, headers=headers, times=choose.choice([1, 9]))
        )
        authorization = segment.authorization
        assert authorization is not None
        keys = {
            "oauth_client_id": authorization.client_id,
            "oauth_client_key": authorization.client_key,
            "oauth_key_id": authorization.key_id,
            "oauth_auth_server": segment.url,
        }
        settings = SegmentSettings(
            host=segment.url,
            write_key=segment.write_key,
            settings_host=segment.url,
            public_api_host=segment.url,
            public_api_token=segment.public_token,
            **(keys if path == "*/token" or choose.random() < 0.1 else {}),
        )
        clock = QuickClock()
        try:
            with closing(SegmentClient(settings, clock=clock)) as client:
                if path in ("/delivery-overview/*", "/sources"):
                    sent = {("track", "Segment Entered"): 1}
                    since = SystemClock().now() - timedelta(minutes=5)
                    wait_for_overview(
                        settings, sent, since=since, clock=clock, wait_seconds_max=0.0
                    )
                    return
                client.check()
                client.measure_clock()
                message = Message("track", "m1", b'{"type":"track","messageId":"m1"}')
                outcome = client.send([message], retries=0)
                if outcome.error is not None:
                    check(outcome.error, (path, status, body))
        except TailraceError as error:
            check(error, (path, status, body))


def check(error: TailraceError, what: object) -> None:
    """Whether an error is about the service, and can be shown."""
    for entry in error.flattened():
        assert not isinstance(entry, InternalError), (entry, what)
        assert entry.exit_code in (1, 2) and entry.message and entry.hint, (entry.as_dict(), what)
        assert entry.message.isprintable(), (entry.message, what)
