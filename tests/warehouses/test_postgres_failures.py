"""What fails at a PostgreSQL server: pools, TLS, lost connections, limits and missing rights.

Each message says what happened; the SQL of its hint is executed, and the next run continues.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from org_shop import org_shop
from run.test_watch import Script
from warehouses.failing_runs import IDS, MEMBERS, before, errors_of, landed, tracked
from warehouses.postgres_server import (
    PostgresCluster,
    PostgresServer,
    binary,
    is_built_with,
    postgres_cluster,
    postgres_user,
)
from warehouses.stores import PostgresStore
from warehouses.test_watch_postgres import SOURCES

from tailrace.clock import SystemClock
from tailrace.errors import ConfigurationError, WarehouseFailed
from tailrace.testing import SegmentSimulator
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.postgres_failures import connection_failure

pytestmark = pytest.mark.postgres
GRANT = re.compile(r"(?:GRANT|ALTER ROLE) [^;]+;")


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[PostgresStore]:
    """A project with one audience of six landed rows."""
    with SegmentSimulator() as segment:
        store = PostgresStore(tmp_path, segment, url=postgres_database)
        landed(store)
        yield store


def connect_as(store: PostgresStore, url: str) -> None:
    (store.root / ".dlt" / "secrets.toml").write_text(
        f'[destination.postgres]\ncredentials = "{url}"\n'
    )


# Lost connections


def end_sessions(url: str) -> None:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


@pytest.mark.parametrize(
    "name",
    [
        "ledger/take_lock",
        "plan/summary",
        "outbox/enqueue",
        "outbox/joined_page",
        "ledger/acknowledge",
        "ledger/insert_delivered_members",
        "ledger/finish_run",
    ],
)
def test_a_run_whose_sessions_are_ended_loses_nothing(shop: PostgresStore, name: str) -> None:
    """It says so and exits with 1, and the next run delivers the rest without waiting."""
    with before(name, lambda _: end_sessions(shop.url)):
        code, errors = errors_of(shop.sync)
    assert (1, 1) == (code, len(errors)), errors
    assert f"{name}: the connection to the server was lost" == errors[0].message
    assert "run the same command again" in errors[0].hint
    assert 0 == shop.sync().exit_code
    assert IDS == tracked(shop)


# A server of its own, with TLS, which is stopped and started


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """A cluster with a certificate for localhost."""
    if binary("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_cluster() as made:
        ca = certificate("A test CA")
        server = certificate("localhost", issuer=ca)
        (made.folder / "ca.pem").write_bytes(ca.text)
        (made.folder / "other.pem").write_bytes(certificate("Another CA").text)
        key = made.folder / "data" / "server.key"
        (made.folder / "data" / "server.crt").write_bytes(server.text)
        key.write_bytes(server.key_text)
        key.chmod(0o600)
        owner = made.folder.stat()
        shutil.chown(key, owner.st_uid, owner.st_gid)
        yield made


class Certificate:
    """A certificate with its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate, self.key = certificate, key
        self.text = certificate.public_bytes(serialization.Encoding.PEM)
        self.key_text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def certificate(name: str, *, issuer: Certificate | None = None) -> Certificate:
    """A certificate of a CA, or one that a CA has signed for a host."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    return Certificate(built.sign(issuer.key if issuer else key, hashes.SHA256()), key)


class TwoMinutesLater(SystemClock):
    """The time in two minutes."""

    def now(self) -> datetime:
        return super().now() + timedelta(minutes=2)


@contextmanager
def running(cluster: PostgresCluster, **settings: str) -> Iterator[PostgresServer]:
    """The cluster's server on a free port of this machine, for the block."""
    for tries_left in (2, 1, 0):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        try:
            server = cluster.start(listen_addresses="127.0.0.1", port=port, **settings)
            break
        except RuntimeError:
            # Another process took the port meanwhile.
            if not tries_left:
                raise
    try:
        yield server
    finally:
        cluster.stop()


