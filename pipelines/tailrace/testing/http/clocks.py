"""A clock for tests on which a sleep takes no time."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

from tailrace.clock import SystemClock


class HurriedClock(SystemClock):
    """The system clock, moved ahead by every `sleep` in place of waiting."""

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
        # Yield to other threads: one of them may do what the caller waits for.
        time.sleep(0.0005)
