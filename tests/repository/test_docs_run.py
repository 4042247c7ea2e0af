"""README and docs are executed: commands, SQL, settings and snippets, against the simulators."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from fork_server import ForkServer
from repository.documents import ROOT, Runner, blocks, documents, name_of, with_output

from tailrace.clock import SystemClock
from tailrace.testing import SalesforceSimulator, SegmentSimulator
from tailrace.testing.org.editions import enable_write_back
from tailrace.testing.org.org import Org
from tailrace.testing.webhook import WebhookReceiver

# Blocks that are not executed: installation, schedulers, a second Segment source, a drawing.
# The commands and options in them are checked by test_docs.
NOT_RUN = {
    "README.md": 3,
    "docs/explanation/scale.md": 2,
    "docs/how-to/alerts.md": 1,
    "docs/how-to/choose-a-warehouse.md": 1,
    "docs/how-to/ducklake.md": 1,
    "docs/how-to/environments.md": 1,
    "docs/how-to/mariadb.md": 2,
    "docs/how-to/openlineage.md": 1,
    "docs/how-to/partitions.md": 1,
    "docs/how-to/postgresql.md": 2,
    "docs/how-to/run-often.md": 1,
    "docs/how-to/schedule.md": 4,
    "docs/how-to/snowflake.md": 1,
    "docs/how-to/spark.md": 4,
    "docs/how-to/webhooks.md": 1,
    "docs/quickstart.md": 1,
}


@dataclass(frozen=True)
class Sandbox:
    """Both simulators, the variables that lead to them, and a project that has run once."""

    urls: dict[str, str]
    environ: dict[str, str]
    project: Path


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("documents")
    org = Org(start=SystemClock().now())
    with ExitStack() as started:
        salesforce = started.enter_context(SalesforceSimulator(org=org))
        segment = started.enter_context(SegmentSimulator())
        webhook = started.enter_context(WebhookReceiver())
        environ = {
            "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": salesforce.url,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": salesforce.client_id,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": salesforce.client_secret,
            "DESTINATION__SEGMENT__HOST": segment.url,
            "DESTINATION__SEGMENT__SETTINGS_HOST": segment.url,
            "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "COLUMNS": "100",
        }
        urls = {"salesforce": salesforce.url, "segment": segment.url, "webhook": webhook.url}
        runner = Runner(folder=folder, urls=urls, environ=environ, server=fork_server)
        for command in ("init shop", "run --project-dir shop"):
            code, output = runner.tailrace(command)
            assert 0 == code, output
        yield Sandbox(urls=urls, environ=environ, project=folder / "shop")


def build_with_dbt(folder: Path) -> None:
    """A dbt project beside the folder whose models are built in the folder's warehouse."""
    manifest = ROOT / "tests" / "models" / "jaffle_shop_manifest.json"
    target = folder.parent / "jaffle_shop" / "target"
    target.mkdir(parents=True)
    (target / "manifest.json").write_text(
        manifest.read_text(encoding="utf-8")
        .replace('"jaffle_shop\\"', '"warehouse\\"')
        .replace('"database": "jaffle_shop"', '"database": "warehouse"'),
        encoding="utf-8",
    )
    with duckdb.connect(str(folder / "warehouse.duckdb")) as warehouse:
        warehouse.execute(
            "CREATE TABLE main.customers AS SELECT 'c1' AS customer_id, 'Ada' AS customer_name,"
            " 'ada@acme.example' AS email, 2 AS count_lifetime_orders, 90.5 AS lifetime_spend,"
            " 'returning' AS customer_type"
        )
        warehouse.execute(
            "CREATE TABLE main.orders AS SELECT 'o1' AS order_id, 'c1' AS customer_id,"
            " 90.5 AS order_total, DATE '2026-11-01' AS ordered_at"
        )


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as open_stack:
        yield open_stack


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_a_document_runs_from_top_to_bottom(
    document: Path,
    sandbox: Sandbox,
    stack: ExitStack,
    fork_server: ForkServer,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    text = document.read_text(encoding="utf-8")
    folder = Path(shutil.copytree(sandbox.project, tmp_path / "shop"))
    urls = dict(sandbox.urls)
    if "tailrace.testing salesforce" in text:
        # A document that starts an org sees no change that another document made.
        org = Org(start=SystemClock().now())
        if "--write-back" in text:
            enable_write_back(org)
        own = stack.enter_context(SalesforceSimulator(org=org))
        urls["salesforce"] = own.url
    if "dbt://" in text:
        build_with_dbt(folder)
    runner = Runner(folder=folder, urls=urls, environ=dict(sandbox.environ), server=fork_server)
    write = pytestconfig.getoption("--write-docs")
    moved = 0
    for block in blocks(text):
        if not block.language:
            continue
        if write and block.language == "text":
            before = len(text)
            text = with_output(text, block, runner.output, moved)
            document.write_text(text, encoding="utf-8")
            moved += len(text) - before
            continue
        runner.run(block)


def test_what_is_not_executed_is_counted() -> None:
    counts = {
        name_of(document): len(
            [b for b in blocks(document.read_text(encoding="utf-8")) if not b.language]
        )
        for document in documents()
    }
    assert NOT_RUN == {name: count for name, count in counts.items() if count}


def test_the_example_audiences_are_valid(
    sandbox: Sandbox, fork_server: ForkServer, tmp_path: Path
) -> None:
    """Without an error or a warning, and the SQL runs on the landed tables."""
    folder = Path(shutil.copytree(sandbox.project, tmp_path / "shop"))
    examples = sorted((ROOT / "docs" / "examples").glob("*.sql"))
    assert len(examples) >= 3
    for example in examples:
        shutil.copy(example, folder / "models" / "audiences")
    runner = Runner(
        folder=folder, urls=sandbox.urls, environ=dict(sandbox.environ), server=fork_server
    )
    names = ["accounts_with_open_cases", "first_campaign_response", "enterprise_contacts"]
    selected = " ".join(f"-s {name}" for name in names)
    code, output = runner.tailrace(f"validate {selected}")
    assert (0, "") == (code, runner.errors), output
    code, output = runner.tailrace(f"plan --json {selected}")
    assert 0 == code, output
    sizes = {entry["audience"]: entry["size_after"] for entry in json.loads(output)["audiences"]}
    assert set(names) == {name for name, size in sizes.items() if size}
