"""The log of a run: one line for each phase, with its counts and seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tailrace.clock import Clock

log = logging.getLogger(__name__)

# Called with a phase and a name, how much of it is done, and how much there is; 0 if unknown.
Progress = Callable[[str, int, int], None]


class Phases:
    """Logs the phases of one run at INFO; the counts are also in the record's `extra`."""

    def __init__(self, run_id: str, command: str, clock: Clock) -> None:
        self._run = {"run_id": run_id, "command": command}
        self._clock = clock
        self._started = clock.monotonic()
        # Seconds by phase; a phase that occurs twice adds up.
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[dict[str, int]]:
        """Time a phase. The body fills in the counts, by the noun that they count."""
        counts: dict[str, int] = {}
        started = self._clock.monotonic()
        try:
            yield counts
        except BaseException as error:
            seconds = self._take(name, started)
            # The type only: the text of an exception may quote a row.
            self._log(f"{name} stopped by {type(error).__name__}", name, seconds, counts)
            raise
        self._log(name, name, self._take(name, started), counts)

    def _take(self, name: str, started: float) -> float:
        seconds = self._clock.monotonic() - started
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)
        return seconds

    def start(self) -> None:
        """Log that the run has started."""
        extra = {**self._run, "phase": "start"}
        log.info("run %s (%s) started", self._run["run_id"], self._run["command"], extra=extra)

    def finish(self, exit_code: int) -> None:
        """Log how the run ended."""
        seconds = self._clock.monotonic() - self._started
        self._log(f"finished with exit code {exit_code}", "finish", seconds, {})

    def _log(self, text: str, phase: str, seconds: float, counts: dict[str, int]) -> None:
        shown = ", ".join(f"{count:,} {noun}" for noun, count in counts.items())
        extra = {**self._run, "phase": phase, "seconds": round(seconds, 3), "counts": dict(counts)}
        message = f"{text}: {shown}" if shown else text
        log.info("%s (%.1f s)", message, seconds, extra=extra)
