"""Several Segment sources side by side: one that fails or is slow holds no other back.

One thread, the caller's, makes the messages and writes the ledger. Each destination has its turn
for as long as there is something to do for it; only when all of them wait, the thread does.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Self

from tailrace.config.settings import SegmentSettings
from tailrace.destinations.sender import Bell, Segment, listen
from tailrace.errors import DestinationFailed, MemoryShort, TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.receivers import check_receivers, receivers_of
from tailrace.run.delivery import Delivering, Delivery, Progress, Settled, Terms
from tailrace.warehouse.memory import Buffers

COLLECTED_AFTER = 50_000


class Dispatch:
    """The senders of one run.

    Attributes:
        failures: The destinations that failed, with the reason. They are not tried again.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Mapping[str, SegmentSettings],
        *,
        terms: Terms,
        buffers: Buffers,
        progress: Progress | None = None,
    ) -> None:
        self.failures: dict[str, TailraceError] = {}
        self._ledger = ledger
        self._settings = dict(settings)
        self._terms = terms
        self._buffers = buffers
        self._progress = progress
        self._bell = Bell()
        self._segments: dict[str, Segment] = {}
        self._checked: set[str] = set()
        self._under_way: dict[str, Delivering] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for segment in self._segments.values():
            segment.close()

    def deliver(self, deliveries: Sequence[Delivery]) -> Iterator[Settled]:
        """Settle the deliveries, those of one destination one after the other.

        A destination that fails lands in `failures`; what it did not take stays in its outbox.
        """
        queues: dict[str, list[Delivery]] = {}
        for each in deliveries:
            if each.destination not in self.failures:
                queues.setdefault(each.destination, []).append(each)
        ways = {name: self._way(name, queue) for name, queue in queues.items()}
        # What a delivery makes lives for one batch and knows no circles; with the usual thresholds
        # the collector would look at each of it several times.
        usual = gc.get_threshold()
        gc.set_threshold(COLLECTED_AFTER, *usual[1:])
        try:
            while ways:
                moved = False
                for name in tuple(ways):
                    try:
                        step = next(ways[name], None)
                    except TailraceError as error:
                        self.failures[name], step = error, None
                    if step is None:
                        del ways[name]
                    elif isinstance(step, Settled):
                        yield step
                    moved = moved or step is not False
                if not moved:
                    listen(self._bell)
        except KeyboardInterrupt:
            for delivering in self._under_way.values():
                delivering.last_words()
            raise
        finally:
            gc.set_threshold(*usual)
            for way in ways.values():
                way.close()

    def troubles(self) -> list[TailraceError]:
        """The failures as a run tells them: with its destination, where there are several."""
        if len(self._settings) <= 1:
            return list(self.failures.values())
        return [
            DestinationFailed(f"{name}: {error.message}", hint=error.hint)
            for name, error in self.failures.items()
        ]

    @property
    def known(self) -> Mapping[str, SegmentSettings]:
        """The settings of every destination that this run has to do with."""
        return self._settings

    def known_settings(self, destination: str) -> SegmentSettings | None:
        """The settings of a destination; none where it has failed by not being configured."""
        try:
            return self.settings(destination)
        except TailraceError as error:
            self.failures[destination] = error
            return None

    def settings(self, destination: str) -> SegmentSettings:
        """The settings of a destination, which an earlier run may have been the last to name."""
        if destination not in self._settings:
            project = self._ledger.warehouse.project
            settings = project.segment(destination)
            check_receivers(self._ledger, receivers_of({destination: settings}))
            self._settings[destination] = settings
        return self._settings[destination]

    def _way(self, name: str, queue: Sequence[Delivery]) -> Generator[Settled | bool, None, None]:
        """True where something moved, False where it would have to wait."""
        if name not in self._segments:
            clock = self._ledger.clock
            self._segments[name] = Segment(self.settings(name), clock=clock, bell=self._bell)
        segment = self._segments[name]
        if name not in self._checked and any(each.planned for each in queue):
            yield from _asked(segment.check, self._bell)
            self._checked.add(name)
        for each in queue:
            delivering = Delivering(
                self._ledger,
                segment,
                each,
                terms=self._terms,
                by_name=bool(segment.settings.public_api_token),
                progress=self._progress,
            )
            self._under_way[name] = delivering
            try:
                yield from delivering.steps()
            except MemoryShort:
                if not self._buffers.release():
                    raise
                delivering.last_words()
                yield from delivering.steps()
            yield self._buffers.sparing(delivering.advance)


def _asked(question: Callable[[], None], bell: Bell) -> Iterator[bool]:
    """A question to the network, asked on a thread of its own."""
    raised: list[Exception] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            question()
        except Exception as error:
            raised.append(error)
        finally:
            answered.set()
            bell.set()

    threading.Thread(target=ask, name="segment check", daemon=True).start()
    while not answered.is_set():
        yield False
    if raised:
        raise raised[0]
