"""A process that watches is killed before statements of its own, and started again."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from fork_server import ForkServer
from org_shop import SIZES, OrgShop
from simulation.victim import LIVE_WATCHING

from tailrace.clock import SystemClock
from tailrace.testing import SalesforceSimulator, SegmentSimulator
from tailrace.testing.org.org import Org

# A run of a cycle makes some hundred statements; the later ones are those of later cycles.
STATEMENTS = 160


def test_a_process_that_watches_loses_nothing_when_it_is_killed(
    tmp_path: Path, request: pytest.FixtureRequest, fork_server: ForkServer
) -> None:
    """The next process of any kind sends the rest, each message once and with one id."""
    chance = random.Random(20261127)
    org = Org(start=SystemClock().now(), sizes=SIZES)
    with SalesforceSimulator(org=org) as salesforce, SegmentSimulator() as segment:
        shop = OrgShop(tmp_path / "shop", salesforce, segment)
        shop.clock = SystemClock()
        assert 0 == fork_server.call(
            LIVE_WATCHING, str(shop.root), shop.environ, None, cwd=shop.root
        )
        titles, codes = [""], []
        for number in range(request.config.getoption("--watch-kills")):
            titles.append(f"Title {number}")
            org.update("Contact", shop.contact(0), {"Title": titles[-1]})
            death = chance.randint(1, STATEMENTS)
            code = fork_server.call(
                LIVE_WATCHING, str(shop.root), shop.environ, death, cwd=shop.root
            )
            codes.append(code)
        assert -signal.SIGKILL in codes
        assert set(codes) <= {0, -signal.SIGKILL}
        assert 0 == fork_server.call(
            LIVE_WATCHING, str(shop.root), shop.environ, None, cwd=shop.root
        )
        assert [] == segment.inbox.clashes
        changed = [
            e["properties"]["title"] for e in shop.segment_events() if e["event"] == "Changed"
        ]
        assert titles[-1] == changed[-1]
        assert changed == sorted(set(changed), key=titles.index)
        entered = [e["userId"] for e in shop.segment_events() if e["event"] == "Segment Entered"]
        assert 8 == len(entered) == len(set(entered))
        assert [] == shop.query("SELECT * FROM tailrace.audience_runs WHERE phase <> 'done'")
        # Nothing is left to send.
        assert 0 == shop.sync().exit_code
        assert 8 + len(changed) == len(shop.segment_events())
