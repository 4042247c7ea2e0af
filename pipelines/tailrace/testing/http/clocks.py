"""Clocks for tests: time passes when somebody sleeps, and nobody has to wait for it."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

from tailrace.clock import SystemClock


class HurriedClock(SystemClock):
    """The machine's clock, ahead by every second that was slept away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.slept_seconds = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.slept_seconds)

    def monotonic(self) -> float:
        return super().monotonic() + self.slept_seconds

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept_seconds += max(seconds, 0.0)
        # Somebody else may be what the sleeper waits for.
        time.sleep(0.0005)
