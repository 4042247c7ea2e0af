"""DuckDB's extension module stands for its package where no relation is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from tailrace.warehouse.driver import complete, driver
opened = driver().connect(sys.argv[1])
opened.execute("SELECT $1", [1]).fetchall()
assert "duckdb" not in sys.modules
try:
    opened.execute("SELECT nothing")
except driver().Error as error:
    raised = error
import duckdb
assert isinstance(raised, duckdb.BinderException) and isinstance(opened, duckdb.DuckDBPyConnection)
print(complete(opened).sql("SELECT 2").fetchall())
"""


@pytest.mark.older_duckdb
def test_the_driver_and_the_package_of_duckdb_share_connections_and_errors(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "warehouse.duckdb")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "[(2,)]" == process.stdout.strip()
