"""What fails at a MariaDB server: lost connections, a restart, its limits, and many rows.

Each message says what happened; the SQL of its hint is executed, and the next run continues.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from shop import CONTACT, PEOPLE
from warehouses import mariadb_server as servers
from warehouses.failing_runs import IDS, before, errors_of, landed, tracked
from warehouses.mariadb_server import MariadbServer
from warehouses.stores import MariadbStore

from tailrace.clock import SystemClock
from tailrace.testing import SegmentSimulator

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not servers.is_installed(), reason="run by: make test-engines"),
]
MANY = 100_000
SQL_OF_HINT = re.compile(r"SET GLOBAL [^;]+;")


@pytest.fixture
def shop(mariadb_server: MariadbServer, tmp_path: Path) -> Iterator[MariadbStore]:
    """A project with one audience of six landed rows."""
    mariadb_server.clear()
    with SegmentSimulator() as segment:
        store = MariadbStore(tmp_path, segment, url=mariadb_server.url)
        landed(store)
        yield store


def sessions(server: MariadbServer, condition: str = "TRUE") -> list[int]:
    """The numbers of the other sessions of Tailrace's user."""
    rows = server.execute(
        "SELECT id FROM information_schema.processlist "
        f"WHERE user = 'tailrace' AND id <> CONNECTION_ID() AND {condition}"
    )
    return [int(number) for (number,) in rows]


def end_sessions(server: MariadbServer) -> None:
    for number in sessions(server):
        server.execute(f"KILL CONNECTION {number}")
    while sessions(server):
        time.sleep(0.01)


@pytest.mark.parametrize(
    "name",
    [
        "ledger/take_lock",
        "plan/summary",
        "outbox/enqueue",
        "outbox/page",
        "ledger/acknowledge",
        "ledger/insert_delivered_members",
        "ledger/finish_run",
    ],
)
def test_a_run_whose_sessions_are_ended_loses_nothing(
    shop: MariadbStore, mariadb_server: MariadbServer, name: str
) -> None:
    """It says so and exits with 1, and the next run delivers the rest without waiting."""
    with before(name, lambda _: end_sessions(mariadb_server)):
        code, errors = errors_of(shop.sync)
    assert (1, 1) == (code, len(errors)), errors
    assert f"{name}: the connection to the server was lost" == errors[0].message
    assert "run the same command again" in errors[0].hint
    assert 0 == shop.sync().exit_code
    assert IDS == tracked(shop)


@contextmanager
def slow_insertion(server: MariadbServer) -> Iterator[None]:
    """Saving an acknowledgement takes a minute."""
    server.execute(
        "CREATE TRIGGER tailrace.slow BEFORE INSERT ON tailrace.acks "
        "FOR EACH ROW SET NEW.run_seq = NEW.run_seq + SLEEP(60)"
    )
    try:
        yield
    finally:
        server.execute("DROP TRIGGER IF EXISTS tailrace.slow")


@pytest.mark.parametrize(
    ("kill", "message"),
    [
        ("CONNECTION", "the connection to the server was lost"),
        ("QUERY", "somebody cancelled the statement on the server"),
    ],
)
def test_a_statement_that_is_killed_while_it_runs_is_named(
    shop: MariadbStore, mariadb_server: MariadbServer, kill: str, message: str
) -> None:
    assert 0 == shop.sync().exit_code
    shop.script("UPDATE salesforce.contact SET score = 2")
    ended = threading.Event()

    def kill_what_sleeps() -> None:
        # The run saves the outcomes once more when it ends.
        while not ended.wait(0.02):
            for number in sessions(mariadb_server, "state = 'User sleep'"):
                mariadb_server.execute(f"KILL {kill} {number}")

    watcher = threading.Thread(target=kill_what_sleeps)
    with slow_insertion(mariadb_server):
        watcher.start()
        code, errors = errors_of(shop.sync)
        ended.set()
        watcher.join()
    assert (1, [f"ledger/acknowledge: {message}"]) == (code, [e.message for e in errors])
    assert 0 == shop.sync().exit_code
    assert sorted(IDS * 2) == tracked(shop)


class TwoMinutesLater(SystemClock):
    """The time in two minutes."""

    def now(self) -> datetime:
        return super().now() + timedelta(minutes=2)


