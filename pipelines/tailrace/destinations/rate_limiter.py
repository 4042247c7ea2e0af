"""Decides when a request may start: the window in flight, the token bucket, and requested pauses.

All three are one gate, so that they agree on the order: the waiting request with the smallest rank
goes first, which keeps a batch that is retried at the head.
"""

from __future__ import annotations

import heapq
import random
import threading

from tailrace.clock import Clock

# The window before the first answer.
FIRST_WINDOW = 4
# This many accepted requests in a row widen the window by one.
SUCCESSES_TO_WIDEN = 8
# Waits are cut into slices, so that a stop is noticed during a long pause.
SLICE_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 60.0


class Stopped(Exception):
    """The delivery ended while a request waited for its turn."""


def backoff_seconds(retry: int, random_source: random.Random) -> float:
    """The pause before a retry, numbered from 1: 0, 0.5, 1, 2 … 60 s, plus up to 10 % jitter.

    The pauses are those of analytics-python 2.4.0, consumer.py.
    """
    if retry <= 1:
        return 0.0
    seconds: float = min(0.5 * 2.0 ** min(retry - 2, 16), BACKOFF_SECONDS_MAX)
    return seconds + random_source.uniform(0.0, 0.1 * seconds)


class RequestGate:
    """Lets requests start one by one; shared by all workers of a sender.

    Args:
        in_flight_max: Upper limit of the window; it grows up to this while requests are accepted.
        messages_per_second_max: Rate of the token bucket; 0 = no limit.
        requests_per_second_max: Rate of requests; 0 = no limit.
    """

    def __init__(
        self,
        *,
        in_flight_max: int,
        messages_per_second_max: float,
        clock: Clock,
        requests_per_second_max: float = 0.0,
    ) -> None:
        self.in_flight_max = max(1, in_flight_max)
        self.messages_per_second_max = messages_per_second_max
        self.requests_per_second_max = requests_per_second_max
        self.window = min(FIRST_WINDOW, self.in_flight_max)
        self._clock = clock
        self._turn = threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._tickets = 0
        self._in_flight = 0
        self._successes = 0
        self._window_generation = 0
        self._paused_until = 0.0
        self._bucket_empty_until = 0.0

    def acquire(self, *, rank: int, messages: int, stop: threading.Event) -> int:
        """Wait for a turn. Returns the window's generation, which `release` takes.

        Raises:
            Stopped: `stop` was set before the turn came.
        """
        with self._turn:
            self._tickets += 1
            ticket = (rank, self._tickets)
            heapq.heappush(self._waiting, ticket)
            try:
                while not self._may_start(ticket):
                    if stop.is_set():
                        raise Stopped
                    self._wait(ticket)
                if stop.is_set():
                    raise Stopped
                self._in_flight += 1
                self._draw(messages)
                return self._window_generation
            finally:
                self._waiting.remove(ticket)
                heapq.heapify(self._waiting)
                self._turn.notify_all()

    def release(self, window_generation: int, *, overloaded: bool, accepted: bool) -> None:
        """End a request; `overloaded`: the service asked for less."""
        with self._turn:
            self._in_flight -= 1
            if overloaded:
                # One overload answers every request in flight; the window is halved once for it.
                if window_generation == self._window_generation:
                    self.window = max(1, self.window // 2)
                    self._window_generation += 1
                self._successes = 0
            elif accepted:
                self._successes += 1
                if self._successes >= SUCCESSES_TO_WIDEN and self.window < self.in_flight_max:
                    self.window += 1
                    self._successes = 0
            self._turn.notify_all()

    def pause(self, seconds: float) -> None:
        """Start no request for this long; a longer pause that is already set stays."""
        with self._turn:
            self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)

    def wake(self) -> None:
        """Make all waiting requests check their stop event."""
        with self._turn:
            self._turn.notify_all()

    def _at_head(self, ticket: tuple[int, int]) -> bool:
        return self._waiting[0] == ticket and self._in_flight < self.window

    def _seconds_left(self) -> float:
        return max(self._paused_until, self._bucket_empty_until) - self._clock.monotonic()

    def _may_start(self, ticket: tuple[int, int]) -> bool:
        return self._at_head(ticket) and self._seconds_left() <= 0

    def _wait(self, ticket: tuple[int, int]) -> None:
        if not self._at_head(ticket):
            self._turn.wait()
            return
        # The pause may have ended since it was checked.
        seconds = max(0.0, min(self._seconds_left(), SLICE_SECONDS))
        self._turn.release()
        try:
            self._clock.sleep(seconds)
        finally:
            self._turn.acquire()

    def _draw(self, messages: int) -> None:
        """Take a request out of the bucket; the next one waits until it is level again."""
        seconds = 0.0
        if self.messages_per_second_max > 0:
            seconds = messages / self.messages_per_second_max
        if self.requests_per_second_max > 0:
            seconds = max(seconds, 1.0 / self.requests_per_second_max)
        if seconds:
            start = max(self._clock.monotonic(), self._bucket_empty_until)
            self._bucket_empty_until = start + seconds
