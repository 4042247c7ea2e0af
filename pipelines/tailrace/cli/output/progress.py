"""How far a long piece of work is: one line on a terminal, with a bar, a rate and the time left."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import IO

from tailrace.clock import Clock, SystemClock
from tailrace.dataclass import dataclass

# The rate is that of the last seconds, so that it follows a service that becomes slower.
RATE_SECONDS = 15.0
REFRESH_SECONDS = 0.1
BAR_CELLS = 20
WIDTH_DEFAULT, WIDTH_MIN = 80, 12
# What is counted in each phase; the first word of a name is its phase.
UNITS = {"extract": "rows", "build": "models", "plan": "audiences", "send": "members"}
CLEAR_LINE = "\r\x1b[K"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the line shows.

    Attributes:
        name: The phase, and what it works on.
        unit: What is counted.
        done: How much is done.
        total: How much there is in all; 0 if that is unknown.
        rate: How much is done in a second; None if that is unknown yet.
    """

    name: str
    unit: str
    done: int
    total: int
    rate: float | None = None


def progress_text(shown: Shown, *, width: int, ascii_only: bool = False) -> str:
    """The line, in at most so many columns: the bar goes first, then the rate, then the name.

    >>> shown = Shown(name="send vip", unit="members", done=50, total=200, rate=5.0)
    >>> progress_text(shown, width=80, ascii_only=True)
    'send vip  [#####---------------]  25 %  50 of 200 members  5/s  30 s left'
    >>> progress_text(shown, width=54)
    'send vip  25 %  50 of 200 members  5/s  30 s left'
    >>> progress_text(shown, width=20)
    'send vip  25 %'
    """
    done = min(shown.done, shown.total) if shown.total else shown.done
    counted = f"{done:,} of {shown.total:,}" if shown.total else f"{done:,}"
    parts = [shown.name]
    if shown.total:
        parts += [_bar(done / shown.total, ascii_only), f"{done * 100 // shown.total} %"]
    parts.append(f"{counted} {shown.unit}".rstrip())
    if shown.rate:
        parts.append(f"{shown.rate:,.0f}/s" if shown.rate >= 1 else f"{shown.rate:.1f}/s")
        if shown.total > done:
            parts.append(f"{remaining_time(round((shown.total - done) / shown.rate))} left")
    # The parts that a narrow terminal does without, in this order.
    for dropped in ([1] if shown.total else []), [-1], [-1], [-1], [-1]:
        if len("  ".join(parts)) <= width or len(parts) == 1:
            break
        for place in dropped:
            del parts[place]
    return "  ".join(parts)[:width]


def _bar(share: float, ascii_only: bool) -> str:
    filled = int(share * BAR_CELLS)
    if ascii_only:
        return f"[{'#' * filled}{'-' * (BAR_CELLS - filled)}]"
    return "█" * filled + "░" * (BAR_CELLS - filled)


def remaining_time(seconds: int | None) -> str:
    """A duration as `1 h 05 min`, `12 min` or `40 s`; empty if it is unknown.

    >>> remaining_time(40), remaining_time(719), remaining_time(3_900), remaining_time(None)
    ('40 s', '12 min', '1 h 05 min', '')
    """
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


class Phase:
    """The parts of one phase, such as the objects that are extracted at the same time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts: dict[str, tuple[int, int]] = {}
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, part: str, done: int, total: int, *, now: float) -> None:
        """Take over how far one part is."""
        self._parts[part] = (done, total)
        self._seen.append((now, sum(done for done, _ in self._parts.values())))
        while now - self._seen[0][0] > RATE_SECONDS and len(self._seen) > 2:
            self._seen.popleft()

    def shown(self) -> Shown:
        """All parts together. The total is known if it is that of each part."""
        done = sum(done for done, _ in self._parts.values())
        totals = [total for _, total in self._parts.values()]
        active = [part for part, (done, total) in self._parts.items() if not total or done < total]
        names = active or list(self._parts)
        (begun, before), (latest, after) = self._seen[0], self._seen[-1]
        seconds = latest - begun
        return Shown(
            name=" ".join((self.name, names[-1])).strip(),
            unit=UNITS.get(self.name, ""),
            done=done,
            total=sum(totals) if all(totals) else 0,
            rate=(after - before) / seconds if seconds > 0 and after > before else None,
        )


class ProgressLine:
    """A line on a terminal that is written over while the work goes on.

    Nothing is written to anything but a terminal, nor with `plain`.
    """

    def __init__(
        self,
        stream: IO[str],
        *,
        plain: bool,
        clock: Clock | None = None,
    ) -> None:
        self._stream = stream
        self._shown = stream.isatty() and not plain
        self._ascii_only = "utf" not in (getattr(stream, "encoding", None) or "").lower()
        self._clock = clock or SystemClock()
        self._phase = Phase("")
        self._written_at = -REFRESH_SECONDS
        # Objects are extracted by several threads.
        self._lock = threading.Lock()

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show how far the work is.

        Args:
            name: The phase and what it works on, such as `extract Contact`.
            done: How much of it is done.
            total: How much there is of it; 0 if that is unknown.
        """
        if not self._shown:
            return
        phase, _, part = name.partition(" ")
        with self._lock:
            now = self._clock.monotonic()
            is_new = phase != self._phase.name
            if is_new:
                self._phase = Phase(phase)
            self._phase.update(part, done, total, now=now)
            if not is_new and now - self._written_at < REFRESH_SECONDS:
                return
            self._written_at = now
            text = progress_text(
                self._phase.shown(), width=self._width(), ascii_only=self._ascii_only
            )
            self._stream.write(f"{CLEAR_LINE}{text}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that the result starts on an empty one."""
        if self._shown:
            with self._lock:
                self._phase = Phase("")
                self._stream.write(CLEAR_LINE)
                self._stream.flush()

    def _width(self) -> int:
        """The columns of the terminal, but one: a full line would wrap."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = WIDTH_DEFAULT
        return max((columns or WIDTH_DEFAULT) - 1, WIDTH_MIN)
