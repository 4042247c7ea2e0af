"""The functions that a run answers reads with, imported when the first one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Read = Callable[..., dict[str, Any]]


class LazyReads(Mapping[str, Read]):
    """`reporting.reads.READS`, whose import takes longer than a run without news."""

    def __getitem__(self, name: str) -> Read:
        return self._functions()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions())

    def __len__(self) -> int:
        return len(self._functions())

    def __bool__(self) -> bool:
        return True

    def _functions(self) -> Mapping[str, Read]:
        from tailrace.reporting.reads import READS

        return READS
