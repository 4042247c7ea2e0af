"""The dlt source in a user's own pipeline: resources, injection, any destination."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tailrace.errors import UnknownObject
from tailrace.salesforce.extract.source import SalesforceLogin, apply_corrections, salesforce
from tailrace.testing import SalesforceSimulator

import dlt  # isort: skip
from dlt.pipeline.exceptions import PipelineStepFailed  # isort: skip

OBJECTS = ["Account", "Contact", "CampaignMember"]


@pytest.fixture
def sf() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator() as simulator:
        yield simulator


def login(sf: SalesforceSimulator) -> SalesforceLogin:
    """Credentials as dlt would inject them."""
    given = SalesforceLogin()
    given.instance_url = sf.url
    given.client_id, given.client_secret = sf.client_id, sf.client_secret
    return given


def pipeline(folder: Path, name: str = "crm") -> dlt.Pipeline:
    """A user's own pipeline into a DuckDB file."""
    return dlt.pipeline(
        name,
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(folder / "crm.duckdb")),
        dataset_name="landed",
    )


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """What the user's warehouse says."""
    with duckdb.connect(str(folder / "crm.duckdb")) as connection:
        return connection.execute(sql).fetchall()


def test_a_users_pipeline_loads_and_loads_again(sf: SalesforceSimulator, tmp_path: Path) -> None:
    """Named by tables, incremental by itself, deletions applied on demand."""
    crm = pipeline(tmp_path)
    source = salesforce(objects=OBJECTS, credentials=login(sf))
    assert ["account", "campaign_member", "contact"] == sorted(source.resources)
    crm.run(source, loader_file_format="parquet")
    gone, soft = sf.org.rows("Contact").ids()[:2]
    sf.org.advance(hours=1)
    sf.org.purge("Contact", gone)
    sf.org.delete("Contact", soft)
    sf.org.advance(minutes=5)

    crm.run(salesforce(objects=OBJECTS, credentials=login(sf)), loader_file_format="parquet")
    apply_corrections(crm)

    assert [(200, 200)] == rows(tmp_path, "SELECT count(*), count(DISTINCT id) FROM landed.contact")
    flagged = "SELECT id, _hard_deleted FROM landed.contact WHERE is_deleted ORDER BY id"
    assert sorted([(gone, True), (soft, False)]) == rows(tmp_path, flagged)


def test_resources_can_be_selected(sf: SalesforceSimulator, tmp_path: Path) -> None:
    """What is not selected is not even described."""
    source = salesforce(objects=OBJECTS, credentials=login(sf)).with_resources("account")

    pipeline(tmp_path).run(source, loader_file_format="parquet")

    described = [each.request.path for each in sf.requests if "/describe" in each.request.path]
    assert ["/services/data/v64.0/sobjects/Account/describe"] == described


def test_a_users_steps_see_arrow_tables(sf: SalesforceSimulator, tmp_path: Path) -> None:
    """`add_map` and the like work as on any Arrow resource."""
    seen: list[pa.Table] = []
    source = salesforce(objects=["Account"], credentials=login(sf))
    source.account.add_map(lambda table: seen.append(table) or table)

    pipeline(tmp_path).run(source, loader_file_format="parquet")

    assert [60] == [table.num_rows for table in seen]


def test_a_failure_is_raised_as_in_any_pipeline(sf: SalesforceSimulator, tmp_path: Path) -> None:
    """Nothing is swallowed: dlt's own error has ours as its cause."""
    with pytest.raises(PipelineStepFailed) as caught:
        pipeline(tmp_path).run(salesforce(objects=["Nope"], credentials=login(sf)))

    causes, cause = [], caught.value.__cause__
    while cause is not None:
        causes.append(type(cause))
        cause = cause.__cause__
    assert UnknownObject in causes


def test_rows_of_other_formats(sf: SalesforceSimulator, tmp_path: Path) -> None:
    """A destination without Parquet gets the same rows in its own format."""
    files = dlt.destinations.filesystem(str(tmp_path / "lake"))
    lake = dlt.pipeline(
        "lake", pipelines_dir=str(tmp_path / "p"), destination=files, dataset_name="crm"
    )

    lake.run(salesforce(objects=["Account"], credentials=login(sf)), loader_file_format="jsonl")

    (found,) = (tmp_path / "lake" / "crm" / "account").iterdir()
    assert ".jsonl" in found.name


SCRIPT = """
import dlt
from tailrace.salesforce.extract.source import SalesforceLogin, apply_corrections, salesforce

crm = dlt.pipeline("injected", destination="duckdb", dataset_name="landed")
crm.run(salesforce(), loader_file_format="parquet")
print(sorted(name for name in crm.default_schema.tables if name[0] != "_"))
print(sorted(crm.default_schema.tables["user"]["columns"]))
"""


def test_configuration_is_injected_by_dlt(sf: SalesforceSimulator, tmp_path: Path) -> None:
    """Objects, settings and secrets come from where dlt finds them, and nothing else is printed."""
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "config.toml").write_text(
        "[sources.salesforce.object.User]\nfields = ['Name']\napi = 'bulk'\n"
    )
    environ = {
        **os.environ,
        "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": sf.url,
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": sf.client_id,
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": sf.client_secret,
        "SOURCES__SALESFORCE__OBJECTS": '["Lead", "User"]',
        "SOURCES__SALESFORCE__API_VERSION": "60.0",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(tmp_path / "data"),
    }

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )

    columns = ["_hard_deleted", "id", "is_deleted", "name", "system_modstamp"]
    told = f"['lead', 'user']\n{columns}\n"
    assert (0, told, "") == (done.returncode, done.stdout, done.stderr)
    assert any("/v60.0/sobjects/Lead/" in each.request.path for each in sf.requests)
