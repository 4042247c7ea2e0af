"""A shop that posts its audience to a webhook receiver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shop import Shop

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SELECT = "SELECT id, email, city, score FROM salesforce.contact WHERE NOT is_deleted\n"


class WebhookShop(Shop):
    """A project whose audience goes to `[destination.webhook]` at a URL."""

    def __init__(self, root: Path, url: str, **settings: Any) -> None:
        super().__init__(root)
        self.environ.pop("DESTINATION__SEGMENT__WRITE_KEY", None)
        self.set(url=url, secret=SECRET, requests_per_second_max=0, retry_seconds_max=3, **settings)

    def set(self, **settings: Any) -> None:
        """Set keys of `[destination.webhook]`."""
        for name, value in settings.items():
            self.environ[f"DESTINATION__WEBHOOK__{name.upper()}"] = str(value)

    def header(self, block: str = "{}", *, more: str = "", select: str = SELECT) -> None:
        """Write the audience with a block `webhook:`."""
        self.audience(
            f"/* ---\naudience: people\nkey: id\n{more}webhook: {block}\n--- */\n{select}"
        )

    def people(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the landed contacts."""
        self.land(rows)
