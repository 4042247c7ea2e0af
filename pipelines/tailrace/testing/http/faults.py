"""A script of faults: which requests go wrong, and how.

A rule watches the requests that match it, counts them, and fires on those that it names. All rules
count; the first one that fires decides. Rules without callables also travel as JSON, so that a
simulator in another process can be steered over `/_control/faults`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tailrace.testing.http.server import Request

Cut = Literal["before", "after", "middle"]
CUTS = ("before", "after", "middle")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule of the script; what is left out does not limit it.

    Args:
        path: glob over the request's path, query string excluded.
        method: the HTTP method.
        contains: text that the request's target or (decoded) body must hold.
        when: predicate over the request; in-process only.
        poison: which event makes its batch match: a predicate, or dotted path -> value.
        nth: the first matching request that fires, 1-based.
        times: how many matching requests fire; with `nth` and without this, one.
        status: answered instead of the real answer.
        body: of that answer; text, bytes, or anything JSON can say. None = the service's own words.
        headers: added to the answer, scripted or real.
        processed: do the request's work first, and answer `status` all the same.
        delay_seconds: wait before anything else.
        cut: close the socket before the work, after the work, or in the middle of the answer.
        expire_token: every token that was handed out dies before the request is looked at.
    """

    path: str = "*"
    method: str | None = None
    contains: str | None = None
    when: Callable[[Request], bool] | None = None
    poison: Callable[[Mapping[str, Any]], bool] | Mapping[str, Any] | None = None
    nth: int | None = None
    times: int | None = None
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    processed: bool = False
    delay_seconds: float = 0.0
    cut: Cut | None = None
    expire_token: bool = False

    def __post_init__(self) -> None:
        if self.cut is not None and self.cut not in CUTS:
            raise ValueError(f"cut is one of {', '.join(CUTS)}, not {self.cut!r}")
        if self.nth is not None and self.nth < 1:
            raise ValueError("nth counts from 1")

    def watches(self, request: Request, events: Callable[[], Iterable[Mapping[str, Any]]]) -> bool:
        """Whether the request is one that this rule counts."""
        if not fnmatchcase(request.path, self.path):
            return False
        if self.method is not None and request.method != self.method.upper():
            return False
        if self.contains is not None and not self._contained(request):
            return False
        if self.when is not None and not self.when(request):
            return False
        return self.poison is None or any(self.poisons(event) for event in events())

    def _contained(self, request: Request) -> bool:
        wanted = self.contains or ""
        return wanted in request.target or wanted.encode() in request.content()

    def poisons(self, event: Mapping[str, Any]) -> bool:
        """Whether this event is the poisoned one."""
        if callable(self.poison):
            return self.poison(event)
        if self.poison is None:
            return False
        return all(_dig(event, path) == value for path, value in self.poison.items())

    def fires(self, count: int) -> bool:
        """Whether the rule fires on its `count`-th matching request."""
        first = self.nth or 1
        times = self.times
        if times is None and self.nth is not None:
            times = 1
        return count >= first and (times is None or count < first + times)

    @classmethod
    def from_json(cls, rule: Mapping[str, Any]) -> Fault:
        """A rule as `/_control/faults` takes it: the field names above."""
        known = {each.name for each in fields(cls)} - {"when"}
        unknown = sorted(set(rule) - known)
        if unknown:
            raise ValueError(f"a fault has no {', '.join(unknown)}; it has {', '.join(known)}")
        return cls(**rule)

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON can say it; callables are named only."""
        rule: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value != each.default and value != {}:
                rule[each.name] = "<callable>" if callable(value) else value
        return rule


class FaultScript:
    """The rules of one simulator, in order; may change while requests arrive."""

    def __init__(self, rules: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[Fault, list[int]]] = []
        self.extend(rules)

    def append(self, rule: Fault) -> None:
        """Add a rule behind the others."""
        with self._lock:
            self._rules.append((rule, [0]))

    def extend(self, rules: Iterable[Fault]) -> None:
        """Add rules behind the others."""
        for rule in rules:
            self.append(rule)

    def clear(self) -> None:
        """From here on nothing goes wrong."""
        with self._lock:
            self._rules.clear()

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter([rule for rule, _ in self._rules])

    def __len__(self) -> int:
        return len(self._rules)

    def firing(
        self,
        request: Request,
        events: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
    ) -> Fault | None:
        """Count the request in every rule that watches it; the first rule that fires, if any."""
        with self._lock:
            rules = list(self._rules)
        # Predicates run outside the lock: they may be slow, and they may touch the script.
        watching = [entry for entry in rules if entry[0].watches(request, events)]
        chosen: Fault | None = None
        with self._lock:
            for rule, count in watching:
                count[0] += 1
                if chosen is None and rule.fires(count[0]):
                    chosen = rule
        return chosen


def _dig(event: Mapping[str, Any], path: str) -> Any:
    """`traits.email` of an event; a missing step is a value that equals nothing."""
    value: Any = event
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return _MISSING
        value = value[step]
    return value


_MISSING = object()
