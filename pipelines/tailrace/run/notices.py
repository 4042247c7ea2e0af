"""What a run has to say that stops nothing: the warnings of a result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.destinations.segment.mapper import Mapper
from tailrace.destinations.segment.spec import advice


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something that somebody should know. Never a personal value."""

    message: str
    hint: str = ""
    audience: str | None = None
    file: str | None = None
    line: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """One entry of `warnings` in a `--json` result."""
        return {
            "message": self.message,
            "hint": self.hint,
            "audience": self.audience,
            "file": self.file,
            "line": self.line,
        }


def of_header(audience: Audience) -> Iterator[Remark]:
    """What to think over in a header, with its line."""
    for each in advice(audience):
        yield Remark(
            message=f"{each.path}: {each.message}",
            audience=audience.name,
            file=audience.file,
            line=audience.line(each.path),
        )


def of_headers(audiences: Iterable[Audience | None]) -> Iterator[Remark]:
    """The same in one line an audience, for runs that come every day."""
    for audience in filter(None, audiences):
        found = len(advice(audience))
        if found:
            yield Remark(
                message=f"{audience.name}: {found} remarks about the header"
                if found > 1
                else f"{audience.name}: a remark about the header",
                hint="Read them with: tailrace validate",
                audience=audience.name,
                file=audience.file,
            )


def of_mapping(mapper: Mapper) -> Iterator[Remark]:
    """What of the values could not travel unchanged, and what the tracking plan only flags."""
    name, encoder = mapper.audience.name, mapper.encoder
    if encoder.nulled:
        yield Remark(
            message=f"{name}: NaN or infinite, and sent as null: {values(encoder.nulled)}",
            hint="JSON has no such numbers; decide in the SELECT what they should be.",
            audience=name,
        )
    if encoder.repaired:
        yield Remark(
            message=f"{name}: half a character, and sent as U+FFFD: {values(encoder.repaired)}",
            audience=name,
        )
    for (rule, path), count in sorted(mapper.flagged.items()):
        yield Remark(
            message=f"{name}: against the tracking plan, {rule} at {path}: {count:,} sent",
            hint="They were sent: the rule says flag. See tracking_plan.yaml.",
            audience=name,
        )


def values(count: int) -> str:
    """A number of values.

    >>> values(1), values(2_000)
    ('1 value', '2,000 values')
    """
    return f"{count:,} value" + "s" * (count != 1)
