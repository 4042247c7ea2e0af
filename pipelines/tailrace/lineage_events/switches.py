"""Whether OpenLineage events are sent, without importing what sends them."""

from __future__ import annotations

from collections.abc import Mapping

_SWITCHES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE")


def is_switched_on(environ: Mapping[str, str]) -> bool:
    """Whether a variable of the OpenLineage client says where events go."""
    return any(environ.get(name) for name in _SWITCHES)
