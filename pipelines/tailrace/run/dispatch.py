"""Delivers to several destinations side by side: a slow or failing one does not delay the others.

The caller's thread builds the messages and writes the ledger. Each destination has its turn as
long as it has something to do; the thread waits only while all of them wait.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from typing import Self, TypeVar

from tailrace.audience.audience import Audience
from tailrace.clock import format_utc
from tailrace.destinations.protocol import Described, DestinationSettings, DestinationType
from tailrace.destinations.registry import type_of
from tailrace.destinations.sender import DRAIN_SECONDS_MAX, Sender, Wakeup, wait
from tailrace.errors import (
    DestinationFailed,
    LeaseLost,
    MemoryShort,
    ModelError,
    ReceiverChanged,
    ReceiverGone,
    TailraceError,
)
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.receivers import (
    check_receivers,
    receivers_of,
    stop_destination,
    stopped_destinations,
)
from tailrace.run.delivery import (
    SAVED_TOGETHER_MEMBERS_MAX,
    UNSAVED_SECONDS_MAX,
    AudienceDelivery,
    DeliveryResult,
    advance_together,
)
from tailrace.run.in_flight import InFlight, ResultsInOrder
from tailrace.run.notices import Notice
from tailrace.run.pages_together import PagesTogether
from tailrace.run.phases import Progress
from tailrace.run.planned_delivery import Delivery, Terms, pages_of_small
from tailrace.warehouse.memory import (
    VECTOR_ROWS,
    MemoryLimit,
    deleting_megabytes,
    give_back_memory,
    recording_megabytes,
)

T = TypeVar("T")

# The threshold of Python's garbage collector for new objects during a delivery.
COLLECTED_AFTER = 50_000
# How long a thread that builds messages may keep the interpreter from a sender with an answer.
# With Python's 5 ms, the requests in flight of a quick receiver are too few to keep it busy.
SWITCH_SECONDS = 0.001
# Of a delivery: the rows of its snapshot are not counted to find out how much memory it needs.
MEMBERS_UNCOUNTED_MAX = 200
# Differences below this come from the network and from clocks that are set once a day.
CLOCK_OFFSET_SECONDS_NOTED = 300.0


class Dispatch:
    """The senders of one run.

    Attributes:
        failures: The destinations that failed, with the error. They are not tried again.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Mapping[str, DestinationSettings],
        *,
        terms: Terms,
        memory_limit: MemoryLimit,
        progress: Progress | None = None,
    ) -> None:
        self.failures: dict[str, TailraceError] = {
            name: ReceiverGone(
                f"{reason} (since {format_utc(since)})",
                hint=f"When it receives again: tailrace destinations resume {name}. The unsent "
                "changes stay in the outbox.",
            )
            for name, (reason, since) in stopped_destinations(ledger).items()
        }
        self._ledger = ledger
        self._settings = dict(settings)
        self._terms = terms
        self._memory_limit = memory_limit
        self._progress = progress
        self._wakeup = Wakeup()
        self._senders: dict[str, Sender] = {}
        self._checked: set[str] = set()
        # What receivers said of the headers that they have accepted in this run, by ledger key.
        self._accepted: dict[str, Described] = {}
        self._in_flight: dict[str, InFlight] = {}
        # Deliveries that ended and are not in the ledger yet, by destination.
        self._ended: dict[str, list[AudienceDelivery]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sender in self._senders.values():
            sender.close()

    def refused_headers(self, audiences: Sequence[Audience]) -> dict[str, ModelError]:
        """Why receivers refuse headers, by ledger key; asked before their changes are saved.

        What keeps a receiver from being asked is an error of the delivery.
        """
        refused: dict[str, ModelError] = {}
        stored: Described = self._ledger.descriptions.all() if audiences else {}
        for audience in audiences:
            if audience.destination_name in self.failures:
                continue
            try:
                sender = self._sender(audience.destination_name)
                described = sender.connection.prepare(audience, stored)
            except ModelError as error:
                refused[audience.ledger_key] = error
            except TailraceError:
                continue
            else:
                self._save_described(described)
                self._accepted[audience.ledger_key] = described
        return refused

    def deliver(self, deliveries: Sequence[Delivery]) -> Iterator[DeliveryResult]:
        """Deliver, and yield the results of each destination in the order of its deliveries.

        A destination that fails is added to `failures`; its unsent messages stay in the outbox.

        Raises:
            LeaseLost: The state's lease was lost; nothing more is sent after the open requests.
        """
        queues: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            if delivery.destination not in self.failures:
                queues.setdefault(delivery.destination, []).append(delivery)
        steps = {name: self._steps(name, queue) for name, queue in queues.items()}
        with _tuned_interpreter():
            yield from self._results(steps)

    def _results(
        self, steps: dict[str, Generator[DeliveryResult | bool]]
    ) -> Iterator[DeliveryResult]:
        """The results of the destinations' steps, each taken in turn."""
        try:
            while steps:
                self._ledger.warehouse.require_lease()
                progressed = False
                for name in tuple(steps):
                    try:
                        step = next(steps[name], None)
                    except TailraceError as error:
                        self.failures[name], step = error, None
                        if isinstance(error, ReceiverGone):
                            stop_destination(self._ledger, name, error.message)
                    if step is None:
                        del steps[name]
                    elif isinstance(step, DeliveryResult):
                        yield step
                    progressed = progressed or step is not False
                if not progressed:
                    wait(self._wakeup)
        except (KeyboardInterrupt, LeaseLost):
            self._drain()
            raise
        finally:
            for generator in steps.values():
                generator.close()

    def _drain(self) -> None:
        """Save the verdicts of the deliveries that have begun, as far as they come in time."""
        delivering = [
            *chain.from_iterable(self._ended.values()),
            *chain.from_iterable(begun.delivering() for begun in self._in_flight.values()),
        ]
        for one in delivering:
            one.end()
        seconds_max = DRAIN_SECONDS_MAX
        for one in delivering:
            if not one.drain(seconds_max):
                # The others had the same time.
                seconds_max = 0.0

    def errors(self) -> list[TailraceError]:
        """The failures as errors of the run; with several destinations, each names its own."""
        failures = {
            name: error
            for name, error in self.failures.items()
            # A stopped destination that nothing goes to is not a failure of this run.
            if name in self._settings or not isinstance(error, ReceiverGone)
        }
        if len(self._settings) <= 1:
            return list(failures.values())
        return [
            DestinationFailed(f"{name}: {error.message}", hint=error.hint)
            for name, error in failures.items()
        ]

    def notices(self) -> Iterator[Notice]:
        """What the answers showed besides the results: a clock that is off."""
        for sender in self._senders.values():
            connection = sender.connection
            offset = connection.clock_offset_seconds or 0.0
            if abs(offset) > CLOCK_OFFSET_SECONDS_NOTED:
                direction = "ahead of" if offset > 0 else "behind"
                yield Notice(
                    message=f"This machine's clock is {abs(offset) / 60:,.0f} min {direction} "
                    f"{connection.name}'s",
                    hint="Set the clock (NTP). Times from rows are shifted by the difference.",
                )

    @property
    def known(self) -> Mapping[str, DestinationSettings]:
        """The settings of every destination of this run."""
        return self._settings

    def known_settings(self, destination: str) -> DestinationSettings | None:
        """The settings of a destination; None, and a failure, if it is not configured."""
        try:
            return self.settings(destination)
        except TailraceError as error:
            self.failures[destination] = error
            return None

    def settings(self, destination: str) -> DestinationSettings:
        """The settings of a destination, also of one that only an earlier run's headers named."""
        if destination not in self._settings:
            project = self._ledger.warehouse.project
            kind = type_of(project, destination)
            settings = kind.settings(project, destination)
            check_receivers(self._ledger, receivers_of({destination: settings}))
            self._settings[destination] = settings
        return self._settings[destination]

    def _sender(self, name: str) -> Sender:
        if name not in self._senders:
            settings, clock = self.settings(name), self._ledger.clock
            kind = type_of(self._ledger.warehouse.project, name)
            self._senders[name] = Sender(
                kind.connect(settings, clock=clock, destination=name),
                settings.send_limits(),
                clock=clock,
                wakeup=self._wakeup,
            )
        return self._senders[name]

    def _steps(
        self, name: str, queue: Sequence[Delivery]
    ) -> Generator[DeliveryResult | bool, None, None]:
        """Deliver to one destination: True after each step, False if it would have to wait."""
        results = ResultsInOrder(queue)
        try:
            for step in self._advanced_steps(name, queue):
                if isinstance(step, DeliveryResult):
                    yield from results.add(step)
                else:
                    yield step
        except TailraceError:
            yield from results.rest()
            raise
        yield from results.rest()

    def _advanced_steps(
        self, name: str, queue: Sequence[Delivery]
    ) -> Generator[DeliveryResult | bool, None, None]:
        """The same, with the results in the order in which the deliveries end.

        Small deliveries that end within `UNSAVED_SECONDS_MAX` are advanced together.
        """
        try:
            for step in self._audience_steps(name, queue):
                if self._is_due(name):
                    yield from self._advance_ended(name)
                yield step
        except TailraceError:
            # The deliveries that ended before the error stay pending if this fails too.
            with suppress(TailraceError):
                yield from self._advance_ended(name)
            raise
        yield from self._advance_ended(name)

    def _is_due(self, name: str) -> bool:
        ended = self._ended.get(name)
        if not ended:
            return False
        members = sum(delivering.delivery.planned for delivering in ended)
        waited = self._ledger.clock.monotonic() - ended[0].ended_at
        return waited >= UNSAVED_SECONDS_MAX or members > SAVED_TOGETHER_MEMBERS_MAX

    def _advance_ended(self, name: str) -> Generator[DeliveryResult, None, None]:
        """Advance the deliveries that ended, in one transaction, or each alone if that fails."""
        ended = self._ended.get(name, [])[:]
        if not ended:
            return
        self._ended[name].clear()
        deliveries = [delivering.delivery for delivering in ended]
        if sum(delivery.planned for delivery in deliveries) > SAVED_TOGETHER_MEMBERS_MAX:
            # The requests have ended, and the buffers of their threads are free.
            give_back_memory()
        megabytes = recording_megabytes(
            max(delivery.columns for delivery in deliveries),
            deleting_megabytes=sum(map(self._deleting_megabytes, deliveries)),
        )
        run = partial(self._memory_limit.run_low_memory, megabytes=megabytes)
        try:
            results = run(partial(advance_together, ended))
        except TailraceError:
            if len(ended) == 1:
                raise
            for delivering in ended:
                yield run(delivering.advance)
            return
        yield from results

    def _deleting_megabytes(self, delivery: Delivery) -> float:
        """What an embedded DuckDB needs to delete the replaced members of a snapshot."""
        warehouse, members = self._ledger.warehouse, delivery.planned
        if not warehouse.engine.embedded or members <= MEMBERS_UNCOUNTED_MAX:
            return deleting_megabytes(members, members * VECTOR_ROWS)
        snapshot = self._ledger.snapshot(delivery.audience.ledger_key)
        ((rows,),) = warehouse.run("warehouse/count_rows", tables={"counted": snapshot})
        return deleting_megabytes(members, int(rows))

    def _audience_steps(
        self, name: str, queue: Sequence[Delivery]
    ) -> Generator[DeliveryResult | bool, None, None]:
        """Send the deliveries, which begin in their order; each that ends is added to `_ended`."""
        sender = self._sender(name)
        if name not in self._checked and any(delivery.planned for delivery in queue):
            yield from _in_background(sender.check, self._wakeup)
            self._checked.add(name)
        kind = type_of(self._ledger.warehouse.project, name)
        together = pages_of_small(self._ledger, queue, kind=kind, terms=self._terms, ahead=True)
        in_flight = self._in_flight[name] = InFlight()
        ended = self._ended.setdefault(name, [])
        waiting = deque(queue)
        try:
            while waiting or in_flight:
                if waiting and _may_begin(waiting[0], sender, in_flight):
                    delivery = waiting.popleft()
                    if any(e.sync_key == delivery.audience.ledger_key for e in ended):
                        # Its next run needs the snapshot of this one.
                        yield from self._advance_ended(name)
                    in_flight.begin(
                        delivery, partial(self._one, delivery, sender, kind=kind, together=together)
                    )
                has_stepped = in_flight.turn(ended.append)
                if in_flight.failure is not None:
                    waiting.clear()
                may_begin = bool(waiting) and _may_begin(waiting[0], sender, in_flight)
                yield has_stepped or may_begin
        finally:
            in_flight.close()
            if together is not None:
                together.close()
        if in_flight.failure is not None:
            raise in_flight.failure

    def _one(
        self,
        delivery: Delivery,
        sender: Sender,
        begun: Callable[[AudienceDelivery], None],
        *,
        kind: DestinationType,
        together: PagesTogether | None,
    ) -> Generator[bool]:
        """Send one delivery: True after each step, False if it would have to wait."""
        name = delivery.destination
        _require_type(delivery, name, kind)
        described: Described = {}
        refused: ModelError | None = None
        try:
            if delivery.planned:
                described = yield from self._prepared(sender, delivery)
        except ModelError as error:
            if not delivery.resumed:
                raise
            refused = error
        delivering = AudienceDelivery(
            self._ledger,
            sender,
            delivery,
            kind=kind,
            terms=self._terms,
            described=described,
            in_background=partial(_in_background, wakeup=self._wakeup),
            by_name=kind.can_verify_receipt(self.settings(name)),
            progress=self._progress,
            together=together,
        )
        begun(delivering)
        try:
            if refused is not None:
                delivering.reject_pending(refused)
            else:
                yield from delivering.steps()
        except MemoryShort:
            if not self._memory_limit.release():
                raise
            delivering.drain()
            yield from delivering.steps()

    def _prepared(self, sender: Sender, delivery: Delivery) -> Generator[bool, None, Described]:
        """Check a header against its receiver; returns what is known of the receiver's objects."""
        accepted = self._accepted.pop(delivery.audience.ledger_key, None)
        if accepted is not None and not delivery.resumed:
            return accepted
        stored = self._ledger.descriptions.all()
        described = yield from _in_background(
            lambda: sender.connection.prepare(delivery.audience, stored), self._wakeup
        )
        self._save_described(described)
        return described

    def _save_described(self, described: Described) -> None:
        """Save what a receiver says of its objects: later plans check headers without a call."""
        if described:
            objects = {str(known["name"]): known for known in described.values()}
            self._ledger.descriptions.save(objects)


@contextmanager
def _tuned_interpreter() -> Iterator[None]:
    """Set the garbage collector and the switching of threads for a delivery.

    The objects of a delivery are short-lived and have no reference cycles; with the default
    thresholds the collector would visit each of them several times.
    """
    thresholds, seconds = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(COLLECTED_AFTER, *thresholds[1:])
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(seconds)
        gc.set_threshold(*thresholds)


def _may_begin(delivery: Delivery, sender: Sender, in_flight: InFlight) -> bool:
    """Whether a delivery may begin before the answers of those that have begun."""
    if not in_flight:
        return True
    return (
        in_flight.are_small
        and delivery.planned <= SAVED_TOGETHER_MEMBERS_MAX
        and not in_flight.has(delivery.audience.ledger_key)
        # Calls out of a daily budget are counted for one delivery at a time.
        and sender.connection.api_calls is None
        and in_flight.all_started
    )


def _require_type(delivery: Delivery, destination: str, kind: DestinationType) -> None:
    planned_for = delivery.audience.destination_type
    if planned_for != kind.name:
        raise ReceiverChanged(
            f"{delivery.audience.name}: a pending delivery to [destination.{destination}] was "
            f"planned for the type {planned_for}, and its type is now {kind.name}",
            hint=f'Set type = "{planned_for}" under [destination.{destination}], run: tailrace '
            "sync, then give the new receiver a section of its own.",
        )


def _in_background(call: Callable[[], T], wakeup: Wakeup) -> Generator[bool, None, T]:
    """Run a call on its own thread; yields False until it has ended, then returns its result."""
    returned: list[T] = []
    raised: list[Exception] = []
    ended = threading.Event()

    def run() -> None:
        try:
            returned.append(call())
        except Exception as error:
            raised.append(error)
        finally:
            ended.set()
            wakeup.set()

    threading.Thread(target=run, name="destination check", daemon=True).start()
    while not ended.is_set():
        yield False
    if raised:
        raise raised[0]
    return returned[0]
