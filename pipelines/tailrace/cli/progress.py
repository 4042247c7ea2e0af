"""How far a long piece of work is, on a terminal."""

from __future__ import annotations

from typing import IO


class ProgressLine:
    """One line on a terminal that is written over while the work goes on."""

    def __init__(self, stream: IO[str], *, plain: bool) -> None:
        self._stream = stream
        self._shown = stream.isatty() and not plain

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show how far the work is; without a total, only how much is done."""
        if self._shown:
            far = f"{done:,} of {total:,}" if total else f"{done:,}"
            self._stream.write(f"\r\x1b[K{name}: {far}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that the result starts on an empty one."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


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
