"""The diff and the advance, against a scan of the same tables and against other tools' SQL.

Ten million members of twelve columns by default; 1 % each were added, changed and removed, all
over the table. `TAILRACE_BENCH_ROWS` says another number, `TAILRACE_BENCH_MEMORY` a limit for
DuckDB, as `4GB`. With a limit, what a plan takes of memory and of the disk is measured too, and
the others' SQL is left out: most of it would take an hour.

The ledger is as a delivery of yesterday's members leaves it, with the fingerprint of their rows.
The members themselves are written by one statement: to save and acknowledge ten million transitions
is not part of what is measured. The scan reads what a plan has to read, each column of both tables,
and the largest value of each so that no column is left out.

A quick run measures two smaller tables, and compares what the rows between them take: the fixed
costs of the statements are in both. It does not judge the plan against the scan. A plan without
changes and the scan of its model take turns, and the quickest of each counts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from figure import Figure, measured_in_turn, quick

from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.ledger.deliveries import AckRange, Finished
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Run
from tailrace.models.loader import read_models
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run.delivery import save_plan
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

ROWS = int(os.environ.get("TAILRACE_BENCH_ROWS", "1_000_000" if quick() else "10_000_000"))
# The smaller table of a quick run.
QUICK_ROWS = ROWS // 4
MEMORY = os.environ.get("TAILRACE_BENCH_MEMORY")
# Beside its memory_limit DuckDB allocates what it hands out, and Python has its modules.
MEMORY_GOAL = 1.15
SAMPLE_SECONDS = 0.02
TRIES = 3
# Of steps that take tenths of a second.
TRIES_IN_TURN = 7
PLAN_ROWS = 1_000_000
# What a plan command cannot do without: the imports, and one look at both tables.
SCAN = """
import sys
import dlt, duckdb, sqlglot
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    for table in ("salesforce.contact", "tailrace.snapshot__people"):
        columns = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
        connection.execute(f"SELECT {', '.join(f'MAX({c})' for c in columns)} FROM {table}")
"""

CONFIG = '[sources.salesforce]\nobjects = ["Contact"]\n[tailrace]\nfirst_run_members_max = 0\n'
COLUMNS = [
    "id",
    "name",
    "email",
    "city",
    "note",
    "age",
    "score",
    "amount",
    "active",
    "born",
    "seen",
    "tags",
]
AUDIENCE = """/* ---
audience: people
key: id
user_id: id
track:
  properties: {{{columns}}}
--- */
SELECT {names} FROM salesforce.contact
""".format(columns=", ".join(f"{c}: {c}" for c in COLUMNS), names=", ".join(COLUMNS))

# The i-th person. One in a hundred is called otherwise `again`.
PERSON = """
SELECT
  'c' || i AS id,
  'Person ' || (i * 7919 % 1000003) || CASE WHEN i % 100 = 7 THEN '{again}' ELSE '' END AS name,
  CASE WHEN i % 10 = 0 THEN NULL ELSE 'p' || (i * 31 % 999983) || '@example.com' END AS email,
  ['Oslo', 'Tromsø', 'Bergen', 'Zürich', '東京'][1 + i % 5] AS city,
  CASE WHEN i % 3 = 0 THEN NULL ELSE 'note ' || (i % 1000) END AS note,
  CAST(CASE WHEN i % 7 = 0 THEN NULL ELSE i % 90 END AS INTEGER) AS age,
  (i * 17 % 100000) / 7.0::DOUBLE AS score,
  CAST((i * 13 % 10000000) / 100.0 AS DECIMAL(18, 2)) AS amount,
  i % 2 = 0 AS active,
  DATE '1950-01-01' + CAST(i % 20000 AS INTEGER) AS born,
  TIMESTAMP '2026-01-01' + INTERVAL (i % 1000000) SECOND AS seen,
  ['a' || i % 10, 'b' || i % 7] AS tags