def test_tls_is_verified(tmp_path: Path, cluster: PostgresCluster) -> None:
    """With the server's CA and host name a connection is opened, and otherwise none: exit 2."""
    if not is_built_with("libssl"):
        pytest.skip("this server is built without TLS")
    store = PostgresStore(tmp_path, url="")
    with running(cluster, ssl="on") as server:

        def opened(host: str, options: str) -> Exception | None:
            connect_as(
                store, f"postgresql://tailrace:s3cret@{host}:{server.port}/postgres{options}"
            )
            try:
                with open_warehouse(store.project, clock=SystemClock()) as warehouse:
                    used = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                    assert [(True,)] == warehouse.execute(used)
            except ConfigurationError as error:
                assert 2 == error.exit_code
                assert "s3cret" not in f"{error.message} {error.hint}"
                return error
            return None

        verify = f"?sslmode=verify-full&sslrootcert={quote(str(cluster.folder))}/"
        assert opened("localhost", f"{verify}ca.pem") is None
        for host, options, message in (
            ("localhost", f"{verify}other.pem", "certificate verify failed"),
            ("127.0.0.1", f"{verify}ca.pem", "does not match host name"),
            ("localhost", f"{verify}missing.pem", "does not exist"),
        ):
            error = opened(host, options)
            assert isinstance(error, ConfigurationError) and message in error.message, error
            assert "?sslmode=verify-full&sslrootcert=" in error.hint
    with running(cluster) as server:
        connect_as(
            store, f"postgresql://tailrace:x@localhost:{server.port}/postgres?sslmode=require"
        )
        opening = open_warehouse(store.project, clock=SystemClock())
        with pytest.raises(ConfigurationError, match="does not support SSL") as raised, opening:
            pass
        assert "ssl = on" in raised.value.hint


def test_a_run_survives_a_restart_of_the_server(tmp_path: Path, cluster: PostgresCluster) -> None:
    """The run during which the server stops says so, and the run after its start continues."""
    with SegmentSimulator() as segment:
        with running(cluster) as server:
            server.execute("CREATE DATABASE restarted")
            shop = PostgresStore(tmp_path, segment, url=server.url("restarted"))
            landed(shop)
            with before("outbox/joined_page", lambda _: cluster.stop()):
                code, errors = errors_of(shop.sync)
            assert (1, 1) == (code, len(errors)), errors
            assert "outbox/joined_page: the connection to the server was lost" == errors[0].message
            code, errors = errors_of(shop.sync)
            assert (1, ["WarehouseUnavailable"]) == (code, [type(e).__name__ for e in errors])
            assert "tailrace doctor" in errors[0].hint
        with running(cluster) as server:
            connect_as(shop, server.url("restarted"))
            # The lock was not released, and its lease of a minute has expired by then.
            shop.clock = TwoMinutesLater()
            assert 0 == shop.sync().exit_code
        assert IDS == tracked(shop)


def test_a_watch_waits_for_a_server_that_is_down(tmp_path: Path, cluster: PostgresCluster) -> None:
    """No connection is accepted for one pause, and the cycle after it works again."""
    with running(cluster) as server, org_shop(tmp_path / "shop") as shop:
        server.execute("CREATE DATABASE watched")
        url = server.url("watched")
        config = shop.root / ".dlt" / "config.toml"
        text = config.read_text().replace('warehouse = "duckdb"', 'warehouse = "postgres"')
        config.write_text(text.partition("[destination.duckdb]")[0] + SOURCES)
        shop.environ["DESTINATION__POSTGRES__CREDENTIALS"] = url

        def stop() -> None:
            cluster.stop()

        def start() -> None:
            cluster.start(port=str(server.port))

        result = Script(shop).watch(None, stop, start, None, None, cycles=8)
        assert 0 == result.exit_code
        assert 1 <= result.data["watch"]["failed_cycles"] <= 3


# Pools

POOL = """[databases]
* = host={server} port=5432
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
auth_type = trust
auth_file = {folder}/users.txt
logfile = {folder}/log
{settings}
"""
POOLED_OPTIONS = "ignore_startup_parameters = options"


