"""What the ledger keeps of a message that was refused: its shape, with every value masked.

Names that the header or the destination's format gives stay readable. What else is a name came from
the data, as the keys of a map do, and is masked like a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tailrace.audience.audience import Audience
from tailrace.encoding.transforms import mask_sample

ITEMS_MAX = 3
NAMES_MAX = 100
PAYLOAD_BYTES_MAX = 16_000

SPEC_NAMES = """
anonymousId audience_key categoryPreferences collection computation_class computation_id
computation_key consent context email encoding event externalIds groupId id integrations
messageId namespace personas previous properties row space_id timestamp traits type userId
"""
# These two come from the header.
PLAIN_NAMES = ("type", "event")


class Masker:
    """Masks the refused messages of one audience."""

    def __init__(self, audience: Audience) -> None:
        named = {step for path, _ in audience.references() for step in path.split(".")}
        track, identify = audience.track, audience.identify
        constants = {
            *(track.properties if track else ()),
            *(identify.traits if identify else ()),
            *(audience.group.traits if audience.group else ()),
        }
        named |= {step for name in constants for step in (name, *name.split("."))}
        named |= {audience.name, (identify and identify.membership_trait) or audience.name}
        named |= {*audience.context, *audience.integrations, *audience.mapped_columns}
        block = audience.block
        # A block's own format says whose values come from the header.
        self._plain_names = PLAIN_NAMES if block is None else block.plain_names
        spec_names = SPEC_NAMES.split() if block is None else block.names
        self._names = frozenset({*named, *spec_names, *audience.key, "Salesforce"})

    def message(self, body: bytes) -> str:
        """A refused message."""
        message = orjson.loads(body)
        masked = self._masked(message)
        plain = {name: message[name] for name in self._plain_names if name in message}
        return _written({**masked, **plain}, plain)

    def row(self, kind: str, values: Mapping[str, Any]) -> str:
        """A row from which no message could be built."""
        return _written({"type": kind, "row": self._masked(dict(values))}, {"type": kind})

    def _masked(self, value: Any) -> Any:
        if isinstance(value, dict):
            kept = list(value.items())[:NAMES_MAX]
            return {self._name(name): self._masked(inner) for name, inner in kept}
        if isinstance(value, list | tuple):
            more = len(value) - ITEMS_MAX
            items = [self._masked(item) for item in value[:ITEMS_MAX]]
            return [*items, f"… {more} more"] if more > 0 else items
        return mask_sample(value)

    def _name(self, name: Any) -> str:
        return name if name in self._names else mask_sample(name) or "null"


def _written(document: Mapping[str, Any], plain: Mapping[str, Any]) -> str:
    """A masked message as JSON; of one that is too large, only its plain values and its size."""
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    if len(text) > PAYLOAD_BYTES_MAX:
        text = orjson.dumps({**plain, "bytes": len(text)})
    return text.decode()
