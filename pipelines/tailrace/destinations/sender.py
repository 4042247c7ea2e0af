"""Sends batches with a bounded number of requests in flight; yields the verdicts as they arrive."""

from __future__ import annotations

import random
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Self

from tailrace.clock import Clock, SystemClock
from tailrace.config.settings import SendLimits
from tailrace.destinations.batching import Batch, Verdict, batches_of_pages
from tailrace.destinations.message_columns import users_of
from tailrace.destinations.messages import MemberMessages
from tailrace.destinations.protocol import Connection
from tailrace.destinations.rate_limiter import RequestGate, Stopped
from tailrace.destinations.retry import BatchSender

# Batches that are built while others are in flight, so that no worker waits for the next batch:
# as many as fit into these bytes. A commit of the ledger lasts as long as several small requests.
PREPARED_BYTES_MAX = 1_000_000
PREPARED_BATCHES_MIN = 2
PREPARED_BATCHES_MAX = 16
# How long an interrupted delivery waits for the answers of the requests in flight.
DRAIN_SECONDS_MAX = 2.0
# A wait without a timeout would not notice Ctrl-C on every platform.
WAIT_SECONDS_MAX = 0.2

# Set when a verdict is available; senders that are waited for together share one.
Wakeup = threading.Event


def wait(wakeup: Wakeup) -> None:
    """Wait until a verdict is available, or for WAIT_SECONDS_MAX."""
    wakeup.wait(WAIT_SECONDS_MAX)
    wakeup.clear()


