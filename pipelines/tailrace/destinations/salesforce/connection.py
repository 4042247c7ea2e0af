"""A connection to an org that takes writes: login, checks before the first row, and requests."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tailrace.audience.audience import Audience
from tailrace.audience.yaml import raise_all
from tailrace.clock import Clock
from tailrace.destinations.messages import Message
from tailrace.destinations.outcome import RejectedMessage, SendOutcome, fatal
from tailrace.destinations.protocol import Described
from tailrace.destinations.salesforce import codes, rules
from tailrace.destinations.salesforce.batch_writer import BatchWriter
from tailrace.destinations.salesforce.describe import WritableObject
from tailrace.destinations.salesforce.header import WriteBack
from tailrace.destinations.salesforce.jobs import IngestJobs
from tailrace.destinations.salesforce.records import RowResult
from tailrace.destinations.salesforce.settings import OrgSettings
from tailrace.errors import (
    DeliveryIncomplete,
    HeaderInvalid,
    QuotaSpent,
    SalesforceFault,
    ServiceFailed,
    TailraceError,
    Unreachable,
    UserError,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import compact_describe, describe_object


class SalesforceConnection:
    """Implements `Connection` for one org."""

    def __init__(
        self,
        settings: OrgSettings,
        *,
        clock: Clock,
        destination: str,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.section = f"destination.{destination}"
        self.address_key = "instance_url"
        self.name = urlsplit(settings.credentials.instance_url).netloc
        self.clock_offset_seconds: float | None = 0.0
        self.settings = settings
        self.api = Api(settings.credentials, settings.source, clock=clock, jitter=jitter)
        self.described: dict[str, WritableObject] = {}
        self.descriptions: dict[str, Mapping[str, Any]] = {}
        self._clock = clock
        self._jitter = jitter
        self._writers: dict[str, BatchWriter] = {}
        self._lock = threading.Lock()
        # Results of batches whose requests were not all answered, by the id of the first message.
        self._partial: dict[str, dict[str, RowResult]] = {}

    @property
    def api_calls(self) -> int:
        """The calls to the org's API so far."""
        return self.api.usage.calls

    def check(self) -> None:
        """Log in, before anything is written.

        Raises:
            CredentialRefused: Salesforce does not accept the login.
            Unreachable: Salesforce cannot be asked.
        """
        self.api.token()
        if self.settings.source.quota_share_max is not None:
            # The first write must not be what tells how much of the budget is spent.
            self.api.ask_limits()

    def measure_clock(self) -> None:
        """Nothing: records carry no times of this machine."""

    def prepare(self, audience: Audience, stored: Described) -> Described:
        """Describe what an audience writes, and check its header, before its first row.

        Objects that no extract has described are described now.
        """
        assert audience.block is not None
        write_back = WriteBack(audience.block.values)
        described = self._describe(write_back.object, stored, audience)
        parents = {
            parent
            for name in write_back.fields
            if "." in name and (lookup := described.find_lookup(name.partition(".")[0]))
            for parent in lookup.parents[:1]
        }
        for parent in sorted(parents):
            self._describe(parent, stored, audience)
        raise_all(rules.header_errors(audience, self.described))
        self._writers[audience.ledger_key] = BatchWriter(
            self.api,
            write_back,
            described=described,
            clock=self._clock,
            jitter=self._jitter,
        )
        return {name.lower(): answer for name, answer in self.descriptions.items()}

    def jobs(self, audience: Audience, rows: int) -> IngestJobs | None:
        """The Bulk API's jobs for an audience with many rows, if its header allows them."""
        assert audience.block is not None
        write_back = WriteBack(audience.block.values)
        few = rows <= self.settings.section.bulk_rows_min
        if not write_back.takes_jobs or (few and write_back.api != "bulk"):
            return None
        return IngestJobs(
            self.api,
            write_back,
            described=self.described[write_back.object.lower()],
            parents=self.described,
            clock=self._clock,
            seconds_max=self.settings.source.job_seconds_max,
        )

    def send(self, messages: Sequence[Message], *, retries: int) -> SendOutcome:
        """Write the records of a batch, in as many requests as their kinds need."""
        first = messages[0].message_id
        with self._lock:
            results = self._partial.setdefault(first, {})
        try:
            answers = self._writers[messages[0].route].write(messages, results)
        except TailraceError as error:
            return self._failed(error, len(messages))
        with self._lock:
            self._partial.pop(first, None)
        rejected = tuple(
            RejectedMessage(index=index, reason=answer.reason, status=None)
            for index, answer in enumerate(answers)
            if not answer.ok
        )
        return SendOutcome(outcome="accepted", status=200, rejected=rejected)

    def close(self) -> None:
        """Close the connections."""
        self.api.close()

    def _describe(self, name: str, stored: Described, audience: Audience) -> WritableObject:
        known = self.described.get(name.lower())
        if known is not None:
            return known
        try:
            answer = stored.get(name.lower()) or compact_describe(describe_object(self.api, name))
        except UserError as error:
            raise HeaderInvalid(
                error.message,
                hint="Correct salesforce.object, or give the integration user access to it.",
                file=audience.file,
                line=audience.line("salesforce.object"),
            ) from None
        described = WritableObject.of(answer)
        self.described[name.lower()] = described
        self.descriptions[described.name] = answer
        return described

    def _failed(self, error: TailraceError, rows: int) -> SendOutcome:
        """The outcome of a batch with a request that was not answered, or refused as a whole."""
        if isinstance(error, QuotaSpent):
            return fatal(error)
        if isinstance(error, SalesforceFault):
            return self._refused(error, rows)
        if isinstance(error, Unreachable):
            return SendOutcome(outcome="retry", reason=error.message, contacted=False)
        if isinstance(error, ServiceFailed):
            # The request may have been carried out.
            return SendOutcome(outcome="retry", reason=error.message, unconfirmed=True)
        return fatal(error)

    def _refused(self, fault: SalesforceFault, rows: int) -> SendOutcome:
        status = fault.status or None
        if codes.stops(fault.code):
            hint = "Nothing is lost: run the same command again when the limit allows writes."
            return fatal(DeliveryIncomplete(fault.message, hint=fault.hint or hint), status)
        if codes.is_settings_fault(fault.code):
            hint = (
                "The org has changed since it was described, or the user's rights have. Run"
                " `tailrace doctor`, then correct the header."
            )
            return fatal(HeaderInvalid(fault.message, hint=hint), status)
        if fault.status >= 500 or fault.status in (0, 408, 409, 429) or fault.code == "406":
            return SendOutcome(
                outcome="retry",
                status=status,
                reason=fault.code,
                unconfirmed=fault.status >= 500,
                overloaded=fault.status in (429, 503),
            )
        return SendOutcome(outcome="refused", status=status, reason=fault.code)
