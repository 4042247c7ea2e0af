"""The warnings of a run's result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tailrace.dataclass import dataclass

if TYPE_CHECKING:
    from tailrace.audience.audience import Audience
    from tailrace.destinations.protocol import HeaderAdvice, MessageMapper


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A warning. It never holds a personal value."""

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


def _advice(audience: Audience) -> list[HeaderAdvice]:
    """The advice of each destination's type, each entry once."""
    from tailrace.destinations.registry import destination_type

    advice = [
        entry
        for sync in audience.syncs()
        for entry in destination_type(sync.destination_type).header_advice(sync)
    ]
    return list({(entry.path, entry.message): entry for entry in advice}.values())


def of_header(audience: Audience) -> Iterator[Notice]:
    """The advice on a header, each entry with its line."""
    for advice in _advice(audience):
        yield Notice(
            message=f"{advice.path}: {advice.message}",
            audience=audience.name,
            file=audience.file,
            line=audience.line(advice.path),
        )


def of_headers(audiences: Iterable[Audience | None]) -> Iterator[Notice]:
    """One line with the number of header warnings for each audience, for scheduled runs."""
    for audience in filter(None, audiences):
        count = len(_advice(audience))
        if count:
            yield Notice(
                message=f"{audience.name}: {count} warnings about the header"
                if count > 1
                else f"{audience.name}: 1 warning about the header",
                hint="Read them with: tailrace validate",
                audience=audience.name,
                file=audience.file,
            )


def of_mapping(mapper: MessageMapper) -> Iterator[Notice]:
    """Warnings about values of an audience that were changed in its messages."""
    name = mapper.audience.name
    for warning in mapper.value_warnings():
        yield Notice(message=f"{name}: {warning.message}", hint=warning.hint, audience=name)
