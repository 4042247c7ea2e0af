"""A shop whose contacts come from a simulated org and go to a simulated Segment, on one clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from shop import Shop

from tailrace.testing import SalesforceSimulator, SegmentSimulator, Sizes
from tailrace.testing.org.org import START, Org

SIZES = Sizes(
    users=2, accounts=3, contacts=8, leads=2, opportunities=2,
    campaigns=1, campaign_members=0, cases=1, tasks=1, events=1,
)  # fmt: skip
AUDIENCE = """/* ---
audience: {name}
key: id
user_id: id
track: {{changed: Changed, properties: {{title: title}}}}
guards: {{max_exited: null}}
--- */
SELECT id, title FROM salesforce.contact WHERE NOT is_deleted
"""


class SetClock:
    """A clock that moves by sleeps only, for all threads.

    Attributes:
        on_sleep: Called after each sleep, with its seconds.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.on_sleep: Callable[[float], None] | None = None
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.seconds += max(seconds, 0.0)
        if self.on_sleep is not None:
            self.on_sleep(seconds)


class OrgShop(Shop):
    """A project that extracts from an org."""

    def __init__(self, root: Path, salesforce: SalesforceSimulator, segment: Any) -> None:
        super().__init__(root, segment, clock=SetClock())
        self.salesforce = salesforce
        self.org = salesforce.org
        prefix = "SOURCES__SALESFORCE__CREDENTIALS__"
        self.environ |= {
            f"{prefix}INSTANCE_URL": salesforce.url,
            f"{prefix}CLIENT_ID": salesforce.client_id,
            f"{prefix}CLIENT_SECRET": salesforce.client_secret,
        }
        self.audience(AUDIENCE.format(name="people"))

    def contact(self, place: int) -> str:
        """The id of a contact."""
        return sorted(str(row["Id"]) for row in self.org.rows("Contact").records())[place]

    def segment_events(self) -> list[dict[str, Any]]:
        """What Segment took so far."""
        assert self.segment is not None
        return [dict(event) for event in self.segment.inbox.delivered]

    def requests(self) -> list[str]:
        """The paths that were asked of Salesforce since the last look."""
        paths = [entry.request.path for entry in self.salesforce.requests]
        self.salesforce.requests.clear()
        return paths


@contextmanager
def org_shop(root: Path) -> Iterator[OrgShop]:
    """A shop with running simulators."""
    clock = SetClock()
    org = Org(sizes=SIZES, clock=clock)
    with SalesforceSimulator(org=org, clock=clock) as salesforce, SegmentSimulator() as segment:
        shop = OrgShop(root, salesforce, segment)
        shop.clock = clock
        yield shop
