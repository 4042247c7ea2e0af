"""The time from a record's modification to its acknowledgement, as the ledger has it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from org_shop import OrgShop, org_shop

from tailrace.project import Project
from tailrace.reporting.openmetrics import openmetrics
from tailrace.run import job

LATENCY = "SELECT latency_records, latency_p50_seconds, latency_p95_seconds FROM tailrace.runs"


def run(shop: OrgShop) -> tuple[int, float | None, float | None]:
    """Run, and return the latency of the run."""
    assert job.run(shop.project, clock=shop.clock).exit_code == 0
    (row,) = shop.query(f"{LATENCY} ORDER BY run_seq DESC LIMIT 1")
    return row


def test_latency(tmp_path: Path) -> None:
    with org_shop(tmp_path / "shop") as shop:
        # Records of a first load were modified at any time before.
        assert (0, None, None) == run(shop)
        shop.clock.sleep(3_600)
        for place, seconds in enumerate((10, 20, 30, 40)):
            at = shop.org.now() - timedelta(seconds=seconds)
            shop.org.update("Contact", shop.contact(place), {"Title": f"T{place}"}, at=at)
        # An account is read by no audience.
        account = str(shop.org.rows("Account").records()[0]["Id"])
        shop.org.update("Account", account, {"Name": "Other"}, at=shop.org.now())
        records, p50, p95 = run(shop)
        assert (4, pytest.approx(25), pytest.approx(38.5)) == (records, p50, p95)
        # What the window reads again, because it overlaps, was measured before.
        shop.clock.sleep(30)
        shop.org.update("Contact", shop.contact(5), {"Title": "T5"}, at=shop.org.now())
        shop.clock.sleep(7)
        assert (1, 7, 7) == run(shop)
        project = Project(shop.project, clock=shop.clock)
        status = project.status().data
        latest = status["runs"][0]
        assert (7, 7) == (latest["latency_p50_seconds"], latest["latency_p95_seconds"])
        label = 'tailrace_run_latency_seconds{command="run",quantile="0.95"} 7.0'
        assert label in openmetrics(status).splitlines()
        page = Path(project.report(tmp_path / "report.html").data["file"]).read_text()
        assert "7.0 s, 7.0 s" in page