FROM range({first}, {last}) AS r(i)
"""


def figures() -> Iterator[Figure]:
    """The figures, each measured in this run."""
    fewer = _seconds(QUICK_ROWS) if quick() else {}
    with tempfile.TemporaryDirectory() as folder:
        _populate_beside(Path(folder), PLAN_ROWS)
        command, imports = _plan(Path(folder)), _scan_as_process(Path(folder))
        # A quick run has a table of these rows already.
        kept = Path(folder) if PLAN_ROWS == ROWS else None
        seconds = {name: taken - fewer.get(name, 0) for name, taken in _seconds(ROWS, kept).items()}
    ours, both = seconds["plan"], seconds["both"]
    few = "a plan of a million rows takes tenths of a second"
    yield Figure(name="plan", figure=ours, against=both, goal=2.2, full_run_only=few)
    if MEMORY:
        with tempfile.TemporaryDirectory() as folder, _people(Path(folder), ROWS) as town:
            yield from town.limits(MEMORY)
    for name in () if MEMORY else PEERS:
        yield Figure(
            name=f"plan against {name}",
            figure=ours,
            against=seconds[name],
            goal=1.0,
            full_run_only=few,
        )
    yield Figure(name="advance", figure=seconds["advance"], against=both, goal=0.75)
    yield Figure(name="unchanged", figure=seconds["unchanged"], against=seconds["model"], goal=1.2)
    yield Figure(
        name="plan command against imports and scan", figure=command, against=imports, goal=3.0
    )


def _seconds(rows: int, folder: Path | None = None) -> dict[str, float]:
    """What each step takes with so many members: in a folder that has them, or a new one."""
    with tempfile.TemporaryDirectory() as new, _people(folder or Path(new), rows) as town:
        # A quick run does not judge the plan.
        seconds = {
            "both": town.median(town.scan_both),
            "plan": town.median(town.plan, tries=1 if quick() else TRIES),
        }
        for name in () if MEMORY else PEERS:
            seconds[name] = town.median(partial(town.run_peer, PEERS[name]), tries=1)
        seconds["advance"] = town.advance()
        ways = {"model": town.scan_model, "unchanged": town.unchanged}
        taken = measured_in_turn(partial(town.median, tries=1), ways, tries=TRIES_IN_TURN)
        return seconds | {name: min(tries) for name, tries in taken.items()}


class Town:
    """A landed table, and a snapshot of how it was before."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.ledger = Ledger(warehouse, clock=SystemClock())
        self.models = read_models(warehouse.project.models_folder)

    def populate(self, rows: int) -> None:
        """Land the people of today, with the people of yesterday as members."""
        land = "CREATE OR REPLACE TABLE salesforce.contact AS "
        self.warehouse.create_dataset("salesforce")
        self.ledger.install("bench")
        self.warehouse.execute(land + PERSON.format(again="", first=0, last=1))
        self.advance()
        names = ", ".join(COLUMNS)
        self.warehouse.execute(f"{land} {PERSON.format(again='', first=0, last=rows)}")
        self.warehouse.execute(
            f"INSERT INTO tailrace.snapshot__people ({names}, _v, _since, _gone) "
            f"SELECT {names}, 1, NOW(), FALSE FROM salesforce.contact WHERE id <> 'c0'"
        )
        # A run without changes records what a delivery of these members would have recorded.
        self.advance()
        today = PERSON.format(again=" again", first=0, last=rows + rows // 100)
        self.warehouse.execute(f"{land} {today} WHERE i % 100 <> 3 OR i >= {rows}")
        self.warehouse.execute("CHECKPOINT")

    def median(self, measured: Callable[[], object], *, tries: int = TRIES) -> float:
        """The median of a few measurements, in seconds."""
        taken = []
        for _ in range(tries):
            started = time.perf_counter()
            measured()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    def scan_both(self) -> None:
        self.scan_model()
        self._scan("tailrace.snapshot__people")

    def scan_model(self) -> None:
        self._scan("salesforce.contact")

    def _scan(self, table: str) -> None:
        columns = ", ".join(f"MAX({name})" for name in COLUMNS)
        self.warehouse.execute(f"SELECT {columns} FROM {table}")

    def run_peer(self, sql: str) -> None:
        self.warehouse.execute(f"CREATE OR REPLACE TEMP TABLE theirs AS {sql}")

    def plan(self) -> AudiencePlan:
        """The whole plan of the audience: rows, keys, transitions, reasons, counts, samples."""
        planner = Planner(
            self.ledger,
            self.models,
            options=PlanOptions(),
            destinations=None,
            now=self.ledger.clock.now(),
        )
        (made,) = planner.plan(self.models.audiences()).audiences
        return made

    def limits(self, memory: str) -> Iterator[Figure]:
        """What a plan takes at its peak, of memory and of the disk, against DuckDB's limit."""
        ((spill,),) = self.warehouse.execute("SELECT CURRENT_SETTING('temp_directory')")
        limit_mb = float(memory.removesuffix("GB")) * 1000
        with sampled(Path(spill)) as peak:
            self.plan()
        yield Figure(
            name="memory", figure=peak["memory"], against=limit_mb, goal=MEMORY_GOAL, unit="MB"
        )
        yield Figure(name="spilled", figure=peak["disk"], against=limit_mb, goal=0.0, unit="MB")

    def unchanged(self) -> None:
        assert self.plan().diff.unchanged

    def advance(self) -> float:
        """Plan, write down, and settle; the seconds that moving the snapshot took, on disk."""
        made = self.plan()
        run: Run = self.ledger.runs.start("bench", suffix="0000")
        save_plan(self.ledger, run, made, options=PlanOptions())
        last = made.planned
        self.ledger.deliveries.acknowledge([AckRange(run.seq, "people", 1, last, calls=last)])
        self.warehouse.execute("CHECKPOINT")
        started = time.perf_counter()
        self.ledger.deliveries.advance([Finished(run.seq, "people", made.shape, last)])
        self.warehouse.execute("CHECKPOINT")
        return time.perf_counter() - started


@contextmanager
def sampled(spill: Path) -> Iterator[dict[str, float]]:
    """The peaks of this process's memory and of a folder's files, in MB, once the block ends."""
    peak = {"memory": 0.0, "disk": 0.0}
    over = threading.Event()

    def look() -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not over.wait(SAMPLE_SECONDS):
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
            peak["memory"] = max(peak["memory"], resident / 1e6)
            with suppress(FileNotFoundError):
                written = sum(file.stat().st_size for file in spill.iterdir())
                peak["disk"] = max(peak["disk"], written / 1e6)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peak
    finally:
        over.set()
        looking.join()


@contextmanager
def _people(folder: Path, rows: int) -> Iterator[Town]:
    """A town that another process has populated: what that took is not of this one's memory."""
    if not (folder / "models").exists():
        _populate_beside(folder, rows)
    with open_warehouse(load_project(folder), clock=SystemClock()) as warehouse:
        if MEMORY:
            warehouse.execute(f"SET memory_limit = '{MEMORY}'")
        yield Town(warehouse)


def _populate_beside(folder: Path, rows: int) -> None:
    (folder / ".dlt").mkdir()
    (folder / "models" / "audiences").mkdir(parents=True)
    (folder / ".dlt" / "config.toml").write_text(CONFIG)
    (folder / "models" / "audiences" / "people.sql").write_text(AUDIENCE)
    subprocess.run([sys.executable, __file__, str(folder), str(rows)], check=True)


def _populate(folder: Path, rows: int) -> None:
    with open_warehouse(load_project(folder), clock=SystemClock()) as warehouse:
        Town(warehouse).populate(rows)


def _plan(folder: Path) -> float:
    """Seconds of `tailrace plan` as a process."""
    command = [sys.executable, "-m", "tailrace", "plan", "--json", "--project-dir", str(folder)]
    started = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _scan_as_process(folder: Path) -> float:
    """Seconds of a process that imports the same libraries and scans both tables."""
    command = [sys.executable, "-c", SCAN, str(folder / "warehouse.duckdb")]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


# How others work out the same difference, on the same tables.
_OURS, _THEIRS = "salesforce.contact", "tailrace.snapshot__people"
_VALUES = [name for name in COLUMNS if name != "id"]
_BOTH = ", ".join(f"c.{n} AS {n}, p.{n} AS old_{n}" for n in COLUMNS)
_MOVED = " OR ".join(f"c.{n} IS DISTINCT FROM p.{n}" for n in _VALUES)
_MD5 = "MD5(" + " || '|' || ".join(f"COALESCE(CAST({n} AS VARCHAR), '')" for n in _VALUES) + ")"
_NAMES = ", ".join(COLUMNS)
PEERS = {
    "a full-column join": f"SELECT {_BOTH} FROM {_OURS} c FULL JOIN {_THEIRS} p ON c.id = p.id "
    f"WHERE c.id IS NULL OR p.id IS NULL OR {_MOVED}",
    "EXCEPT both ways": f"SELECT * FROM (SELECT {_NAMES} FROM {_OURS} EXCEPT "
    f"SELECT {_NAMES} FROM {_THEIRS}) UNION ALL SELECT * FROM "
    f"(SELECT {_NAMES} FROM {_THEIRS} EXCEPT SELECT {_NAMES} FROM {_OURS})",
    "dbt-snapshot hashes": f"SELECT c.*, p.h AS old_h FROM (SELECT *, {_MD5} AS h FROM {_OURS}) c "
    f"LEFT JOIN (SELECT id, {_MD5} AS h FROM {_THEIRS}) p ON c.id = p.id "
    f"WHERE p.id IS NULL OR c.h <> p.h UNION ALL BY NAME "
    f"SELECT p.* FROM {_THEIRS} p WHERE NOT EXISTS (SELECT 1 FROM {_OURS} c WHERE c.id = p.id)",
}
if quick():
    # The others take several times as long as a plan, whatever the size.
    PEERS = {"a full-column join": PEERS["a full-column join"]}

if __name__ == "__main__":
    _populate(Path(sys.argv[1]), int(sys.argv[2]))
