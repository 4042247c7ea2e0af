"""The sender: batches in, verdicts out, a bounded number of requests in flight between them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Self

from tailrace.batches import Batch, Envelope, Verdict, batches
from tailrace.clock import Clock, SystemClock
from tailrace.pacing import Stopped, Turnstile
from tailrace.segment_key import check_write_key
from tailrace.segment_wire import Wire
from tailrace.settings import SegmentSettings
from tailrace.settling import Settler

# What an interrupted delivery still waits for, so that answers on their way are not wasted.
FAREWELL_SECONDS_MAX = 2.0
# A wait without end would not notice Ctrl-C on every platform.
LISTEN_SECONDS = 0.2


class Segment:
    """A Segment source, or any collector that speaks its `/v1/batch`."""

    def __init__(
        self,
        settings: SegmentSettings,
        *,
        clock: Clock | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._wire = Wire(settings, clock=self._clock)
        self._turnstile = Turnstile(
            in_flight_max=settings.requests_in_flight_max,
            events_per_second_max=settings.events_per_second_max,
            clock=self._clock,
        )
        self._settler = Settler(
            self._wire,
            self._turnstile,
            retry_seconds_max=settings.retry_seconds_max,
            clock=self._clock,
            chance=chance or random.Random(),
        )
        self._deliveries: set[_Delivery] = set()

    def check(self) -> None:
        """Ask whether the credentials are good, before anything is sent.

        Raises:
            CredentialRefused: The write key or the OAuth client is not known.
            InvalidConfigValue: The write key belongs to another region.
            Unreachable: It could not be asked.
        """
        check_write_key(self.settings, clock=self._clock)
        self._wire.check_token()

    def batches(self, envelopes: Iterable[Envelope]) -> Iterator[Batch]:
        """Cut a stream of transitions as the settings say.

        A batch holds no more than a second of the throttle: a larger one would leave in a burst.
        """
        events_max = self.settings.batch_events_max
        if self.settings.events_per_second_max:
            events_max = min(events_max, max(1, int(self.settings.events_per_second_max)))
        return batches(envelopes, bytes_max=self.settings.batch_bytes_max, events_max=events_max)

    def deliver(self, batches: Iterable[Batch]) -> Iterator[Verdict]:
        """Send the batches; yield what became of them, as it becomes known.

        Batches are pulled and verdicts are yielded on the caller's thread. Two batches that share
        a user are never in flight together. A batch without its `Acknowledged` is not settled.

        Raises:
            CredentialRefused: Segment does not take the write key or the token.
            Unreachable: There is no way to the host.
            ServiceFailed: What answers is not Segment, or refuses everything.
            DeliveryIncomplete: A batch could not be delivered in `retry_seconds_max`.
        """
        delivery = _Delivery(self._settler, self._turnstile)
        self._deliveries.add(delivery)
        try:
            yield from delivery.verdicts(iter(batches))
        finally:
            delivery.abandon()
            self._deliveries.discard(delivery)

    def stop(self) -> None:
        """Take no more batches; `deliver` ends with the verdicts of what is in flight.

        May be called from a signal handler or another thread.
        """
        for delivery in tuple(self._deliveries):
            delivery.closing = True

    def close(self) -> None:
        """Give the connections back."""
        for delivery in tuple(self._deliveries):
            delivery.abandon()
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Delivery:
    """One call of `deliver`: its workers and what they have in hand."""

    def __init__(self, settler: Settler, turnstile: Turnstile) -> None:
        self._settler = settler
        self._turnstile = turnstile
        self._stop = threading.Event()
        self._tasks: SimpleQueue[Batch | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[Batch, list[Verdict] | BaseException]] = SimpleQueue()
        self._workers = 0
        self._users: dict[int, frozenset[str]] = {}
        self._failure: BaseException | None = None
        self.closing = False

    def verdicts(self, source: Iterator[Batch]) -> Iterator[Verdict]:
        try:
            yield from self._flow(source)
        except KeyboardInterrupt:
            self._end()
            yield from self._last_words()
            raise
        if self._failure is not None:
            raise self._failure

    def _flow(self, source: Iterator[Batch]) -> Iterator[Verdict]:
        held: Batch | None = None
        users: frozenset[str] = frozenset()
        exhausted = False
        while True:
            while not exhausted and not self.closing and self._free():
                if held is None:
                    held = self._pull(source)
                    if held is None:
                        exhausted = True
                        break
                    users = frozenset(each.user for each in held.envelopes if each.calls)
                if not all(users.isdisjoint(others) for others in self._users.values()):
                    break
                self._start(held, users)
                held = None
                yield from self._finished(wait=False)
            if not self._users:
                return
            yield from self._finished(wait=True)

    def _free(self) -> bool:
        return len(self._users) < self._turnstile.in_flight_max

    def _pull(self, source: Iterator[Batch]) -> Batch | None:
        try:
            return next(source, None)
        except Exception as error:
            # What is in flight is still worth its verdicts.
            self._failure = error
            self.closing = True
            return None

    def _start(self, batch: Batch, users: frozenset[str]) -> None:
        if self._workers <= len(self._users):
            self._workers += 1
            # Daemons: a request that hangs must not keep the process from ending.
            threading.Thread(target=self._work, name="segment", daemon=True).start()
        self._users[id(batch)] = users
        self._tasks.put(batch)

    def _work(self) -> None:
        while (batch := self._tasks.get()) is not None:
            try:
                self._results.put((batch, self._settler.settle(batch, self._stop)))
            except BaseException as error:
                self._results.put((batch, error))

    def _finished(self, *, wait: bool) -> Iterator[Verdict]:
        while True:
            try:
                batch, result = self._results.get(timeout=LISTEN_SECONDS if wait else 0)
            except Empty:
                if wait:
                    continue
                return
            wait = False
            yield from self._settled(batch, result)

    def _settled(self, batch: Batch, result: list[Verdict] | BaseException) -> Iterable[Verdict]:
        self._users.pop(id(batch), None)
        if isinstance(result, list):
            return result
        if not isinstance(result, Stopped):
            self._failure = self._failure or result
            self._end()
        return ()

    def _last_words(self) -> Iterator[Verdict]:
        while self._users:
            try:
                batch, result = self._results.get(timeout=FAREWELL_SECONDS_MAX)
            except Empty:
                return
            yield from self._settled(batch, result)

    def _end(self) -> None:
        """No new request; those that wait give up, those on the wire come to their end."""
        self.closing = True
        self._stop.set()
        self._turnstile.wake()

    def abandon(self) -> None:
        """Leave the workers to themselves; they end after the request that they are in."""
        self._end()
        for _ in range(self._workers):
            self._tasks.put(None)
