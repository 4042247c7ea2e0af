"""The sender: batches in, verdicts out, a bounded number of requests in flight between them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Self

from tailrace.clock import Clock, SystemClock
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.batching import Batch, Envelope, Verdict, batches
from tailrace.destinations.rate_limiter import Stopped, Turnstile
from tailrace.destinations.retry import Settler
from tailrace.destinations.segment.http import Wire
from tailrace.destinations.segment.write_key import check_write_key

# Batches that wait beside those on the wire, so that no answer has to wait for one to be made.
PREPARED_BATCHES = 2
# What an interrupted delivery still waits for, so that answers on their way are not wasted.
FAREWELL_SECONDS_MAX = 2.0
# A wait without end would not notice Ctrl-C on every platform.
LISTEN_SECONDS = 0.2

# Rings when something has become known; senders that are waited for together share one.
Bell = threading.Event


def listen(bell: Bell) -> None:
    """Wait until the bell rings, or a moment."""
    bell.wait(LISTEN_SECONDS)
    bell.clear()


class Segment:
    """A Segment source, or any collector that speaks its `/v1/batch`."""

    def __init__(
        self,
        settings: SegmentSettings,
        *,
        clock: Clock | None = None,
        chance: random.Random | None = None,
        bell: Bell | None = None,
    ) -> None:
        self.settings = settings
        self.bell = bell or Bell()
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
        self._flows: set[Flow] = set()

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
        flow = self.flow(batches)
        try:
            for verdict in flow:
                if verdict is not None:
                    yield verdict
                else:
                    listen(self.bell)
        except KeyboardInterrupt:
            yield from flow.last_words()
            raise
        finally:
            flow.abandon()

    def flow(self, batches: Iterable[Batch]) -> Flow:
        """The same, step by step, for a caller that has other senders to look after."""
        self._flows = {flow for flow in self._flows if not flow.closing}
        flow = Flow(iter(batches), settler=self._settler, turnstile=self._turnstile, bell=self.bell)
        self._flows.add(flow)
        return flow

    def stop(self) -> None:
        """Take no more batches; `deliver` ends with the verdicts of what is in flight.

        May be called from a signal handler or another thread.
        """
        for flow in tuple(self._flows):
            flow.closing = True

    def close(self) -> None:
        """Give the connections back."""
        for flow in tuple(self._flows):
            flow.abandon()
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Flow:
    """One delivery on its way: its workers and what they have in hand.

    Iterating it gives the verdicts, and None where there is nothing to do but wait until the
    sender's bell rings. Whoever has iterated enough calls `abandon`.
    """

    def __init__(
        self, source: Iterator[Batch], *, settler: Settler, turnstile: Turnstile, bell: Bell
    ) -> None:
        self._source = source
        self._settler = settler
        self._turnstile = turnstile
        self._bell = bell
        self._stop = threading.Event()
        self._tasks: SimpleQueue[Batch | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[Batch, list[Verdict] | BaseException]] = SimpleQueue()
        self._workers = 0
        self._users: dict[int, frozenset[str]] = {}
        self._failure: BaseException | None = None
        self.closing = False

    def __iter__(self) -> Iterator[Verdict | None]:
        held: Batch | None = None
        users: frozenset[str] = frozenset()
        exhausted = False
        while True:
            while not exhausted and not self.closing:
                if held is None:
                    held = self._pull()
                    if held is None:
                        exhausted = True
                        break
                    users = frozenset(each.user for each in held.envelopes if each.calls)
                if not self._free(users):
                    break
                self._start(held, users)
                held = None
                yield from self._finished()
            if not self._users:
                break
            yield from self._finished() or (None,)
        if self._failure is not None:
            raise self._failure

    def _free(self, users: frozenset[str]) -> bool:
        in_hand = self._turnstile.window + PREPARED_BATCHES
        return len(self._users) < in_hand and all(
            users.isdisjoint(others) for others in self._users.values()
        )

    def _pull(self) -> Batch | None:
        try:
            return next(self._source, None)
        except Exception as error:
            # What is in flight is still worth its verdicts.
            self._failure = error
            self.closing = True
            return None

    def _start(self, batch: Batch, users: frozenset[str]) -> None:
        if self._workers <= len(self._users) and self._workers < self._turnstile.in_flight_max:
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
            self._bell.set()

    def _finished(self) -> list[Verdict]:
        verdicts: list[Verdict] = []
        with suppress(Empty):
            while True:
                verdicts += self._settled(*self._results.get_nowait())
        return verdicts

    def _settled(self, batch: Batch, result: list[Verdict] | BaseException) -> Iterable[Verdict]:
        self._users.pop(id(batch), None)
        if isinstance(result, list):
            return result
        if not isinstance(result, Stopped):
            self._failure = self._failure or result
            self._end()
        return ()

    def last_words(self) -> Iterator[Verdict]:
        """What still becomes known of the requests on the wire, when all the rest is over."""
        self._end()
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
        # They may outlive the warehouse that the batches are read from.
        self._source = iter(())
        for _ in range(self._workers):
            self._tasks.put(None)