class Sender:
    """Delivers batches over one connection, within the limits of its destination."""

    def __init__(
        self,
        connection: Connection,
        limits: SendLimits,
        *,
        clock: Clock | None = None,
        random_source: random.Random | None = None,
        wakeup: Wakeup | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.connection = connection
        self._limits = limits
        self._wakeup = wakeup or Wakeup()
        self._gate = RequestGate(
            in_flight_max=limits.requests_in_flight_max,
            messages_per_second_max=limits.messages_per_second_max,
            requests_per_second_max=limits.requests_per_second_max,
            clock=clock,
        )
        self._batch_sender = BatchSender(
            connection,
            self._gate,
            retry_seconds_max=limits.retry_seconds_max,
            clock=clock,
            random_source=random_source or random.Random(),
        )
        self._work = _Work(self._batch_sender, self._gate)
        self._flows: set[Flow] = set()

    def check(self) -> None:
        """Check the credentials before anything is sent; see `Connection.check`."""
        self.connection.check()

    def batches(
        self, members: Iterable[MemberMessages], *, messages_max: int | None = None
    ) -> Iterator[Batch]:
        """Cut a stream of transitions into batches; see `batches_of_pages`."""
        return self.batches_of_pages([members], messages_max=messages_max)

    def batches_of_pages(
        self, pages: Iterable[Iterable[MemberMessages]], *, messages_max: int | None = None
    ) -> Iterator[Batch]:
        """Cut pages of transitions into batches within the limits.

        Args:
            messages_max: A lower limit of the messages in a request, for this stream.
        """
        limits = self._limits.batch
        if messages_max is not None:
            limits = replace(limits, messages_max=min(messages_max, limits.messages_max))
        return batches_of_pages(pages, limits)

    def flow(self, batches: Iterable[Batch], *, own_time: bool = False) -> Flow:
        """Start to deliver batches; see `Flow`.

        Args:
            own_time: The messages carry times from the rows, which a wrong clock would shift.
        """
        self._flows = {flow for flow in self._flows if not flow.closing}
        flow = Flow(
            iter(batches),
            work=self._work,
            gate=self._gate,
            wakeup=self._wakeup,
            own_time=own_time,
        )
        self._flows.add(flow)
        return flow

    def close(self) -> None:
        """End all deliveries and close the connections."""
        for flow in tuple(self._flows):
            flow.cancel()
        self._work.close()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Work:
    """The batches of a sender that are prepared or in flight, and the threads that send them.

    Deliveries whose requests are in flight at the same time share both.
    """

    def __init__(self, sender: BatchSender, gate: RequestGate) -> None:
        self._sender = sender
        self._gate = gate
        self._tasks: SimpleQueue[tuple[Flow, Batch, int] | None] = SimpleQueue()
        self._workers = 0
        self._started = 0
        # The users of each batch, by the identity of the batch.
        self._users: dict[int, frozenset[str]] = {}
        # All of them; no two batches share one.
        self._busy_users: set[str] = set()

    def may_start(self, batch: Batch, users: frozenset[str]) -> bool:
        prepared = PREPARED_BYTES_MAX // max(batch.bytes, 1)
        prepared = max(PREPARED_BATCHES_MIN, min(prepared, PREPARED_BATCHES_MAX))
        return len(self._users) < self._gate.window + prepared and self._busy_users.isdisjoint(
            users
        )

    def start(self, flow: Flow, batch: Batch, users: frozenset[str]) -> None:
        if self._workers <= len(self._users) and self._workers < self._gate.in_flight_max:
            self._workers += 1
            # Daemon threads: a request that hangs must not keep the process alive.
            threading.Thread(target=self._run, name="sender", daemon=True).start()
        self._users[id(batch)] = users
        self._busy_users |= users
        self._started += 1
        self._tasks.put((flow, batch, self._started))

    def end(self, batch: Batch) -> None:
        """Forget a batch whose request has ended or is not waited for."""
        self._busy_users -= self._users.pop(id(batch), frozenset())

    def close(self) -> None:
        """Let the threads end after their current request."""
        for _ in range(self._workers):
            self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            flow, batch, rank = task
            flow.send(batch, self._sender, rank=rank)
            # A thread that waits for the next batch keeps nothing of the last one.
            del task, flow, batch


class Flow:
    """The batches of one delivery.

    Iterating pulls batches and yields verdicts on the caller's thread, and None when the caller
    has to wait until the sender's wakeup is set. Two batches of a sender that share a user are
    never in flight together. A batch without `Acknowledged` has no final status. The caller ends
    with `cancel`.

    Attributes:
        all_started: Whether every batch is in flight or has its verdict.

    Raises (while iterating):
        CredentialRefused: The receiver does not accept the credentials.
        Unreachable: The host cannot be reached.
        ServiceFailed: The host is not the receiver, or refuses everything.
        DeliveryIncomplete: A batch could not be delivered in `retry_seconds_max`.
    """

    def __init__(
        self,
        source: Iterator[Batch],
        *,
        work: _Work,
        gate: RequestGate,
        wakeup: Wakeup,
        own_time: bool,
    ) -> None:
        self._source = source
        self._work = work
        self._gate = gate
        self._wakeup = wakeup
        self._own_time = own_time
        self._stop = threading.Event()
        self._results: SimpleQueue[tuple[Batch, list[Verdict] | BaseException]] = SimpleQueue()
        # Those without a result, by their identity.
        self._batches: dict[int, Batch] = {}
        self._failure: BaseException | None = None
        self._is_incomplete = False
        self.all_started = False
        self.closing = False

    def __iter__(self) -> Iterator[Verdict | None]:
        next_batch: Batch | None = None
        users: frozenset[str] = frozenset()
        while True:
            while not self.all_started and not self.closing:
                if next_batch is None:
                    next_batch = self._pull()
                    if next_batch is None:
                        break
                    users = users_of(next_batch.members)
                if not self._work.may_start(next_batch, users):
                    break
                self._batches[id(next_batch)] = next_batch
                self._work.start(self, next_batch, users)
                next_batch = None
                yield from self._finished()
            if not self._batches and (self.all_started or self.closing):
                break
            yield from self._finished() or (None,)
        if self._failure is not None and (self._is_incomplete or not self.all_started):
            raise self._failure

    def _pull(self) -> Batch | None:
        try:
            batch = next(self._source, None)
        except Exception as error:
            # The requests in flight still get their verdicts.
            self._failure = error
            self.closing = True
            return None
        self.all_started = batch is None
        return batch

    def send(self, batch: Batch, sender: BatchSender, *, rank: int) -> None:
        """Send a batch until it has a final status; called by a thread of the sender."""
        try:
            verdicts = sender.send_with_retries(
                batch, self._stop, rank=rank, own_time=self._own_time
            )
            self._results.put((batch, verdicts))
        except BaseException as error:
            self._results.put((batch, error))
        self._wakeup.set()

    def _finished(self) -> list[Verdict]:
        verdicts: list[Verdict] = []
        with suppress(Empty):
            while True:
                verdicts += self._finish(*self._results.get_nowait())
        return verdicts

    def _finish(self, batch: Batch, result: list[Verdict] | BaseException) -> Iterable[Verdict]:
        del self._batches[id(batch)]
        self._work.end(batch)
        if isinstance(result, list):
            return result
        self._is_incomplete = True
        if not isinstance(result, Stopped):
            self.fail(result)
        return ()

    def fail(self, error: BaseException) -> None:
        """Start no request, and raise an error after the answers of the open ones.

        It is not raised if every batch has a final status then.
        """
        self._failure = self._failure or error
        self.end()

    def drain(self, seconds_max: float = DRAIN_SECONDS_MAX) -> Iterator[Verdict]:
        """End the delivery; yield the verdicts of the requests that are still in flight.

        Args:
            seconds_max: How long to wait for each.
        """
        self.end()
        while self._batches:
            try:
                batch, result = self._results.get(timeout=seconds_max)
            except Empty:
                return
            yield from self._finish(batch, result)

    @property
    def is_answered(self) -> bool:
        """Whether no request is open."""
        return not self._batches

    def end(self) -> None:
        """Start no request; workers that wait give up, workers with a request finish it."""
        self.closing = True
        self._stop.set()
        self._gate.wake()

    def cancel(self) -> None:
        """End the delivery without waiting; workers end after their current request."""
        self.end()
        # Workers may outlive the warehouse that the batches are read from.
        source, self._source = self._source, iter(())
        if isinstance(source, Generator):
            # It closes its cursor while the interpreter can still start threads.
            source.close()
        for batch in self._batches.values():
            self._work.end(batch)
