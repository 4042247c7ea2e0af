"""What a command imports: dlt takes longer than a small plan, and only an extract needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shop import PEOPLE, Shop

from tailrace.testing.segment.simulator import SegmentSimulator

COMMANDS = """
import sys
import tailrace
project = tailrace.Project.load(sys.argv[1])
for command in ("validate", "plan", "sync", "status"):
    assert getattr(project, command)().exit_code == 0
    print(command, *sorted({"dlt", "pyarrow", "simple_salesforce", "zeep"} & sys.modules.keys()))
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
        assert ["validate", "plan", "sync", "status"] == process.stdout.splitlines()
        assert segment.received
