"""Fault rules: which requests fail, and how.

A rule counts the requests that match it and fires on the ones selected by `nth` and `times`. Every
rule counts; the first rule that fires applies. Rules without callables can be sent as JSON to
`/_control/faults` of a simulator in another process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Literal

from tailrace.testing.http.bodies import UNEXPECTED_BODIES
from tailrace.testing.http.messages import Request

Cut = Literal["before", "after", "middle"]
CUTS = ("before", "after", "middle")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule. A criterion that is left out matches every request.

    Args:
        path: glob over the request's path, without the query string.
        method: the HTTP method.
        contains: text that the request's target or decoded body must contain.
        when: predicate over the request; in-process only.
        poison: which event makes its batch match: a predicate, or dotted path -> value.
        nth: the first matching request that fires, counted from 1.
        times: how many matching requests fire. Default: one if `nth` is given, else all.
        status: status to answer in place of the real one.
        body: body of that answer: text, bytes or any JSON value. None = the service's own error.
        unexpected_body: name of a body in `UNEXPECTED_BODIES`; its status is 200 unless given.
        headers: headers added to the answer, scripted or real.
        processed: do the work of the request before `status` is answered.
        delay_seconds: time to wait before anything else.
        cut: close the connection before the work, after the work, or halfway through the answer.
        expire_token: expire all tokens before the request is handled.
        drip_seconds: pause after each byte of the answer's body.
        endless: repeat the answer's body until the client hangs up.
        gzip_members: number of gzip members that a compressed answer consists of.
        inflated_bytes: send this many spaces, compressed, in front of the body.
        early_hints: send `103 Early Hints` before the answer.
        date_offset_seconds: shift the Date header.
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
    unexpected_body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    processed: bool = False
    delay_seconds: float = 0.0
    cut: Cut | None = None
    expire_token: bool = False
    drip_seconds: float = 0.0
    endless: bool = False
    gzip_members: int = 1
    inflated_bytes: int = 0
    early_hints: bool = False
    date_offset_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.cut is not None and self.cut not in CUTS:
            raise ValueError(f"cut must be one of {', '.join(CUTS)}, got {self.cut!r}")
        if self.nth is not None and self.nth < 1:
            raise ValueError(f"nth counts from 1, got {self.nth}")
        if self.gzip_members < 1:
            raise ValueError(f"gzip_members must be at least 1, got {self.gzip_members}")
        if self.unexpected_body is not None and self.unexpected_body not in UNEXPECTED_BODIES:
            names = ", ".join(UNEXPECTED_BODIES)
            raise ValueError(f"unexpected_body must be one of {names}")

    def matches(self, request: Request, events: Callable[[], Iterable[Mapping[str, Any]]]) -> bool:
        """Whether the rule counts this request."""
        if not fnmatchcase(request.path, self.path):
            return False
        if self.method is not None and request.method != self.method.upper():
            return False
        if self.contains is not None and not self._is_contained(request):
            return False
        if self.when is not None and not self.when(request):
            return False
        return self.poison is None or any(self.poisons(event) for event in events())

    def _is_contained(self, request: Request) -> bool:
        text = self.contains or ""
        return text in request.target or text.encode() in request.content()

    def poisons(self, event: Mapping[str, Any]) -> bool:
        """Whether this event matches `poison`."""
        if callable(self.poison):
            return self.poison(event)
        if self.poison is None:
            return False
        return all(_value_at(event, path) == value for path, value in self.poison.items())

    def fires(self, count: int) -> bool:
        """Whether the rule fires on its `count`-th matching request."""
        first = self.nth or 1
        times = self.times
        if times is None and self.nth is not None:
            times = 1
        return count >= first and (times is None or count < first + times)

    @classmethod
    def from_json(cls, rule: Mapping[str, Any]) -> Fault:
        """A rule from JSON; the keys are the field names above.

        Raises:
            ValueError: A key or a value is not valid.
        """
        names = {item.name for item in fields(cls)} - {"when"}
        unknown = sorted(set(rule) - names)
        if unknown:
            raise ValueError(
                f"Unknown fault option {', '.join(unknown)}; options: {', '.join(sorted(names))}"
            )
        return cls(**rule)

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON, without defaults; callables and bytes are shown as text."""
        rule: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default and value != {}:
                rule[item.name] = "<callable>" if callable(value) else _json_value(value)
        return rule


class FaultScript:
    """The rules of one simulator in order; they may change while requests arrive."""

    def __init__(self, rules: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[Fault, list[int]]] = []
        self.extend(rules)

    def append(self, rule: Fault) -> None:
        """Add a rule after the others."""
        with self._lock:
            self._rules.append((rule, [0]))

    def extend(self, rules: Iterable[Fault]) -> None:
        """Add rules after the others."""
        for rule in rules:
            self.append(rule)

    def clear(self) -> None:
        """Remove all rules."""
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
        """Count the request in every rule that matches; return the first rule that fires."""
        with self._lock:
            rules = list(self._rules)
        # Predicates run outside the lock: they may be slow, and they may change the script.
        matching = [entry for entry in rules if entry[0].matches(request, events)]
        fault: Fault | None = None
        with self._lock:
            for rule, count in matching:
                count[0] += 1
                if fault is None and rule.fires(count[0]):
                    fault = rule
        return fault


def _value_at(event: Mapping[str, Any], path: str) -> Any:
    """The value at a path such as `traits.email`; a sentinel if the path does not exist."""
    value: Any = event
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return _MISSING
        value = value[step]
    return value


def _json_value(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


_MISSING = object()
