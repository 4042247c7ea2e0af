"""The gate: how many, how fast, who first, and when not at all."""

from __future__ import annotations

import random
import threading
import time

import pytest

from tailrace.clock import SystemClock
from tailrace.destinations.rate_limiter import (
    BACKOFF_SECONDS_MAX,
    FIRST_WINDOW,
    SUCCESSES_TO_WIDEN,
    RequestGate,
    Stopped,
    backoff_seconds,
)
from tailrace.testing.http.clocks import HurriedClock

NEVER = threading.Event()


def new_gate(
    window: int = 4, rate: float = 0, clock: SystemClock | None = None
) -> tuple[RequestGate, SystemClock]:
    clock = clock or HurriedClock()
    gate = RequestGate(in_flight_max=window, messages_per_second_max=rate, clock=clock)
    return gate, clock


def acquire(gate: RequestGate, rank: int = 0, messages: int = 1) -> int:
    return gate.acquire(rank=rank, messages=messages, stop=NEVER)


def release(gate: RequestGate, generation: int, overloaded: bool = False) -> None:
    gate.release(generation, overloaded=overloaded, accepted=not overloaded)


def widen(gate: RequestGate, by: int) -> None:
    for _ in range(SUCCESSES_TO_WIDEN * by):
        release(gate, acquire(gate))


def test_backoff() -> None:
    """At once, then doubling from half a second to a minute, with up to a tenth more."""
    chance = random.Random(1)
    waits = [backoff_seconds(retry, chance) for retry in range(1, 12)]
    assert waits[0] == 0.0
    for wait, low in zip(waits[1:], [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert low <= wait <= low * 1.1
    assert backoff_seconds(10_000, chance) <= BACKOFF_SECONDS_MAX * 1.1


def test_a_pause_that_ends_between_two_looks_at_the_clock() -> None:
    """Time goes on while it is asked for: there is nothing left to wait, and no less."""

    class Ticking(SystemClock):
        now_seconds = 0.0

        def monotonic(self) -> float:
            self.now_seconds += 1.0
            return self.now_seconds

    gate, _ = new_gate(clock=Ticking())
    gate.pause(1.5)
    assert 0 == acquire(gate)


def test_the_window_holds_back_the_next_one() -> None:
    """With the window full, a request waits until another one leaves."""
    gate, _ = new_gate(window=2)
    generations = [acquire(gate), acquire(gate)]
    entered = threading.Event()
    waiter = threading.Thread(target=lambda: (acquire(gate), entered.set()))
    waiter.start()
    assert not entered.wait(0.05)
    release(gate, generations[0])
    assert entered.wait(5)
    waiter.join()


def test_the_window_halves_once_for_one_overload_and_grows_again() -> None:
    """Four answers to one overload halve the window once; successes widen it, one at a time."""
    gate, _ = new_gate(window=8)
    assert gate.window == FIRST_WINDOW
    widen(gate, by=8 - FIRST_WINDOW)
    assert gate.window == 8
    generations = [acquire(gate) for _ in range(4)]
    for generation in generations:
        release(gate, generation, overloaded=True)
    assert gate.window == 4
    for halved in (2, 1, 1):
        release(gate, acquire(gate), overloaded=True)
        assert gate.window == halved
    for _ in range(SUCCESSES_TO_WIDEN - 1):
        release(gate, acquire(gate))
        assert gate.window == 1
    release(gate, acquire(gate))
    assert gate.window == 2
    widen(gate, by=20)
    assert gate.window == 8


def test_the_smallest_rank_goes_first() -> None:
    """A batch that comes back stands before those that were not sent yet."""
    gate, _ = new_gate(window=1)
    generation = acquire(gate)
    order: list[int] = []

    def pass_through(rank: int) -> None:
        own = acquire(gate, rank)
        order.append(rank)
        release(gate, own)

    threads = [threading.Thread(target=pass_through, args=(rank,)) for rank in (3, 1, 2)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    release(gate, generation)
    for thread in threads:
        thread.join()
    assert order == [1, 2, 3]


def test_a_pause_holds_everybody() -> None:
    """Nothing leaves before the pause is over; a shorter one does not shorten it."""
    gate, clock = new_gate()
    started = clock.monotonic()
    gate.pause(300)
    gate.pause(1)
    acquire(gate)
    acquire(gate)
    assert 300 <= clock.monotonic() - started < 302


@pytest.mark.parametrize("rate", [10.0, 1_000.0])
def test_the_bucket_holds_the_rate(rate: float) -> None:
    """So many events a second, over any number of requests; the first leaves at once."""
    gate, clock = new_gate(rate=rate)
    started = clock.monotonic()
    for _ in range(10):
        release(gate, acquire(gate, messages=50))
    took = clock.monotonic() - started
    assert 450 / rate <= took < 450 / rate + 1


def test_no_rate_no_bucket() -> None:
    """Zero switches the throttle off."""
    gate, clock = new_gate(rate=0)
    assert isinstance(clock, HurriedClock)
    for _ in range(10):
        release(gate, acquire(gate, messages=1_000_000))
    assert clock.slept_seconds == 0


@pytest.mark.parametrize("reason", ["pause", "window"])
def test_a_stop_ends_every_wait(reason: str) -> None:
    """Threads that wait, for either reason, stop waiting when the delivery ends."""
    gate, _ = new_gate(window=1, clock=SystemClock())
    if reason == "pause":
        gate.pause(300)
    else:
        acquire(gate)
    stop = threading.Event()
    stopped: list[int] = []

    def wait(number: int) -> None:
        with pytest.raises(Stopped):
            gate.acquire(rank=1, messages=1, stop=stop)
        stopped.append(number)

    threads = [threading.Thread(target=wait, args=(n,), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert [] == stopped
    stop.set()
    gate.wake()
    for thread in threads:
        thread.join(60)
    assert [0, 1, 2] == sorted(stopped)