@contextmanager
def pool(server: PostgresServer, folder: Path, **settings: str) -> Iterator[str]:
    """A PgBouncer before the server; the URL of the pool, without a database."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    lines = "\n".join(f"{key} = {value}" for key, value in settings.items())
    (folder / "pool.ini").write_text(
        POOL.format(server=server.folder, folder=folder, settings=lines)
    )
    (folder / "users.txt").write_text('"tailrace" "any"\n')
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, str(folder / "pool.ini")],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **postgres_user(),
        )
    try:
        deadline = time.monotonic() + 30
        while not (folder / ".s.PGSQL.6432").exists():
            assert process.poll() is None and time.monotonic() < deadline, (
                folder / "output"
            ).read_text()
            time.sleep(0.02)
        yield f"postgresql://tailrace:any@{quote(str(folder), safe='')}:6432"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def pool_folder(postgres_server: PostgresServer) -> Iterator[Path]:
    """A folder that the user of the server may write to."""
    folder = postgres_server.folder / f"pool-{time.monotonic_ns()}"
    folder.mkdir()
    owner = postgres_server.folder.stat()
    shutil.chown(folder, owner.st_uid, owner.st_gid)
    yield folder
    shutil.rmtree(folder)


def test_a_pool_of_sessions_works(
    shop: PostgresStore, postgres_server: PostgresServer, pool_folder: Path
) -> None:
    database = shop.url.rpartition("/")[2]
    settings = {"pool_mode": "session", "ignore_startup_parameters": "options"}
    with pool(postgres_server, pool_folder, **settings) as url:
        connect_as(shop, f"{url}/{database}")
        result = shop.sync()
        assert (0, MEMBERS) == (result.exit_code, result.audiences[0]["sent"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool_mode": "session"}, "unsupported startup parameter"),
        ({"pool_mode": "transaction", "default_pool_size": "1"}, "between transactions"),
        (
            {"pool_mode": "transaction", "min_pool_size": "4", "server_round_robin": "1"},
            "between transactions",
        ),
        ({"pool_mode": "statement"}, "between transactions"),
    ],
)
def test_a_pool_that_changes_sessions_is_refused(
    shop: PostgresStore,
    postgres_server: PostgresServer,
    pool_folder: Path,
    settings: dict[str, str],
    message: str,
) -> None:
    """The hint names what to write for a pool that works."""
    options = {} if settings == {"pool_mode": "session"} else dict([POOLED_OPTIONS.split(" = ")])
    with pool(postgres_server, pool_folder, **settings, **options) as url:
        connect_as(shop, f"{url}/{shop.url.rpartition('/')[2]}")
        code, (error,) = errors_of(shop.sync)
    assert 2 == code and message in error.message, error
    assert f"pool_mode = session and {POOLED_OPTIONS}" in error.hint


# Limits and rights


def own_role(shop: PostgresStore, server: PostgresServer) -> str:
    """A new role of the server with no rights, as which the project connects."""
    name = f"role_{time.monotonic_ns()}"
    server.execute(f"CREATE ROLE {name} LOGIN")
    connect_as(shop, shop.url.replace("tailrace:", f"{name}:", 1))
    return name


def test_a_limit_of_statements_is_named_with_what_lifts_it(
    shop: PostgresStore, postgres_server: PostgresServer
) -> None:
    role = own_role(shop, postgres_server)
    database = shop.url.rpartition("/")[2]
    postgres_server.execute(f"ALTER ROLE {role} SUPERUSER")
    assert 0 == shop.sync().exit_code
    for sql in (
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_sleep(2); RETURN NEW; END$$",
        "CREATE TRIGGER slow BEFORE UPDATE ON tailrace.lock"
        " FOR EACH ROW EXECUTE FUNCTION public.slow()",
        f"ALTER ROLE {role} SET statement_timeout = '500ms'",
    ):
        postgres_server.execute(sql, database)
    code, (error,) = errors_of(shop.sync)
    assert (1, WarehouseFailed) == (code, type(error))
    assert "ledger/take_lock: the server's statement_timeout ended it" == error.message
    (statement,) = GRANT.findall(error.hint)
    assert f'ALTER ROLE "{role}" SET statement_timeout = 0;' == statement
    postgres_server.execute(statement)
    assert 0 == shop.sync().exit_code


def test_a_limit_of_idle_sessions_is_named_with_what_lifts_it(
    shop: PostgresStore, postgres_server: PostgresServer
) -> None:
    """The driver reports a lost connection only, so the limits that may be the reason are named."""
    role = own_role(shop, postgres_server)
    postgres_server.execute(f"ALTER ROLE {role} SUPERUSER")
    postgres_server.execute(f"ALTER ROLE {role} SET idle_in_transaction_session_timeout = '80ms'")
    with before("outbox/enqueue", lambda _: threading.Event().wait(0.8)):
        code, (error,) = errors_of(shop.sync)
    assert (1, "outbox/enqueue: the connection to the server was lost") == (code, error.message)
    assert "idle_in_transaction_session_timeout is 80ms for this user" in error.hint
    assert "idle_session_timeout is" not in error.hint
    (statement,) = GRANT.findall(error.hint)
    postgres_server.execute(statement)
    assert (0, MEMBERS) == ((done := shop.sync()).exit_code, done.audiences[0]["sent"])


def test_a_connection_that_only_reads_is_named(
    shop: PostgresStore, postgres_server: PostgresServer
) -> None:
    database = shop.url.rpartition("/")[2]
    assert 0 == shop.sync().exit_code
    postgres_server.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    for command in (shop.sync, shop.plan):
        code, (error,) = errors_of(command)
        assert (1, WarehouseFailed) == (code, type(error))
        assert "the connection may only read: the server is a replica" in error.message
        assert "primary server" in error.hint


@pytest.mark.parametrize("exists", [False, True])
def test_each_missing_right_is_named_with_its_grant(
    shop: PostgresStore, postgres_server: PostgresServer, exists: bool
) -> None:
    """A role without rights gets those that the hints say, one after the other, and no other."""
    role = own_role(shop, postgres_server)
    database = shop.url.rpartition("/")[2]
    postgres_server.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    # The test has landed it, and not the role.
    postgres_server.execute(f"GRANT SELECT ON salesforce.contact TO {role}", database)
    if exists:
        postgres_server.execute("CREATE SCHEMA tailrace", database)
    granted = []
    for _ in range(8):
        code, errors = errors_of(shop.sync)
        if code == 0:
            break
        (statement,) = GRANT.findall(errors[0].hint) or [errors[0].message]
        granted.append(statement.split(" TO ")[0])
        postgres_server.execute(statement, database)
    creates = 'GRANT USAGE, CREATE ON SCHEMA "tailrace"' if exists else "GRANT CREATE ON DATABASE"
    assert granted[0].startswith(creates)
    assert [
        'GRANT USAGE, CREATE ON SCHEMA "salesforce"',
        f'GRANT TEMPORARY ON DATABASE "{database}"',
    ] == granted[1:]
    postgres_server.execute(f"DROP OWNED BY {role}", database)


# Messages of libpq


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        (
            'connection to server at "db" (10.0.0.1), port 5432 failed: Connection refused\n'
            "\tIs the server running on that host and accepting TCP/IP connections?\n",
            "WarehouseUnavailable",
            "Connection refused",
        ),
        (
            'connection to server at "db", port 5432 failed: FATAL:  the database system is '
            "starting up\n",
            "WarehouseUnavailable",
            "starting up",
        ),
        (
            'connection to server at "db", port 5432 failed: FATAL:  sorry, too many clients '
            "already\n",
            "WarehouseUnavailable",
            "too many clients",
        ),
        (
            'connection to server at "db", port 5432 failed: FATAL:  no pg_hba.conf entry for host '
            '"10.0.0.9", user "loader", database "x", no encryption\n',
            "ConfigurationError",
            "no encryption",
        ),
        ('invalid sslmode value: "verfy-full"\n', "ConfigurationError", 'value: "verfy-full"'),
        (
            'could not translate host name "s3cret@db" to address: Name or service not known\n',
            "WarehouseUnavailable",
            "host name cannot be resolved",
        ),
        ("something with s3cret\n", "NoneType", ""),
        ("", "NoneType", ""),
    ],
)
def test_what_libpq_says_is_repeated_without_a_secret(text: str, kind: str, shown: str) -> None:
    error = connection_failure(psycopg2.OperationalError(text))
    assert kind == type(error).__name__
    message = f"{error.message} {error.hint}" if error else ""
    assert shown in message and "s3cret" not in message
