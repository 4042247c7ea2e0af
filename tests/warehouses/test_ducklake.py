"""A DuckLake: where it is, what opening it may fail with, and the main job in it."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop
from state.s3_server import ACCESS_KEY, BUCKET, SECRET, S3Server
from warehouses.stores import LakeStore, check_tables_in_a_bucket

from tailrace.clock import SystemClock
from tailrace.errors import ConfigurationError, InvalidConfigValue, WarehouseFailed
from tailrace.ledger.ledger import Ledger
from tailrace.testing import Fault, SegmentSimulator
from tailrace.warehouse.ducklake import Lake, installed_extension, lake_of
from tailrace.warehouse.memory import Limits, MemoryLimit, limited
from tailrace.warehouse.opening import open_warehouse

HAS_EXTENSION = installed_extension("ducklake") is not None
needs_extension = pytest.mark.skipif(not HAS_EXTENSION, reason="run by: make test-engines")
ROWS = [{"id": f"c{number}", "email": f"{number}@example.com"} for number in range(40)]


def shop_with(root: Path, credentials: str) -> LakeStore:
    store = LakeStore(root)
    (root / ".dlt" / "secrets.toml").write_text(
        f"[destination.ducklake.credentials]\n{credentials}\n"
    )
    return store


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ("", Lake(catalog="{}/warehouse.ducklake", storage="{}/warehouse.ducklake.files/")),
        (
            'catalog = "duckdb:///my%20lake.ducklake"\nstorage = "file:///srv/lake"',
            Lake(catalog="{}/my lake.ducklake", storage="/srv/lake/"),
        ),
        (
            'catalog = "postgres://me:p%27w@db.example.com:5433/lake"\nstorage = "lake"',
            Lake(
                catalog="postgres:dbname='lake' host='db.example.com' port='5433' user='me' "
                "password='p\\'w'",
                storage="{}/lake/",
            ),
        ),
        (
            "[destination.ducklake.credentials.storage]\n"
            'bucket_url = "s3://bucket/prefix/"\n'
            "[destination.ducklake.credentials.storage.credentials]\n"
            'aws_access_key_id = "AKIA"\nendpoint_url = "http://127.0.0.1:8333"',
            Lake(
                catalog="{}/warehouse.ducklake",
                storage="s3://bucket/prefix/",
                secret={
                    "key_id": "AKIA",
                    "endpoint": "127.0.0.1:8333",
                    "use_ssl": "false",
                    "url_style": "path",
                },
            ),
        ),
    ],
    ids=["default", "file", "postgres", "bucket"],
)
def test_a_lake_is_found_where_dlt_finds_it(
    tmp_path: Path, credentials: str, expected: Lake
) -> None:
    lake = lake_of(shop_with(tmp_path, credentials).project)
    assert lake.catalog == expected.catalog.format(tmp_path)
    assert lake.storage == expected.storage.format(tmp_path)
    assert lake.secret == expected.secret


@pytest.mark.parametrize(
    ("credentials", "shown"),
    [
        ('catalog = "mysql://db/lake"', "catalog is"),
        ('catalog = "postgres://me:hidden@db.example.com"', "catalog is"),
        ('storage = "ftp://files.example.com"', "storage is"),
        ('storage = "az://container/prefix"', "storage is"),
    ],
)
def test_what_is_no_lake_is_refused_before_it_is_opened(
    tmp_path: Path, credentials: str, shown: str
) -> None:
    with pytest.raises(InvalidConfigValue, match=shown) as refused:
        lake_of(shop_with(tmp_path, credentials).project)
    assert "hidden" not in refused.value.message
    assert refused.value.hint


def test_a_lake_as_one_text_is_refused(tmp_path: Path) -> None:
    store = LakeStore(tmp_path)
    store.environ["DESTINATION__DUCKLAKE__CREDENTIALS"] = "lake"
    with pytest.raises(InvalidConfigValue, match="two values"):
        lake_of(store.project)


@pytest.mark.skipif(HAS_EXTENSION, reason="the extension is installed")
def test_a_missing_extension_is_named_with_its_package(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="needs DuckDB's extension ducklake") as refused,
        open_warehouse(LakeStore(tmp_path).project, clock=SystemClock()),
    ):
        pass
    assert "duckdb-extension-ducklake==" in (refused.value.hint or "")


@pytest.mark.ducklake
@needs_extension
def test_other_files_than_those_of_the_catalog_are_refused(tmp_path: Path) -> None:
    with open_warehouse(shop_with(tmp_path, 'storage = "lake"').project, clock=SystemClock()):
        pass
    with (
        pytest.raises(ConfigurationError, match="belongs to other files"),
        open_warehouse(shop_with(tmp_path, 'storage = "other"').project, clock=SystemClock()),
    ):
        pass


@pytest.mark.ducklake
@needs_extension
def test_a_lake_is_opened_again_after_a_conflict(tmp_path: Path) -> None:
    """DuckLake keeps the transaction that could not be committed, and its database with it."""
    project = LakeStore(tmp_path).project
    with open_warehouse(project, clock=SystemClock()) as warehouse:
        warehouse.execute("CREATE SCHEMA s")
        warehouse.execute("CREATE TABLE s.t AS SELECT 1 AS n")
        warehouse.confine_models()
        other = warehouse.another()
        with pytest.raises(WarehouseFailed), warehouse.transaction():
            warehouse.execute("UPDATE s.t SET n = 2")
            other.execute("UPDATE s.t SET n = 3")
        other.close()
    with open_warehouse(project, clock=SystemClock()) as warehouse:
        assert [(3,)] == warehouse.execute("SELECT n FROM s.t")


@pytest.mark.ducklake
@needs_extension
def test_a_commit_is_not_lost_to_a_session_that_writes_often(tmp_path: Path) -> None:
    """Each commit writes a row of the catalog, also the one that extends the lock."""
    with open_warehouse(LakeStore(tmp_path).project, clock=SystemClock()) as warehouse:
        warehouse.execute("CREATE SCHEMA s")
        warehouse.execute("CREATE TABLE s.lock AS SELECT 0 AS beats")
        warehouse.confine_models()
        other = warehouse.another()
        ended = threading.Event()

        def beat() -> int:
            beats = 0
            while not ended.is_set():
                other.execute("UPDATE s.lock SET beats = beats + 1")
                beats += 1
            return beats

        with ThreadPoolExecutor(1) as thread:
            beats = thread.submit(beat)
            try:
                for number in range(4):
                    with warehouse.transaction():
                        warehouse.execute(f"CREATE TABLE s.t{number} AS SELECT 1 AS n")
            finally:
                ended.set()
            assert [(beats.result(),)] == warehouse.execute("SELECT beats FROM s.lock")
        other.close()


@pytest.mark.ducklake
@needs_extension
def test_the_threads_of_a_lake_stay(tmp_path: Path) -> None:
    """DuckDB would wait for ever if they changed while the heartbeat of the lock writes."""
    with open_warehouse(LakeStore(tmp_path).project, clock=SystemClock()) as warehouse:
        threads = "SELECT CURRENT_SETTING('threads')"
        before = warehouse.execute(threads)
        with limited(warehouse.run, Limits("300MiB", threads=before[0][0] + 1)):
            assert before == warehouse.execute(threads)
            assert [("300.0 MiB",)] == warehouse.execute("SELECT CURRENT_SETTING('memory_limit')")
        memory = MemoryLimit(warehouse)
        with memory.low_memory(100):
            assert before == warehouse.execute(threads)


@pytest.mark.ducklake
@needs_extension
def test_a_model_reads_no_file_beside_the_lake(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with open_warehouse(LakeStore(tmp_path).project, clock=SystemClock()) as warehouse:
        warehouse.confine_models()
        warehouse.execute("CREATE SCHEMA s")
        warehouse.execute("CREATE TABLE s.t AS SELECT * FROM range(1000) AS r(i)")
        assert [(1000,)] == warehouse.execute("SELECT COUNT(*) FROM s.t")
        for text in (
            f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            f"ATTACH '{tmp_path}/other.duckdb'",
            f"SET allowed_directories = ['{tmp_path}']",
        ):
            with pytest.raises(WarehouseFailed):
                warehouse.execute(text)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.ducklake
@needs_extension
@pytest.mark.postgres
def test_two_machines_share_a_lake_and_send_each_event_once(
    tmp_path: Path, command: Any, postgres_database: str
) -> None:
    """A catalog in PostgreSQL and one storage; the run without the lock exits with 75."""
    storage = tmp_path / "lake"
    catalog = postgres_database.replace("postgresql://", "postgres://")
    with SegmentSimulator() as segment:
        segment.faults.append(Fault(delay_seconds=0.5))
        shops = []
        for name in ("one", "two"):
            shop = LakeStore(tmp_path / name, segment)
            (shop.root / ".dlt" / "secrets.toml").write_text(
                "[destination.ducklake.credentials]\n"
                f'catalog = "{catalog}"\nstorage = "{storage}"\n'
            )
            shop.audience(PEOPLE)
            shops.append(shop)
        shops[0].land(ROWS)

        def sync(shop: LakeStore) -> tuple[int, Any]:
            done = command("sync", "--json", cwd=shop.root, **shop.environ)
            return done.returncode, json.loads(done.stdout)

        with ThreadPoolExecutor(max_workers=2) as side_by_side:
            codes = sorted(code for code, _ in side_by_side.map(sync, shops))
        assert codes in ([0, 0], [0, 75]), codes
        (code, result) = sync(shops[1])
        assert (0, ["unchanged"]) == (code, [entry["status"] for entry in result["audiences"]])
        assert len(ROWS) == len({event["userId"] for event in segment.events})
        assert [] == segment.inbox.clashes
        ids = [event["messageId"] for event in segment.events]
        assert len(ids) == len(set(ids))


@pytest.mark.ducklake
@needs_extension
def test_a_lake_sends_what_a_file_sends(tmp_path: Path) -> None:
    """The same bytes under the same ids."""
    bodies = []
    for number, kind in enumerate((Shop, LakeStore)):
        with SegmentSimulator() as segment:
            shop = kind(tmp_path / str(number), segment)
            shop.audience(PEOPLE)
            with open_warehouse(shop.project, clock=shop.clock) as warehouse:
                Ledger(warehouse, clock=shop.clock).install("one namespace")
            shop.land(ROWS)
            assert 0 == shop.sync().exit_code
            shop.land(ROWS[3:])
            assert 0 == shop.sync().exit_code
            events = [
                {name: value for name, value in event.items() if name != "timestamp"}
                for event in segment.events
            ]
            bodies.append(sorted(json.dumps(event, sort_keys=True) for event in events))
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) >= 43


@pytest.mark.ducklake
@needs_extension
def test_the_files_of_a_lake_may_be_in_a_bucket(tmp_path: Path, s3_server: S3Server) -> None:
    with SegmentSimulator() as segment:
        shop = LakeStore(tmp_path / "shop", segment)
        (shop.root / ".dlt" / "secrets.toml").write_text(
            "[destination.ducklake.credentials.storage]\n"
            f'bucket_url = "s3://{BUCKET}/lake-{time.monotonic_ns()}"\n'
            "[destination.ducklake.credentials.storage.credentials]\n"
            f'aws_access_key_id = "{ACCESS_KEY}"\naws_secret_access_key = "{SECRET}"\n'
            f'endpoint_url = "{s3_server.url}"\nregion_name = "us-east-1"\n'
        )
        check_tables_in_a_bucket(shop, segment)