def test_a_run_survives_a_restart_of_the_server(
    shop: MariadbStore, mariadb_server: MariadbServer
) -> None:
    """The run during which the server stops says so, and the run after its start continues."""
    try:
        with before("outbox/page", lambda _: mariadb_server.stop()):
            code, errors = errors_of(shop.sync)
        assert (1, 1) == (code, len(errors)), errors
        assert "outbox/page: the connection to the server was lost" == errors[0].message
        code, errors = errors_of(shop.sync)
        assert (1, ["WarehouseUnavailable"]) == (code, [type(e).__name__ for e in errors])
        assert "tailrace doctor" in errors[0].hint
    finally:
        mariadb_server.stop()
        mariadb_server.start()
    # The lock was not released, and its lease of a minute has expired by then.
    shop.clock = TwoMinutesLater()
    assert 0 == shop.sync().exit_code
    assert IDS == tracked(shop)


@contextmanager
def limited(server: MariadbServer, setting: str, value: str) -> Iterator[None]:
    """A setting of the server that a run fails at, until the end of the block."""
    ((was,),) = server.execute(f"SELECT @@GLOBAL.{setting}")
    with ExitStack() as stack:
        stack.callback(server.execute, f"SET GLOBAL {setting} = {was}")
        if setting == "max_statement_time":
            stack.enter_context(slow_insertion(server))
        server.execute(f"SET GLOBAL {setting} = {value}")
        if setting == "max_connections":
            for _ in range(int(value)):
                stack.callback(server.connection().close)
        elif setting == "innodb_lock_wait_timeout":
            other = server.connection()
            stack.callback(other.close)
            other.begin()
            other.cursor().execute("SELECT * FROM tailrace.`lock` FOR UPDATE")
        yield


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("max_statement_time", "0.5", "the server's max_statement_time ended it"),
        ("read_only", "1", "the server may only be read"),
        ("max_connections", "10", "the server has no connection left"),
        ("innodb_lock_wait_timeout", "1", "another session kept the same rows locked"),
    ],
)
def test_a_limit_is_named_with_what_lifts_it(
    shop: MariadbStore, mariadb_server: MariadbServer, setting: str, value: str, message: str
) -> None:
    assert 0 == shop.sync().exit_code
    shop.script("UPDATE salesforce.contact SET score = 2")
    # The tests' own user is above these limits.
    mariadb_server.execute(
        "CREATE OR REPLACE USER 'limited'@'127.0.0.1' IDENTIFIED BY 'x'",
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, CREATE VIEW, "
        "SHOW VIEW, TRIGGER, CREATE TEMPORARY TABLES ON *.* TO 'limited'@'127.0.0.1'",
    )
    url = f"mariadb://limited:x@127.0.0.1:{mariadb_server.port}"
    (shop.root / ".dlt" / "secrets.toml").write_text(
        f'[destination.mariadb]\ncredentials = "{url}"\n'
    )
    with limited(mariadb_server, setting, value):
        code, errors = errors_of(shop.sync)
        assert 1 == code, errors
        assert message in errors[0].message
        for sql in SQL_OF_HINT.findall(errors[0].hint):
            mariadb_server.execute(sql)
    assert 0 == shop.sync().exit_code
    assert sorted(IDS * 2) == tracked(shop)


def test_many_rows_are_planned_sent_and_planned_again(
    mariadb_server: MariadbServer, tmp_path: Path
) -> None:
    mariadb_server.clear()
    numbers = f"SELECT seq AS n FROM salesforce.seq_1_to_{MANY}"
    with SegmentSimulator() as segment:
        shop = MariadbStore(tmp_path, segment, url=mariadb_server.url)
        shop.audience(PEOPLE)
        shop.script(f"CREATE SCHEMA salesforce; CREATE TABLE salesforce.contact ({CONTACT})")
        mariadb_server.execute(
            "INSERT INTO salesforce.contact SELECT CONCAT('c', n), CONCAT('c', n, '@example.com'), "
            f"'Oslo', n / 2, FALSE FROM ({numbers}) AS numbers"
        )
        first = shop.sync()
        assert (0, MANY) == (first.exit_code, first.audiences[0]["entered"])
        assert MANY == len({event["userId"] for event in segment.inbox.delivered})
        segment.inbox.clear()
        mariadb_server.execute(
            "UPDATE salesforce.contact SET city = 'Moss' WHERE score <= 500",
            "DELETE FROM salesforce.contact WHERE score > 49000",
        )
        second = shop.sync()
        (audience,) = second.audiences
        counts = tuple(audience[name] for name in ("entered", "changed", "exited"))
        assert (0, (0, 1_000, 2_000)) == (second.exit_code, counts)
        track = [event for event in segment.inbox.delivered if event["type"] == "track"]
        assert 3_000 == len({event["userId"] for event in track})
        assert ["unchanged"] == [each["status"] for each in shop.sync().audiences]
