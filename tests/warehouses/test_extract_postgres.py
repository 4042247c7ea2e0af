"""The extract into PostgreSQL: the same rows, deletions and formulas as in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salesforce_landing import QuickClock

from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.salesforce.extract.extraction import ExtractResult, extract
from tailrace.salesforce.extract.landing import PipelineLanding
from tailrace.testing import SalesforceSimulator

import dlt  # isort: skip

pytestmark = pytest.mark.postgres


class Extracted:
    """An org, and the PostgreSQL database that it lands in."""

    def __init__(self, sf: SalesforceSimulator, folder: Path, url: str) -> None:
        self.sf = sf
        self.pipeline = dlt.pipeline(
            "tailrace",
            pipelines_dir=str(folder),
            destination=dlt.destinations.postgres(url),
            dataset_name="salesforce",
        )

    def extract(self, **options: Any) -> ExtractResult:
        """Contacts and accounts, formulas read again."""
        return extract(
            PipelineLanding(self.pipeline),
            SalesforceSettings(objects=("Account", "Contact"), formula="refresh"),
            SalesforceCredentials(
                instance_url=self.sf.url,
                client_id=self.sf.client_id,
                client_secret=self.sf.client_secret,
            ),
            clock=QuickClock(),
            **options,
        )

    def rows(self, sql: str) -> list[Any]:
        """What the database says."""
        with self.pipeline.sql_client() as client:
            return [tuple(row) for row in client.execute_sql(sql) or ()]


@pytest.fixture
def extracted(tmp_path: Path, postgres_database: str) -> Iterator[Extracted]:
    with SalesforceSimulator() as sf:
        yield Extracted(sf, tmp_path, postgres_database)


def test_rows_deletions_and_formulas_land(extracted: Extracted) -> None:
    """As in DuckDB, and rows that come twice in a first load land once."""
    org = extracted.sf.org
    extracted.sf.behavior.change("repeated_rows", 10)
    first = extracted.extract().objects
    assert [(True, 10), (True, 10)] == [(facts.complete, facts.duplicates) for facts in first]
    extracted.sf.behavior.change("repeated_rows", 0)
    logged, traceless, soft = org.rows("Contact").ids()[:3]
    account = org.rows("Account").ids()[0]
    org.advance(hours=1)
    org.purge("Contact", logged)
    org.purge("Contact", traceless, logged=False)
    org.delete("Contact", soft)
    org.silently("Account", account, {"Health_Score__c": 2.5})
    org.advance(minutes=5)

    done = extracted.extract(reconcile=True)

    assert [True, True] == [each.complete for each in done.objects]
    assert [(200, 200)] == extracted.rows("SELECT count(*), count(DISTINCT id) FROM contact")
    assert sorted([(logged, True), (traceless, True), (soft, False)]) == extracted.rows(
        "SELECT id, _hard_deleted FROM contact WHERE is_deleted ORDER BY id"
    )
    score = f"SELECT health_score__c FROM account WHERE id = '{account}'"
    assert [(2.5,)] == extracted.rows(score)


TEXTS = (
    *("say \"x\", or 'y'", "two\nlines", "a\ttab and a \\. or \\N", "\\.", "NULL", " spaces "),
    *("Zürich, 東京 \N{GRINNING FACE}", ";,|", '""', "x" * 30_000),
)


def test_each_value_lands_by_copy(extracted: Extracted) -> None:
    """As it is in the org, first and as a delta; a value that is missing is NULL."""
    org = extracted.sf.org
    ids = org.rows("Contact").ids()[: len(TEXTS) + 1]
    texts: tuple[str | None, ...] = (*TEXTS, None)
    for values in (texts, texts[::-1]):
        for record_id, text in zip(ids, values, strict=True):
            org.update("Contact", record_id, {"Email": text})
        org.advance(minutes=5)
        extracted.extract()
        listed = ", ".join(f"'{record_id}'" for record_id in ids)
        landed = extracted.rows(f"SELECT id, email FROM contact WHERE id IN ({listed})")
        assert sorted(zip(ids, values, strict=True)) == sorted(landed)
        # dlt lands CSV files by COPY.
        load = extracted.pipeline.last_trace.last_load_info
        assert load is not None
        jobs = [job for package in load.load_packages for job in package.jobs["completed_jobs"]]
        files = [job.job_file_info for job in jobs]
        formats = {file.file_format for file in files if file.table_name == "contact"}
        assert "csv" in formats and "insert_values" not in formats
