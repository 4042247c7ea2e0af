"""The retry loop: how many attempts, which pauses, and when it gives up."""

from __future__ import annotations

import pytest

from tailrace.clock import SystemClock
from tailrace.retry import RetryPolicy, retry_after_seconds, retrying


class FakeClock(SystemClock):
    """Time that passes only during a sleep."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def test_pauses_double_up_to_a_limit_and_the_last_attempt_is_marked() -> None:
    clock = FakeClock()

    policy = RetryPolicy(attempts_max=9)
    attempts = list(retrying(clock, policy, jitter=lambda: 0.5))

    assert list(range(1, 10)) == [attempt.number for attempt in attempts]
    assert [False] * 8 + [True] == [attempt.is_last for attempt in attempts]
    assert [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] == clock.slept


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)])
def test_jitter_scales_each_pause_by_a_half_to_one_and_a_half(jitter: float, pause: float) -> None:
    policy = RetryPolicy(attempts_max=3, backoff_seconds=2.0)

    assert pause == policy.pause_seconds(1, None, jitter)


def test_a_service_may_ask_for_a_longer_pause_within_the_limit() -> None:
    clock = FakeClock()
    asked = iter([7.0, 3_600.0, 0.1])

    for attempt in retrying(clock, RetryPolicy(attempts_max=4), jitter=lambda: 0.5):
        attempt.wait_seconds = next(asked, None)

    assert [7.0, 120.0, 2.0] == clock.slept


def test_no_attempt_starts_after_the_time_limit_except_a_last_one() -> None:
    clock = FakeClock()

    policy = RetryPolicy(attempts_max=100, elapsed_seconds_max=10.0)
    attempts = list(retrying(clock, policy, jitter=lambda: 0.5))

    assert [0.0, 0.5, 1.5, 3.5, 7.5, 15.5] == [attempt.elapsed_seconds for attempt in attempts]
    assert attempts[-1].is_last and not attempts[-2].is_last


def test_one_attempt_does_not_sleep() -> None:
    clock = FakeClock()

    (attempt,) = retrying(clock, RetryPolicy(attempts_max=1), jitter=lambda: 0.5)

    assert attempt.is_last and [] == clock.slept


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Fri, 27 Nov 2026 00:00:30 GMT", 30.0),
        ("Thu, 26 Nov 2026 00:00:00 GMT", 0.0),
        ("9" * 400, 999_999_999.0),
        ("²", None),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_every_form_of_retry_after_is_read_or_ignored(
    header: str | None, seconds: float | None
) -> None:
    assert seconds == retry_after_seconds(header, now_seconds=1_795_737_600.0)
