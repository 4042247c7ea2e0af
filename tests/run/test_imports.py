"""What a command imports: dlt takes longer than a small plan, and only an extract needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shop import PEOPLE, Shop

from tailrace.project import Project
from tailrace.testing import SalesforceSimulator
from tailrace.testing.segment.simulator import SegmentSimulator

COMMANDS = """
import sys
import tailrace
project = tailrace.Project.load(sys.argv[1])
for command in ("validate", "plan", "sync", "status", "webhook"):
    if command == "webhook":
        # Only an Apex class needs the login of an org.
        import tailrace.destinations.webhook.http
    else:
        assert getattr(project, command)().exit_code == 0
    heavy = {"dlt", "pyarrow", "simple_salesforce", "zeep"}
    # A delivery needs DuckDB's relations; to read models and to plan, the driver is enough.
    heavy |= {"duckdb"} if command in ("validate", "plan") else set()
    print(command, *sorted(heavy & sys.modules.keys()))
"""


def test_only_an_extract_imports_dlt(tmp_path: Path) -> None:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "email": "ada@example.com", "city": "Oslo", "score": 1}])
        process = subprocess.run(
            [sys.executable, "-c", COMMANDS, str(shop.root)],
            env=os.environ | shop.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ["validate", "plan", "sync", "status", "webhook"] == process.stdout.splitlines()
        assert segment.received


IDLE = """
import sys
import tailrace
result = getattr(tailrace.Project.load(sys.argv[1]), sys.argv[2])()
assert result.exit_code == 0
heavy = {"dlt", "duckdb", "pyarrow", "requests", "simple_salesforce", "sqlglot"}
heavy |= {"tailrace.models.loader", "tailrace.plan.planner"}
heavy |= {"difflib", "importlib.metadata", "tailrace.warehouse.driver_errors"}
heavy |= {"tailrace.warehouse.refusals", "tailrace.warehouse.postgres_failures"}
heavy |= {"ctypes", "http.server", "tailrace.run.read_requests"}
print(*sorted(heavy & sys.modules.keys()))
assert not any(entry["rows"] for entry in result.objects)
"""


def test_a_run_that_finds_nothing_new_imports_no_engine_of_extracts_or_models(
    tmp_path: Path,
) -> None:
    with SalesforceSimulator() as salesforce, SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(
            PEOPLE.replace("email, city, score", "email, mailing_city AS city, 1 AS score")
        )
        prefix = "SOURCES__SALESFORCE__CREDENTIALS__"
        environ = shop.environ | {
            f"{prefix}INSTANCE_URL": salesforce.url,
            f"{prefix}CLIENT_ID": salesforce.client_id,
            f"{prefix}CLIENT_SECRET": salesforce.client_secret,
            "SOURCES__SALESFORCE__OBJECTS": '["Contact"]',
        }
        for _ in range(3):
            assert Project.load(shop.root, environ=environ).run().exit_code == 0
            salesforce.org.advance(minutes=30)
        # Through a proxy, the requests are made by another library.
        outside = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        for command in ("run", "extract"):
            process = subprocess.run(
                [sys.executable, "-c", IDLE, str(shop.root), command],
                env=outside | environ,
                capture_output=True,
                text=True,
                check=True,
            )
            assert "" == process.stdout.strip()
