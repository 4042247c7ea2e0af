"""When a request may leave: the window in flight, the token bucket, the pause that was asked for.

All three are one turnstile, so that they agree: whoever waits with the smallest rank goes first,
which keeps a batch that has to be repeated at the head.
"""

from __future__ import annotations

import heapq
import random
import threading

from tailrace.clock import Clock

# As wide as the window is before anything was answered.
FIRST_WINDOW = 4
# So many answers in a row widen the window by one request.
SUCCESSES_TO_WIDEN = 8
# Waits are cut into slices, so that a stop is noticed in the middle of a long pause.
SLICE_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 60.0


class Stopped(Exception):
    """The delivery ended while a request waited for its turn."""


def backoff_seconds(retry: int, chance: random.Random) -> float:
    """How long to wait before the `retry`-th repetition: 0, 0.5, 1, 2 … 60 s, and a little more."""
    if retry <= 1:
        return 0.0
    base: float = min(0.5 * 2.0 ** min(retry - 2, 16), BACKOFF_SECONDS_MAX)
    return base + chance.uniform(0.0, 0.1 * base)


class Turnstile:
    """Lets requests through one by one; shared by all workers of a sender.

    Args:
        in_flight_max: the widest the window may be; it grows so far while answers are good.
        events_per_second_max: of the token bucket; 0 = no throttle.
    """

    def __init__(self, *, in_flight_max: int, events_per_second_max: float, clock: Clock) -> None:
        self.in_flight_max = max(1, in_flight_max)
        self.events_per_second_max = events_per_second_max
        self.window = min(FIRST_WINDOW, self.in_flight_max)
        self._clock = clock
        self._turn = threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._tickets = 0
        self._in_flight = 0
        self._successes = 0
        self._era = 0
        self._paused_until = 0.0
        self._bucket_empty_until = 0.0

    def enter(self, *, rank: int, events: int, stop: threading.Event) -> int:
        """Wait for a turn; the number that comes back goes into `leave`.

        Raises:
            Stopped: `stop` was set before the turn came.
        """
        with self._turn:
            self._tickets += 1
            ticket = (rank, self._tickets)
            heapq.heappush(self._waiting, ticket)
            try:
                while not self._may_go(ticket):
                    if stop.is_set():
                        raise Stopped
                    self._wait(ticket)
                if stop.is_set():
                    raise Stopped
                self._in_flight += 1
                self._draw(events)
                return self._era
            finally:
                self._waiting.remove(ticket)
                heapq.heapify(self._waiting)
                self._turn.notify_all()

    def leave(self, era: int, *, slower: bool, answered: bool) -> None:
        """The request is over; `slower`: the service has more than it can take."""
        with self._turn:
            self._in_flight -= 1
            if slower:
                # One overload answers every request in flight; the window halves once for it.
                if era == self._era:
                    self.window = max(1, self.window // 2)
                    self._era += 1
                self._successes = 0
            elif answered:
                self._successes += 1
                if self._successes >= SUCCESSES_TO_WIDEN and self.window < self.in_flight_max:
                    self.window += 1
                    self._successes = 0
            self._turn.notify_all()

    def pause(self, seconds: float) -> None:
        """Nothing leaves for so long."""
        with self._turn:
            self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)

    def wake(self) -> None:
        """Let those who wait look at their stop event."""
        with self._turn:
            self._turn.notify_all()

    def _at_head(self, ticket: tuple[int, int]) -> bool:
        return self._waiting[0] == ticket and self._in_flight < self.window

    def _seconds_left(self) -> float:
        return max(self._paused_until, self._bucket_empty_until) - self._clock.monotonic()

    def _may_go(self, ticket: tuple[int, int]) -> bool:
        return self._at_head(ticket) and self._seconds_left() <= 0

    def _wait(self, ticket: tuple[int, int]) -> None:
        if not self._at_head(ticket):
            self._turn.wait()
            return
        # The pause may have ended since it was looked at.
        seconds = max(0.0, min(self._seconds_left(), SLICE_SECONDS))
        self._turn.release()
        try:
            self._clock.sleep(seconds)
        finally:
            self._turn.acquire()

    def _draw(self, events: int) -> None:
        """Take the events out of the bucket; the next request waits until it is level again."""
        if self.events_per_second_max > 0:
            now = self._clock.monotonic()
            start = max(now, self._bucket_empty_until)
            self._bucket_empty_until = start + events / self.events_per_second_max
