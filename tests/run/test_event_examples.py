"""The example event models, run against the simulators over two days."""

from collections import Counter
from pathlib import Path

import pytest

from tailrace import Project
from tailrace.testing import SalesforceSimulator, SegmentSimulator

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAMES = ("opportunity_created", "opportunity_stage_changed", "case_closed")
CONFIG = """
[sources.salesforce]
objects = ["Opportunity", "OpportunityFieldHistory", "Case"]
[tailrace]
first_run_members_max = 0
"""


@pytest.mark.timeout(300)
def test_lifecycle_events_arrive_once_with_their_own_times(tmp_path: Path) -> None:
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "config.toml").write_text(CONFIG)
    (tmp_path / "models").mkdir()
    for name in NAMES:
        text = (EXAMPLES / f"{name}.sql").read_text()
        (tmp_path / "models" / f"{name}.sql").write_text(
            text.replace("timestamp:", "since: all\nkeep: 9000d\ntimestamp:")
        )
    with SalesforceSimulator() as salesforce, SegmentSimulator() as segment:
        credentials = "SOURCES__SALESFORCE__CREDENTIALS__"
        environ = {
            f"{credentials}INSTANCE_URL": salesforce.url,
            f"{credentials}CLIENT_ID": salesforce.client_id,
            f"{credentials}CLIENT_SECRET": salesforce.client_secret,
            "DESTINATION__SEGMENT__HOST": segment.url,
            "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
        }
        project = Project.load(tmp_path, environ=environ)
        project.run().raise_for_errors()
        first = len(segment.events)
        deals = salesforce.org.rows("Opportunity")
        deal = next(
            dict(deal)
            for deal in deals.many(deals.ids())
            if deal["ContactId"] and deal["StageName"] == "Prospecting"
        )
        salesforce.org.update("Opportunity", deal["Id"], {"StageName": "Closed Won"})
        project.run().raise_for_errors()
        (event,) = segment.events[first:]
        assert (event["event"], event["userId"]) == (
            "Opportunity Stage Changed",
            deal["ContactId"],
        )
        assert event["properties"] == {
            "opportunity_id": deal["Id"],
            "from": deal["StageName"],
            "to": "Closed Won",
        }
        counts = Counter(event["event"] for event in segment.events)
        assert counts["Opportunity Created"] > 0
        assert counts["Case Closed"] > 0
        assert project.run().exit_code == 0
        assert sum(counts.values()) == len(segment.events)
