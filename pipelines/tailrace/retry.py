"""The retry loop for calls to services: exponential backoff with jitter, bounded in attempts.

    for attempt in retrying(clock, RetryPolicy(attempts_max=6), jitter=random.random):
        try:
            return call()
        except Overloaded as error:
            if attempt.is_last:
                raise
            attempt.wait_seconds = error.retry_after_seconds

`retrying` sleeps between two attempts; the body decides which failures are worth another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

from tailrace.clock import Clock
from tailrace.dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how long to retry.

    Attributes:
        attempts_max: Attempts in all, the first one included.
        elapsed_seconds_max: No further attempt starts later than this; None = no limit.
        backoff_seconds: The pause after the first failure; doubled after each further one.
        backoff_seconds_max: The longest pause of our own choice.
        retry_after_seconds_max: The longest pause that a service may ask for.
    """

    attempts_max: int
    elapsed_seconds_max: float | None = None
    backoff_seconds: float = 0.5
    backoff_seconds_max: float = 30.0
    retry_after_seconds_max: float = 120.0

    def pause_seconds(self, attempt: int, asked_seconds: float | None, jitter: float) -> float:
        """The pause after a failed attempt, numbered from 1; `jitter` is between 0 and 1.

        >>> policy = RetryPolicy(attempts_max=9)
        >>> [policy.pause_seconds(n, None, 0.5) for n in (1, 2, 3, 9)]
        [0.5, 1.0, 2.0, 30.0]
        >>> policy.pause_seconds(1, 7.0, 0.5), policy.pause_seconds(1, 3600.0, 0.5)
        (7.0, 120.0)
        """
        doubled = self.backoff_seconds * 2.0 ** min(attempt - 1, 60)
        pause = min(doubled, self.backoff_seconds_max)
        if asked_seconds is not None:
            pause = max(pause, min(asked_seconds, self.retry_after_seconds_max))
        return pause * (0.5 + jitter)


@dataclass()
class Attempt:
    """One attempt of a call.

    Attributes:
        number: From 1.
        is_last: No further attempt follows.
        elapsed_seconds: Time since the first attempt started.
        wait_seconds: Set by the body when the service asks for a pause of its own (Retry-After).
    """

    number: int
    is_last: bool
    elapsed_seconds: float
    wait_seconds: float | None = None


def retrying(
    clock: Clock,
    policy: RetryPolicy,
    *,
    jitter: Callable[[], float],
    sleep: Callable[[float], None] | None = None,
) -> Iterator[Attempt]:
    """Yield attempts, and sleep between them. At least one is yielded, and the last one is marked.

    Args:
        jitter: Random numbers between 0 and 1; each pause is scaled by 0.5 to 1.5.
        sleep: Replaces `clock.sleep`, for callers that can be interrupted while they wait.
    """
    started = clock.monotonic()
    number = 0
    while True:
        number += 1
        elapsed = clock.monotonic() - started
        limit = policy.elapsed_seconds_max
        out_of_time = limit is not None and elapsed >= limit
        attempt = Attempt(number, number >= policy.attempts_max or out_of_time, elapsed)
        yield attempt
        if attempt.is_last:
            return
        pause = policy.pause_seconds(number, attempt.wait_seconds, jitter())
        (sleep or clock.sleep)(pause)


def retry_after_seconds(header: str | None, *, now_seconds: float) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or as an HTTP date (RFC 9110).

    Args:
        now_seconds: The current time since the epoch, for the form with a date.

    >>> retry_after_seconds("7", now_seconds=0.0), retry_after_seconds("soon", now_seconds=0.0)
    (7.0, None)
    >>> retry_after_seconds("Thu, 01 Jan 1970 00:00:09 GMT", now_seconds=2.0)
    7.0
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - now_seconds, 0.0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
