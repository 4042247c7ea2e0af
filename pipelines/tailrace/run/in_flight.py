"""Deliveries to one destination whose requests are in flight at the same time.

A small delivery has fewer requests than may be open at once, and would spend most of its time
waiting for their answers. The next delivery begins when all batches of those before it are in
flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence

from tailrace.errors import TailraceError
from tailrace.run.delivery import (
    SAVED_TOGETHER_MEMBERS_MAX,
    AudienceDelivery,
    DeliveryResult,
)
from tailrace.run.planned_delivery import Delivery

# The steps of a delivery, which announces itself when its messages are ready to be sent.
Steps = Callable[[Callable[[AudienceDelivery], None]], Generator[bool]]


class _Begun:
    """A delivery that has begun.

    Attributes:
        delivering: The delivery; None until its header was checked.
        is_ending: Whether it sends no other batch, because one before it failed.
    """

    def __init__(self, delivery: Delivery, steps: Steps) -> None:
        self.delivery = delivery
        self.delivering: AudienceDelivery | None = None
        self.is_ending = False
        self.steps = steps(self._set)

    def _set(self, delivering: AudienceDelivery) -> None:
        self.delivering = delivering

    @property
    def all_started(self) -> bool:
        return self.delivering is not None and self.delivering.all_started

    def end(self, error: TailraceError) -> bool:
        """Send no other batch; whether answers may still come."""
        self.is_ending = True
        if self.delivering is None:
            self.steps.close()
            return False
        self.delivering.fail(error)
        return True


class InFlight:
    """The deliveries of one destination that have begun and not ended, in their order.

    Attributes:
        failure: The error of the first delivery that failed. Those before it continue, those after
            it take the answers of their open requests.
    """

    def __init__(self) -> None:
        self.failure: TailraceError | None = None
        self._begun: list[_Begun] = []

    def __bool__(self) -> bool:
        return bool(self._begun)

    def has(self, ledger_key: str) -> bool:
        """Whether a delivery of this sync has begun and not ended."""
        return any(begun.delivery.audience.ledger_key == ledger_key for begun in self._begun)

    @property
    def all_started(self) -> bool:
        """Whether every batch of the deliveries is in flight or has its verdict."""
        return all(begun.all_started for begun in self._begun)

    @property
    def are_small(self) -> bool:
        """Whether all of them are saved together with others."""
        return all(b.delivery.planned <= SAVED_TOGETHER_MEMBERS_MAX for b in self._begun)

    def begin(self, delivery: Delivery, steps: Steps) -> None:
        """Add a delivery, which takes its first step in the next turn."""
        self._begun.append(_Begun(delivery, steps))

    def delivering(self) -> list[AudienceDelivery]:
        """The deliveries whose messages are being sent."""
        return [begun.delivering for begun in self._begun if begun.delivering is not None]

    def turn(self, ended: Callable[[AudienceDelivery], None]) -> bool:
        """Let each delivery take a step; whether one of them had something to do.

        Args:
            ended: Called with each delivery whose transitions all have an outcome.
        """
        progressed = False
        for begun in tuple(self._begun):
            if begun not in self._begun:
                continue
            try:
                step = next(begun.steps, None)
            except TailraceError as error:
                self._end_after(begun, error)
                progressed = True
                continue
            if step is None:
                self._begun.remove(begun)
                if begun.delivering is not None:
                    ended(begun.delivering)
            progressed = progressed or step is not False
        return progressed

    def _end_after(self, failed: _Begun, error: TailraceError) -> None:
        """Remove a delivery that failed, and end those behind it after their open requests."""
        place = self._begun.index(failed)
        before, behind = self._begun[:place], self._begun[place + 1 :]
        self._begun = [*before, *(begun for begun in behind if begun.end(error))]
        if not failed.is_ending:
            # Those behind an earlier failure may raise errors of their own.
            self.failure = error

    def close(self) -> None:
        """End the deliveries without waiting."""
        for begun in self._begun:
            begun.steps.close()


class ResultsInOrder:
    """Results that come in any order, given out in the order of their deliveries."""

    def __init__(self, queue: Sequence[Delivery]) -> None:
        self._expected = deque((d.run_seq, d.audience.ledger_key) for d in queue)
        self._results: dict[tuple[int, str], DeliveryResult] = {}

    def add(self, result: DeliveryResult) -> Iterator[DeliveryResult]:
        """Add a result; yields those that none is missing before."""
        self._results[result.run_seq, result.sync_key] = result
        while self._expected and self._expected[0] in self._results:
            yield self._results.pop(self._expected.popleft())

    def rest(self) -> Iterator[DeliveryResult]:
        """The results that wait for another one, which does not come."""
        for expected in self._expected:
            if expected in self._results:
                yield self._results.pop(expected)
