"""The destination types, by the `type` of a section `[destination.NAME]`."""

from __future__ import annotations

from collections.abc import Callable

from tailrace.config.project import ProjectConfig, did_you_mean
from tailrace.destinations.protocol import DestinationType
from tailrace.errors import InvalidConfigValue

DEFAULT_TYPE = "segment"


def _segment() -> DestinationType:
    from tailrace.destinations.segment.destination import SegmentDestination

    return SegmentDestination()


# Imported when first used: each type brings the libraries of its service.
_TYPES: dict[str, Callable[[], DestinationType]] = {DEFAULT_TYPE: _segment}


def destination_type(name: str = DEFAULT_TYPE) -> DestinationType:
    """The destination type of a name.

    Raises:
        InvalidConfigValue: There is no such type.
    """
    if name not in _TYPES:
        raise InvalidConfigValue(
            f'There is no destination type "{name}".{did_you_mean(name, _TYPES)}',
            hint=f"Set type to one of: {', '.join(_TYPES)}.",
        )
    return _TYPES[name]()


def type_of(project: ProjectConfig, destination: str) -> DestinationType:
    """The type of the section `[destination.NAME]`.

    Raises:
        InvalidConfigValue: The section has an unknown type.
    """
    return destination_type(project.destination_type(destination))
