"""One batch, until every transition in it has a verdict: repeat, wait, split.

A transition that Segment refuses must not cost its neighbours: a refused batch is halved until the
culprit stands alone.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tailrace.clock import Clock
from tailrace.destinations.batching import Acknowledged, Batch, Envelope, Rejected, Verdict
from tailrace.destinations.rate_limiter import SLICE_SECONDS, Stopped, Turnstile, backoff_seconds
from tailrace.destinations.segment.http import Wire
from tailrace.destinations.segment.mapper import Call
from tailrace.destinations.segment.responses import Answer, said
from tailrace.errors import DeliveryIncomplete, ServiceFailed, TailraceError, Unreachable

log = logging.getLogger(__name__)

# A host that has not answered once is more likely misspelt than down.
FIRST_CONTACT_SECONDS_MAX = 20.0
# So many refusals in a row, with nothing accepted between, are no poison row but a wrong host.
REFUSALS_IN_A_ROW_MAX = 500
TOO_LARGE = "event_over_32_kb"


@dataclass(slots=True)
class Past:
    """What was tried so far with the rows of one request."""

    attempts: int = 0
    doubtful: bool = False


class Settler:
    """Settles batches, several at a time, over one wire."""

    def __init__(
        self,
        wire: Wire,
        turnstile: Turnstile,
        *,
        retry_seconds_max: float,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._wire = wire
        self._turnstile = turnstile
        self._retry_seconds_max = retry_seconds_max
        self._clock = clock
        self._chance = chance
        self._contact = False
        self._refusals_lock = threading.Lock()
        self._refusals_in_a_row = 0

    def settle(self, batch: Batch, stop: threading.Event) -> list[Verdict]:
        """The verdicts of a batch: what was rejected, then the range.

        Raises:
            Stopped: The delivery ended before the batch was settled.
            TailraceError: The batch cannot be settled, and neither can others.
        """
        return _Settling(self, batch, stop).verdicts()

    def request(
        self, calls: Sequence[Call], past: Past, *, rank: int, stop: threading.Event
    ) -> Answer:
        """Send the calls in one request, and again, until they are accepted or refused."""
        messages = [call.body for call in calls]
        retries = 0
        lost_seconds = 0.0
        while True:
            answer, took_seconds = self._once(messages, retries, rank=rank, stop=stop)
            past.attempts += 1
            past.doubtful = past.doubtful or answer.doubtful
            if answer.outcome in ("accepted", "refused"):
                return answer
            if answer.error is not None:
                raise answer.error
            retries += 1
            pause = self._pause_after(answer, retries)
            # Failing counts, and waiting because of it; waiting for the throttle does not.
            lost_seconds += took_seconds + pause
            if lost_seconds > self._patience_seconds():
                raise self._out_of_time(answer, lost_seconds - pause)
            self._rest(pause, answer, stop)

    def _once(
        self, messages: Sequence[bytes], retries: int, *, rank: int, stop: threading.Event
    ) -> tuple[Answer, float]:
        era = self._turnstile.enter(rank=rank, events=len(messages), stop=stop)
        started = self._clock.monotonic()
        slower = False
        accepted = False
        try:
            answer = self._wire.send(messages, retries=retries)
            slower, accepted = answer.slower, answer.outcome == "accepted"
        finally:
            self._turnstile.leave(era, slower=slower, answered=accepted)
        self._contact = self._contact or answer.contact
        self._count(answer)
        return answer, self._clock.monotonic() - started

    def _count(self, answer: Answer) -> None:
        """Stop a delivery in which everything is refused, before it rejects row by row."""
        with self._refusals_lock:
            if answer.outcome == "refused":
                self._refusals_in_a_row += 1
            elif answer.outcome == "accepted":
                self._refusals_in_a_row = 0
            many = self._refusals_in_a_row >= REFUSALS_IN_A_ROW_MAX
        if many:
            raise ServiceFailed(
                f"{self._wire.name} refused {REFUSALS_IN_A_ROW_MAX} requests in a row "
                f"({said(answer.status, answer.reason)})",
                hint="What is refused is not one row. Look at the audience's mapping, and at "
                "destination.segment.host.",
            )

    def _pause_after(self, answer: Answer, retries: int) -> float:
        if answer.wait_seconds is not None:
            return answer.wait_seconds
        pause = backoff_seconds(retries, self._chance)
        # Too many requests, and no word on when: the next one is not sent at once.
        return max(pause, 1.0) if answer.status == 429 else pause

    def _patience_seconds(self) -> float:
        if self._contact:
            return self._retry_seconds_max
        return min(self._retry_seconds_max, FIRST_CONTACT_SECONDS_MAX)

    def _out_of_time(self, answer: Answer, seconds: float) -> TailraceError:
        told = said(answer.status, answer.reason)
        if not answer.contact:
            return Unreachable(
                f"{self._wire.name} cannot be reached: {answer.reason}",
                hint="Look at the network and at destination.segment.host. Nothing is lost: the "
                "same command goes on where this one stopped.",
            )
        if answer.wait_seconds is not None:
            told += f", asks to wait {answer.wait_seconds:.0f} s"
        return DeliveryIncomplete(
            f"{self._wire.name} did not take a batch in {seconds:.0f} s ({told})",
            hint="Nothing is lost: run the same command again. retry_seconds_max under "
            "[destination.segment] sets how long it tries.",
        )

    def _rest(self, seconds: float, answer: Answer, stop: threading.Event) -> None:
        log.info("Segment: %s; again in %.1f s", answer.reason or answer.status, seconds)
        if answer.wait_seconds is not None or answer.status == 429:
            self._turnstile.pause(seconds)
            return
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            if stop.is_set():
                raise Stopped
            self._clock.sleep(min(left, SLICE_SECONDS))


class _Settling:
    """One batch on its way through the settler."""

    def __init__(self, settler: Settler, batch: Batch, stop: threading.Event) -> None:
        self._settler = settler
        self._batch = batch
        self._stop = stop
        self._requests = 0
        self._accepted = 0

    def verdicts(self) -> list[Verdict]:
        rows: list[Envelope] = []
        found: list[Verdict] = []
        for envelope in self._batch.envelopes:
            large = envelope.oversized
            if large is not None:
                found.append(_rejected(envelope.seq, large, TOO_LARGE, None, Past()))
            elif envelope.calls:
                rows.append(envelope)
        if rows:
            found.extend(self._settled(rows, Past()))
        batch = self._batch
        found.append(Acknowledged(batch.first_seq, batch.last_seq, self._accepted, self._requests))
        return found

    def _settled(self, rows: Sequence[Envelope], past: Past) -> Iterator[Rejected]:
        """The rejected ones of these rows; the others are accepted when this ends."""
        answer = self._request([call for row in rows for call in row.calls], past)
        if answer.outcome == "accepted":
            return
        if len(rows) > 1:
            log.info("Segment refused a batch of %d rows (%s); split", len(rows), answer.status)
            middle = len(rows) // 2
            yield from self._settled(rows[:middle], replace(past))
            yield from self._settled(rows[middle:], replace(past))
        elif len(rows[0].calls) > 1:
            yield from self._settled_by_call(rows[0], past)
        else:
            yield _rejected(rows[0].seq, rows[0].calls[0], answer.reason, answer.status, past)

    def _settled_by_call(self, row: Envelope, past: Past) -> Iterator[Rejected]:
        """One call after the other; none after a refused one, so that it is not repeated for ever.

        What went out before it was delivered, while the row counts as rejected: doubtful.
        """
        for place, call in enumerate(row.calls):
            answer = self._request([call], past)
            if answer.outcome == "refused":
                past.doubtful = past.doubtful or place > 0
                yield _rejected(row.seq, call, answer.reason, answer.status, past)
                return

    def _request(self, calls: Sequence[Call], past: Past) -> Answer:
        self._requests += 1
        before = past.attempts
        answer = self._settler.request(calls, past, rank=self._batch.first_seq, stop=self._stop)
        self._requests += past.attempts - before - 1
        if answer.outcome == "accepted":
            self._accepted += len(calls)
        return answer


def _rejected(seq: int, call: Call, reason: str, status: int | None, past: Past) -> Rejected:
    return Rejected(
        seq=seq,
        kind=call.kind,
        message_id=call.message_id,
        reason=reason,
        status=status,
        attempts=past.attempts,
        doubtful=past.doubtful,
        body=call.body,
    )
