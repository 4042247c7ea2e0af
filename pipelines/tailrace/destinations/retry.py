"""Sends one batch until every transition in it has a final status: retry, wait, bisect.

A refused batch is bisected until the refused transition is isolated, so that its neighbours are
delivered.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tailrace.clock import Clock
from tailrace.destinations.batching import Acknowledged, Batch, Rejected, Verdict
from tailrace.destinations.message_columns import messages_of, with_messages
from tailrace.destinations.messages import MemberMessages, Message
from tailrace.destinations.outcome import SendOutcome, describe_response
from tailrace.destinations.protocol import Connection
from tailrace.destinations.rate_limiter import SLICE_SECONDS, RequestGate, Stopped, backoff_seconds
from tailrace.errors import DeliveryIncomplete, ServiceFailed, TailraceError, Unreachable

log = logging.getLogger(__name__)

# A host that has never answered is more likely misspelt than down.
FIRST_CONTACT_SECONDS_MAX = 20.0
# This many refusals in a row, with nothing accepted in between, point at the host and not at rows.
REFUSALS_IN_A_ROW_MAX = 500
# Receivers compute an event's time from the clocks of both sides; times from rows are shifted by
# the difference.
CLOCK_OFFSET_SECONDS_MAX = 3_600.0


@dataclass(slots=True)
class SendHistory:
    """The earlier attempts with the rows of one request."""

    attempts: int = 0
    unconfirmed: bool = False


class BatchSender:
    """Sends batches over one connection, several at a time."""

    def __init__(
        self,
        connection: Connection,
        gate: RequestGate,
        *,
        retry_seconds_max: float,
        clock: Clock,
        random_source: random.Random,
    ) -> None:
        self._connection = connection
        self._gate = gate
        self._retry_seconds_max = retry_seconds_max
        self._clock = clock
        self._random_source = random_source
        self._contacted = False
        self._lock = threading.Lock()
        self._refusals_in_a_row = 0

    def send_with_retries(
        self, batch: Batch, stop: threading.Event, *, rank: int, own_time: bool = False
    ) -> list[Verdict]:
        """Send a batch. Returns the rejections, then the acknowledged range.

        Args:
            rank: Requests of a lower one start first.
            own_time: The messages carry times from the rows.

        Raises:
            Stopped: The delivery ended before the batch had a final status.
            TailraceError: Neither this batch nor others can be delivered.
        """
        if own_time:
            self._check_clock()
        return _BatchDelivery(self, batch, stop, rank).verdicts()

    def request(
        self,
        messages: Sequence[Message],
        history: SendHistory,
        *,
        rank: int,
        stop: threading.Event,
    ) -> SendOutcome:
        """Send messages in one request, repeated until they are accepted or refused."""
        retries = 0
        failing_seconds = 0.0
        while True:
            outcome, seconds = self._send_once(messages, retries, rank=rank, stop=stop)
            history.attempts += 1
            history.unconfirmed = history.unconfirmed or outcome.unconfirmed
            if outcome.outcome in ("accepted", "refused"):
                return outcome
            if outcome.error is not None:
                raise outcome.error
            retries += 1
            pause = self._pause_seconds(outcome, retries)
            # Failed attempts and their pauses count; waiting for the rate limit does not.
            failing_seconds += seconds + pause
            seconds_left = self._patience_seconds() - failing_seconds
            if seconds_left < 0:
                raise self._out_of_time(outcome, failing_seconds - pause)
            self._pause(pause, outcome, stop, seconds_left=seconds_left)

    def _send_once(
        self, messages: Sequence[Message], retries: int, *, rank: int, stop: threading.Event
    ) -> tuple[SendOutcome, float]:
        generation = self._gate.acquire(rank=rank, messages=len(messages), stop=stop)
        started = self._clock.monotonic()
        overloaded = False
        accepted = False
        try:
            outcome = self._connection.send(messages, retries=retries)
            overloaded, accepted = outcome.overloaded, outcome.outcome == "accepted"
        finally:
            self._gate.release(generation, overloaded=overloaded, accepted=accepted)
        self._contacted = self._contacted or outcome.contacted
        self._count_refusals(outcome)
        return outcome, self._clock.monotonic() - started

    def _count_refusals(self, outcome: SendOutcome) -> None:
        """End a delivery in which everything is refused, before it rejects row by row."""
        with self._lock:
            if outcome.outcome == "refused":
                self._refusals_in_a_row += 1
            elif outcome.outcome == "accepted":
                self._refusals_in_a_row = 0
            too_many = self._refusals_in_a_row >= REFUSALS_IN_A_ROW_MAX
        if too_many:
            raise ServiceFailed(
                f"{self._connection.name} refused {REFUSALS_IN_A_ROW_MAX} requests in a row "
                f"({describe_response(outcome.status, outcome.reason)})",
                hint="The cause is not a single row. Check the audience's mapping and "
                f"{self._connection.address_key}.",
            )

    def _check_clock(self) -> None:
        connection = self._connection
        with self._lock:
            if connection.clock_offset_seconds is None:
                connection.measure_clock()
            offset = connection.clock_offset_seconds
        if offset is not None and abs(offset) > CLOCK_OFFSET_SECONDS_MAX:
            direction = "ahead of" if offset > 0 else "behind"
            raise DeliveryIncomplete(
                f"The clock of this machine is {abs(offset) / 3_600:,.1f} h {direction} "
                f"{connection.name}'s, which would shift the times of the events",
                hint="Set the clock (NTP), then run the same command again. No event with a time "
                "of its own was sent.",
            )

    def _pause_seconds(self, outcome: SendOutcome, retries: int) -> float:
        if outcome.wait_seconds is not None:
            return outcome.wait_seconds
        pause = backoff_seconds(retries, self._random_source)
        # Too many requests, without a time to wait: do not retry at once.
        return max(pause, 1.0) if outcome.status == 429 else pause

    def _patience_seconds(self) -> float:
        if self._contacted:
            return self._retry_seconds_max
        return min(self._retry_seconds_max, FIRST_CONTACT_SECONDS_MAX)

    def _out_of_time(self, outcome: SendOutcome, seconds: float) -> TailraceError:
        connection = self._connection
        if not outcome.contacted:
            return Unreachable(
                f"{connection.name} cannot be reached: {outcome.reason}",
                hint=f"Check the network and {connection.address_key}. Nothing is lost: run the "
                "same command again to continue.",
            )
        response = describe_response(outcome.status, outcome.reason)
        if outcome.wait_seconds is not None:
            response += f", asks to wait {outcome.wait_seconds:.0f} s"
        return DeliveryIncomplete(
            f"{connection.name} did not accept a batch in {seconds:.0f} s ({response})",
            hint="Nothing is lost: run the same command again. retry_seconds_max under "
            f"[{connection.section}] sets how long to retry.",
        )

    def _pause(
        self, seconds: float, outcome: SendOutcome, stop: threading.Event, *, seconds_left: float
    ) -> None:
        log.info(
            "%s: %s; retry in %.1f s, and for %.0f s more",
            self._connection.name,
            describe_response(outcome.status, outcome.reason),
            seconds,
            seconds_left,
        )
        if outcome.wait_seconds is not None or outcome.status == 429:
            self._gate.pause(seconds)
            return
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            if stop.is_set():
                raise Stopped
            self._clock.sleep(min(left, SLICE_SECONDS))


class _BatchDelivery:
    """One batch that is being sent."""

    def __init__(self, sender: BatchSender, batch: Batch, stop: threading.Event, rank: int) -> None:
        self._sender = sender
        self._batch = batch
        self._stop = stop
        self._rank = rank
        self._requests = 0
        self._accepted = 0

    def verdicts(self) -> list[Verdict]:
        rows = with_messages(self._batch.members)
        verdicts: list[Verdict] = []
        if rows:
            verdicts.extend(self._rejections(rows, SendHistory()))
        batch = self._batch
        verdicts.append(
            Acknowledged(batch.first_seq, batch.last_seq, self._accepted, self._requests)
        )
        return verdicts

    def _rejections(
        self, rows: Sequence[MemberMessages], history: SendHistory
    ) -> Iterator[Rejected]:
        """Send the rows; yield the rejected ones. The others are accepted when this ends."""
        messages = messages_of(rows)
        outcome = self._request(messages, history)
        if outcome.outcome == "accepted":
            yield from self._rejected_by_answer(rows, outcome, history)
        elif len(rows) > 1:
            log.info("Batch of %d rows refused (%s); bisecting", len(rows), outcome.status)
            middle = len(rows) // 2
            # Each half has its own history: what happens to one says nothing about the other.
            yield from self._rejections(rows[:middle], replace(history))
            yield from self._rejections(rows[middle:], replace(history))
        elif len(rows[0].messages) > 1:
            yield from self._rejection_by_message(rows[0], history)
        else:
            yield _rejected(rows[0].seq, messages[0], outcome.reason, outcome.status, history)

    def _rejection_by_message(
        self, row: MemberMessages, history: SendHistory
    ) -> Iterator[Rejected]:
        """Send one message after the other, none after a refused one: later runs would repeat it.

        The messages before the refused one were delivered while the row counts as rejected, so
        that it is unconfirmed.
        """
        for index, message in enumerate(row.messages):
            outcome = self._request([message], history)
            refused = outcome.rejected[0] if outcome.rejected else outcome
            if outcome.outcome == "refused" or outcome.rejected:
                history.unconfirmed = history.unconfirmed or index > 0
                yield _rejected(row.seq, message, refused.reason, refused.status, history)
                return

    def _rejected_by_answer(
        self, rows: Sequence[MemberMessages], outcome: SendOutcome, history: SendHistory
    ) -> Iterator[Rejected]:
        """The rows with a message that the answer names as refused."""
        rejected = {message.index: message for message in outcome.rejected}
        first = 0
        for row in rows if rejected else ():
            indexes = range(first, first + len(row.messages))
            first += len(row.messages)
            refused = [rejected[index] for index in indexes if index in rejected]
            if refused:
                message = row.messages[refused[0].index - indexes.start]
                own = replace(history)
                own.unconfirmed = history.unconfirmed or len(refused) < len(row.messages)
                yield _rejected(row.seq, message, refused[0].reason, refused[0].status, own)

    def _request(self, messages: Sequence[Message], history: SendHistory) -> SendOutcome:
        before = history.attempts
        outcome = self._sender.request(messages, history, rank=self._rank, stop=self._stop)
        self._requests += history.attempts - before
        if outcome.outcome == "accepted":
            self._accepted += len(messages) - len(outcome.rejected)
        return outcome


def _rejected(
    seq: int, message: Message, reason: str, status: int | None, history: SendHistory
) -> Rejected:
    return Rejected(
        seq=seq,
        kind=message.kind,
        message_id=message.message_id,
        reason=reason,
        status=status,
        attempts=history.attempts,
        unconfirmed=history.unconfirmed,
        body=message.body,
    )
