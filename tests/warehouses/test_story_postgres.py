"""The story of the demo on a PostgreSQL server, told by the real command line.

The project is set up as docs/how-to/postgresql.md says, its secrets in `.dlt/secrets.toml`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tailrace.cli.commands.init import scaffold
from tailrace.clock import SystemClock
from tailrace.testing import SalesforceSimulator, SegmentSimulator
from tailrace.testing.org.org import Org

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "postgresql.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.postgres


class Story:
    """A project on PostgreSQL, both services, and a second source at Segment."""

    def __init__(self, command: Any, folder: Path, services: ExitStack, database: str) -> None:
        self.command = command
        # Its time is this machine's, as the processes' is.
        org = Org(start=SystemClock().now())
        self.salesforce = services.enter_context(SalesforceSimulator(org=org))
        self.segment = services.enter_context(SegmentSimulator())
        self.other = services.enter_context(SegmentSimulator(write_key="other-key"))
        self.root = scaffold(folder).root
        self._configure(database)

    def _configure(self, database: str) -> None:
        config = self.root / ".dlt" / "config.toml"
        text = config.read_text().replace('warehouse = "duckdb"', 'warehouse = "postgres"')
        objects = 'objects = ["Account", "Contact", "Opportunity", "Campaign", "CampaignMember"]'
        config.write_text(re.sub(r"objects = \[.*?\]", objects, text, count=1, flags=re.S))
        (block,) = re.findall(r"```toml\n(\s*\[destination\.postgres\]\n.*?)```", PAGE, re.S)
        shown = dedent(block)
        example = "postgresql://loader:password@db.example.com:5432/analytics"
        assert example in shown
        (self.root / ".dlt" / "secrets.toml").write_text(
            f"{shown.replace(example, database)}\n"
            "[sources.salesforce.credentials]\n"
            f'instance_url = "{self.salesforce.url}"\n'
            f'client_id = "{self.salesforce.client_id}"\n'
            f'client_secret = "{self.salesforce.client_secret}"\n'
            "[destination.segment]\n"
            f'host = "{self.segment.url}"\nwrite_key = "{self.segment.write_key}"\n'
            "[destination.second]\n"
            f'host = "{self.other.url}"\nwrite_key = "{self.other.write_key}"\n'
        )

    def said(self, *arguments: str) -> Any:
        """What a command that ends well prints."""
        done = self.command(*arguments, "--json", cwd=self.root)
        assert 0 == done.returncode, done.stdout + done.stderr
        return json.loads(done.stdout)

    def all_said(self, *lines: tuple[str, ...]) -> list[Any]:
        """Several commands that only look, side by side."""
        with ThreadPoolExecutor(max_workers=len(lines)) as side_by_side:
            return list(side_by_side.map(lambda line: self.said(*line), lines))

    def edit(self, name: str, old: str, new: str, *, to: str | None = None) -> None:
        """Change an audience's file, and its name with `to`."""
        file = self.root / "models" / "audiences" / f"{name}.sql"
        text = file.read_text()
        assert old in text
        file.unlink()
        file.with_stem(to or name).write_text(text.replace(old, new, 1))


@pytest.fixture
def story(command: Any, tmp_path: Path, postgres_database: str) -> Iterator[Story]:
    with ExitStack() as services:
        yield Story(command, tmp_path / "shop", services, postgres_database)


def moved(result: Any, name: str) -> tuple[int, int, int, int]:
    (found,) = (each for each in result["audiences"] if each["audience"] == name)
    before, *moves = (found[each] for each in ("size_before", "entered", "exited", "size_after"))
    return (before, *moves)


def test_the_whole_scenario_runs_on_postgres(story: Story) -> None:
    """Two days from Salesforce to Segment, a review between, and the ledger looked after."""
    story.said("extract")
    reviewed = story.said("plan", "--out", "plan.json")
    first = story.said("sync", "--plan", "plan.json")
    assert reviewed["segment"]["calls"] == first["segment"]["calls"] == len(story.segment.events)
    size = moved(first, "vip_contacts")[-1]
    assert (0, size, 0, size) == moved(first, "vip_contacts")

    story.salesforce.org.advance_day()
    second = story.said("run")
    before, entered, exited, after = moved(second, "vip_contacts")
    assert (size, after) == (before, size + entered - exited)
    assert sum(e["entered"] + e["changed"] + e["exited"] for e in second["audiences"]) > 0

    person = next(e["userId"] for e in story.segment.events if e.get("event") == "Segment Entered")
    traced, history, status = story.all_said(
        ("trace", person), ("history", "vip_contacts"), ("status",)
    )
    ids = {
        call["message_id"]
        for audience in traced["audiences"]
        for event in audience["events"]
        for call in event["calls"]
    }
    assert {e["messageId"] for e in story.segment.events if e["userId"] == person} == ids
    assert sorted([size, after]) == sorted(run["size_after"] for run in history["runs"])
    assert ["run", "sync", "extract"] == [run["command"] for run in status["runs"]]

    assert 0 == story.said("reset", "vip_contacts", "--no-send")["segment"]["calls"]
    told = story.said("replay", "vip_contacts", "--to", "second")
    assert [after] == [e["sent"] for e in told["audiences"]]
    assert after == len({event["userId"] for event in story.other.events})

    story.edit("lapsed_customers", ": lapsed_", ": lost_", to="lost_customers")
    story.said("rename", "lapsed_customers", "lost_customers")
    gone = story.said("retire", "campaign_responders", "--yes")
    assert moved(second, "campaign_responders")[-1] == moved(gone, "campaign_responders")[2]
    assert story.said("purge", "--older-than", "0d", "--yes")["forgotten"]["outbox"] > 0
    (story.root / "models" / "audiences" / "campaign_responders.sql").unlink()
    story.edit("vip_contacts", "key:", "destination: [segment, second]\nkey:")
    quiet = story.said("sync")
    assert (0, []) == (quiet["segment"]["calls"], quiet["orphans"])
