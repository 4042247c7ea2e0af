"""`run --watch`: cycles in one process, on a clock that a test moves."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alerts.alert_receivers import Receiver, receiving
from org_shop import AUDIENCE, OrgShop, SetClock, org_shop
from sending_run import wait_until

from tailrace import errors
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Run
from tailrace.project import Project
from tailrace.results import Result
from tailrace.run.job import COMPACTED_RUNS, run_job
from tailrace.run.result import RunResult
from tailrace.run.watch import BACKOFF_SECONDS_MAX, Watch
from tailrace.run.work import Work
from tailrace.testing import Fault
from tailrace.testing.org.describe import Field

Step = Callable[[], Any]
EVERY = 60.0
CELLS_OF_A_CLOSURE = 6


class Script:
    """A watching process whose pauses between cycles do what a test wants.

    Attributes:
        pauses: The seconds of each pause.
        requests: The paths that each cycle asked of Salesforce.
        runs: The results of the runs, by the number of the cycle.
    """

    def __init__(self, shop: OrgShop) -> None:
        self.shop = shop
        self.pauses: list[float] = []
        self.requests: list[list[str]] = []
        self.runs: dict[int, Result] = {}
        self._steps: Sequence[Step | None] = ()

    def watch(self, *steps: Step | None, cycles: int | None = None, **options: Any) -> Result:
        """Watch for one cycle more than there are steps; each is done in a pause."""
        self._steps = steps
        clock = self.shop.clock
        assert isinstance(clock, SetClock)
        duration = EVERY * (len(steps) if cycles is None else cycles - 1)
        clock.on_sleep = self._pause
        try:
            return Project(self.shop.project, clock=clock).watch(
                timedelta(seconds=EVERY),
                duration=timedelta(seconds=duration),
                on_run=lambda result: self.runs.update({len(self.pauses): result}),
                **options,
            )
        finally:
            clock.on_sleep = None
            self.requests.append(self.shop.requests())

    def _pause(self, seconds: float) -> None:
        if seconds < EVERY / 2:
            # A retry inside a cycle.
            return
        self.pauses.append(seconds)
        self.requests.append(self.shop.requests())
        if len(self.pauses) <= len(self._steps):
            step = self._steps[len(self.pauses) - 1]
            if step is not None:
                step()

    def moves(self) -> dict[int, list[tuple[str, int, int, int]]]:
        """What each run changed: audience, entered, changed, exited."""
        return {
            cycle: [
                (name, entry.entered, entry.changed, entry.exited)
                for name, entry in sorted(run.audiences.items())
            ]
            for cycle, run in self.runs.items()
        }


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[OrgShop]:
    with org_shop(tmp_path / "shop") as shop:
        yield shop


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def watches(shop: OrgShop) -> tuple[Any, ...]:
    (row,) = shop.query(
        "SELECT cycles, idle_cycles, failed_cycles, error, ended_at IS NOT NULL"
        " FROM tailrace.watches ORDER BY started_at DESC LIMIT 1"
    )
    return row


def retitle(shop: OrgShop, place: int, title: str) -> Step:
    return lambda: shop.org.update("Contact", shop.contact(place), {"Title": title})


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_cycle_without_news_asks_once_an_object(shop: OrgShop) -> None:
    """Only what changed makes a run: an update, a second one in the same minute, a deletion."""
    script = Script(shop)
    file = shop.root / "models" / "audiences" / "people.sql"
    result = script.watch(
        None,
        retitle(shop, 0, "Chief"),
        retitle(shop, 0, "Chief again"),
        None,
        lambda: shop.org.delete("Contact", shop.contact(1)),
        lambda: file.write_text(file.read_text()),
    )
    assert (0, ()) == (result.exit_code, result.errors)
    assert script.moves() == {
        0: [("people", 8, 0, 0)],
        2: [("people", 0, 1, 0)],
        3: [("people", 0, 1, 0)],
        5: [("people", 0, 0, 1)],
    }
    assert [EVERY] * 6 == script.pauses
    question = "/services/data/v64.0/queryAll"
    assert [[question] * 2] * 2 == [script.requests[cycle] for cycle in (4, 6)]
    paths = [path for requests in script.requests for path in requests]
    assert 1 == sum(path.endswith("/oauth2/token") for path in paths)
    assert (7, 3, 0, None, True) == watches(shop)
    assert {"cycles": 7, "idle_cycles": 3} == {
        key: result.data["watch"][key] for key in ("cycles", "idle_cycles")
    }
    assert [("run", 0)] * 4 == shop.query("SELECT command, exit_code FROM tailrace.runs")
    # A plain run finds nothing to send.
    assert 0 == len(shop.arrived()) - 8 - 3


def test_an_edited_model_is_read_again_and_a_broken_one_holds_its_audience(
    shop: OrgShop, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """The receivers of alerts hear of each broken file once, and of its correction."""
    script = Script(shop)
    shop.audience(AUDIENCE.format(name="titles"), "titles")
    shop.environ["TAILRACE__ALERTS__URLS"] = receiver.url
    broken = AUDIENCE.format(name="titles").replace("SELECT id", "SELECT idd")
    unreadable = AUDIENCE.format(name="people").replace("key:", "kee:")

    def edit_both() -> None:
        shop.audience(broken, "titles")
        retitle(shop, 0, "Chief")()

    def break_all() -> None:
        shop.audience(unreadable)
        shop.audience(unreadable, "titles")
        retitle(shop, 1, "Head")()

    def correct() -> None:
        shop.audience(AUDIENCE.format(name="people"))
        shop.audience(AUDIENCE.format(name="titles"), "titles")

    result = script.watch(edit_both, None, break_all, None, correct)
    assert (0, ()) == (result.exit_code, result.errors)
    assert [0, 1, 5] == list(script.runs)
    edited = script.runs[1]
    assert (1, "failed") == (edited.exit_code, edited.audiences["titles"].status)
    assert "models/audiences/titles.sql" in str(edited.errors[0].file)
    assert ("ok", 1) == (edited.audiences["people"].status, edited.audiences["people"].changed)
    assert "Nothing is sent until it is corrected" in caplog.text
    assert script.moves()[5] == [("people", 0, 1, 0), ("titles", 0, 2, 0)]
    assert [EVERY] * 5 == script.pauses
    assert (6, 1, 2, None, True) == watches(shop)
    assert [
        ["- models/audiences/titles.sql is broken"],
        ["- models/audiences/people.sql is broken"],
        [
            "- models/audiences/people.sql recovered (was broken)",
            "- models/audiences/titles.sql recovered (was broken)",
        ],
    ] == [
        [line.partition(":")[0] for line in body["message"].splitlines() if line.startswith("-")]
        for body in receiver.bodies
    ]


def test_a_cycle_with_news_runs_only_the_audiences_that_read_it(
    shop: OrgShop, caplog: pytest.LogCaptureFixture
) -> None:
    """Each model is run once a change of its table, whether one audience reads the table or two."""
    clock = shop.clock
    assert isinstance(clock, SetClock)
    # Changes are merged by SQL if the clock is not behind the one that dlt reads.
    clock.seconds += 20 * 365 * 86_400
    config = shop.root / ".dlt" / "config.toml"
    config.write_text(config.read_text().replace('"Account"]', '"Account", "Opportunity"]'))
    for name, table, column in (
        ("titles", "contact", "title"),
        ("names", "account", "name"),
        ("accounts", "account", "name"),
        ("stages", "opportunity", "stage_name"),
    ):
        sql = AUDIENCE.format(name=name).replace("title: title", f"title: {column}")
        sql = sql.replace("id, title", f"id, {column}").replace(".contact", f".{table}")
        shop.audience(sql, name)
    (opportunity, *_) = sorted(str(row["Id"]) for row in shop.org.rows("Opportunity").records())
    measured: list[int] = []

    def count_statements() -> None:
        messages = [record.getMessage() for record in caplog.records]
        measured.append(messages.count("statement plan/measure"))
        caplog.clear()

    def retitle_one() -> None:
        count_statements()
        retitle(shop, 0, "Chief")()

    def restage_one() -> None:
        count_statements()
        shop.org.update("Opportunity", opportunity, {"StageName": "Won back"})

    script = Script(shop)
    with caplog.at_level(logging.DEBUG, "tailrace.warehouse.connection"):
        assert 0 == script.watch(retitle_one, restage_one).exit_code
        count_statements()
    run = {
        cycle: {entry["audience"] for entry in result.data["audiences"] if not entry["skipped"]}
        for cycle, result in script.runs.items()
    }
    everything = {"people", "titles", "names", "accounts", "stages"}
    assert {
        0: everything,
        1: {"people", "titles"},
        2: {"stages"},
    } == run
    # One for each model that is run, and for each written table that two audiences read.
    # The window of an extract overlaps the one before, so that the second cycle writes Contact too.
    assert [7, 3, 2] == measured
    assert [("people", 0, 1, 0), ("titles", 0, 1, 0), ("stages", 0, 1, 0)] == [
        move for cycle in (1, 2) for move in script.moves()[cycle] if any(move[1:])
    ]


class Trespasser:
    """Tries, after each run of a watching process, what no model may do."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.succeeded: list[str] = []
        self.is_locked: list[bool] = []

    def started(self, ledger: Ledger, work: Work, run: Run) -> None:
        """Models are checked after they have run."""

    def finished(self, ledger: Ledger, work: Work, result: RunResult) -> RunResult:
        warehouse = ledger.warehouse
        for sql in (
            "SET enable_external_access = TRUE",
            "SET allowed_directories = ['/']",
            "SET checkpoint_threshold = '2GB'",
            "SET lock_configuration = FALSE",
            "LOAD spatial",
            f"SELECT * FROM read_text('{self.file}')",
            f"SELECT * FROM '{self.file}'",
            f"COPY (SELECT 1) TO '{self.file}.copy'",
            f"ATTACH '{self.file}.duckdb'",
        ):
            with suppress(errors.WarehouseFailed):
                warehouse.execute(sql)
                self.succeeded.append(sql)
        ((locked,),) = warehouse.execute("SELECT current_setting('lock_configuration')")
        self.is_locked.append(bool(locked))
        return result

    def not_started(self, ledger: Ledger | None, error: errors.TailraceError) -> None:
        """No run."""

    def state_stored(self) -> None:
        """No state."""

    def state_not_stored(self, error: errors.TailraceError) -> None:
        """No state."""


def test_the_engine_stays_locked_while_dlt_loads_again(shop: OrgShop, tmp_path: Path) -> None:
    """A load with a new field goes through dlt, which would set options of the engine."""
    file = tmp_path / "secret.csv"
    file.write_text("token")
    trespasser = Trespasser(file)
    clock = shop.clock
    assert isinstance(clock, SetClock)

    def add_field(seconds: float) -> None:
        if seconds >= EVERY / 2:
            shop.org.add_field("Contact", Field(name="Shoe_Size__c", type="double"))
            shop.org.update("Contact", shop.contact(0), {"Title": "Chief", "Shoe_Size__c": 43.0})

    clock.on_sleep = add_field
    result = Watch(
        shop.project,
        run_job(),
        clock=clock,
        every_seconds=EVERY,
        seconds_max=EVERY,
        observers=(trespasser,),
    ).run()
    assert (0, 2, 0) == (result.exit_code, result.cycles.count, result.cycles.idle)
    assert [(43.0,)] == shop.query(
        "SELECT shoe_size__c FROM salesforce.contact WHERE shoe_size__c IS NOT NULL"
    )
    assert 1 == len([e for e in shop.segment_events() if e["event"] == "Changed"])
    assert [] == trespasser.succeeded
    assert [True, True] == trespasser.is_locked


def test_a_held_audience_does_not_end_it(shop: OrgShop) -> None:
    script = Script(shop)
    guarded = AUDIENCE.format(name="people").replace("max_exited: null", "max_changed: 1")
    shop.audience(guarded)

    def retitle_two() -> None:
        retitle(shop, 0, "Chief")()
        retitle(shop, 1, "Head")()

    result = script.watch(retitle_two, None)
    assert (0, 3) == (result.exit_code, script.runs[1].exit_code)
    assert [0, 1] == list(script.runs)


def test_failures_back_off_and_recover(shop: OrgShop) -> None:
    """The pauses double with jitter up to a limit, and a success ends that."""
    shop.environ["SOURCES__SALESFORCE__ATTEMPTS_MAX"] = "1"
    script = Script(shop)

    def fail() -> None:
        shop.salesforce.faults.append(Fault(path="/services/data/*", status=503))

    clear = shop.salesforce.faults.clear
    result = script.watch(fail, *[None] * 4, clear, None, interrupt, cycles=200)
    assert 0 == result.exit_code
    for place, pause in enumerate(script.pauses[1:6]):
        doubled = min(EVERY * 2**place, BACKOFF_SECONDS_MAX)
        # After a failure the next cycle may begin at any second.
        assert max(0.0, doubled * 0.5 - EVERY) <= pause <= doubled * 1.5 + EVERY
    assert script.pauses[5] > 2 * EVERY
    assert [1] * 5 == [script.runs[cycle].exit_code for cycle in range(1, 6)]
    assert 0 == script.runs[6].exit_code
    assert script.pauses[6] <= EVERY
    assert (5, None) == watches(shop)[2:4]


def test_a_wrong_credential_ends_it(shop: OrgShop) -> None:
    script = Script(shop)

    def revoke() -> None:
        shop.salesforce.expire_tokens()
        shop.salesforce.credentials = type(shop.salesforce.credentials)(client_secret="other")
        shop.salesforce.logins.credentials = shop.salesforce.credentials

    result = script.watch(revoke, None, None)
    assert 2 == result.exit_code
    assert [errors.CredentialRefused] == [type(error) for error in result.errors]
    assert 1 == len(script.pauses)
    assert (2, 0, 1, "CredentialRefused", True) == watches(shop)


def test_a_signal_between_two_cycles_is_exit_0_and_in_a_run_it_ends_the_run(shop: OrgShop) -> None:
    def interrupt_delivery(_name: str, _done: int, total: int) -> None:
        if total:
            interrupt()

    script = Script(shop)
    assert 0 == script.watch(None, interrupt, None, None).exit_code
    assert (2, 1, 0, None, True) == watches(shop)
    retitle(shop, 0, "Chief")()
    with pytest.raises(KeyboardInterrupt):
        script.watch(None, progress=interrupt_delivery)
    assert watches(shop)[-1]
    # What the run had planned is delivered by the next one, if it was not by then.
    assert 0 == script.watch(cycles=1).exit_code
    assert ["Segment Entered"] * 8 + ["Changed"] == [event["event"] for event in shop.arrived()]


def test_the_state_is_stored_when_a_cycle_had_changes(shop: OrgShop, tmp_path: Path) -> None:
    """Idle cycles store nothing, and the lease is held from the start to the end."""
    shop.environ["TAILRACE__STATE_URL"] = f"file://{tmp_path / 'state'}"
    # The thread that renews the lease waits by the machine's clock.
    shop.environ["TAILRACE__LOCK_LEASE_SECONDS"] = "3600"
    script = Script(shop)
    generations: list[int] = []

    def look() -> None:
        state = Project(shop.project, clock=shop.clock).state().data
        generations.append(state["generation"])
        assert state["lease"]["held"]

    def look_and_retitle() -> None:
        look()
        retitle(shop, 0, "Chief")()

    assert 0 == script.watch(look, look, look_and_retitle, look).exit_code
    first, second, third, fourth = generations
    assert first == second == third < fourth
    state = Project(shop.project, clock=shop.clock).state().data
    assert state["lease"] is None
    status = Project(shop.project, clock=shop.clock).status().data
    assert (5, 3, False) == tuple(
        status["watch"][key] for key in ("cycles", "idle_cycles", "active")
    )


def resources() -> tuple[int, int, Counter[str]]:
    """Open files, threads, and live objects by type."""
    gc.collect()
    objects = Counter(f"{type(o).__module__}.{type(o).__qualname__}" for o in gc.get_objects())
    readings: list[tuple[int, int]] = []
    # The simulators end their side of a connection some time after the run has closed it.
    while (len(readings) < 1_000 and len({*readings[-20:]}) != 1) or len(readings) < 20:
        time.sleep(0.01)
        readings.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
    return *readings[-1], objects


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts the files of Linux")
def test_cycles_keep_nothing(shop: OrgShop, request: pytest.FixtureRequest) -> None:
    """`--watch-cycles 1000` takes a minute. Every fourth cycle has news."""
    cycles = max(request.config.getoption("--watch-cycles"), 24)
    segment = shop.segment
    assert segment is not None
    looks: list[tuple[int, int, Counter[str]]] = []
    clock = shop.clock
    assert isinstance(clock, SetClock)
    pauses = 0

    def pause(seconds: float) -> None:
        nonlocal pauses
        if seconds < EVERY / 2:
            return
        pauses += 1
        # What the simulators remember is not the process's.
        shop.salesforce.requests.clear()
        segment.requests.clear()
        segment.inbox.clear()
        if pauses % 4 == 0:
            retitle(shop, 0, f"Title {pauses}")()
        elif pauses % 4 == 2 and pauses in (4 * (cycles // 8) + 2, 4 * (cycles // 4) - 2):
            looks.append(resources())

    clock.on_sleep = pause
    duration = timedelta(seconds=EVERY * (cycles - 1))
    result = Project(shop.project, clock=clock).watch(timedelta(seconds=EVERY), duration=duration)
    assert (0, cycles) == (result.exit_code, result.data["watch"]["cycles"])
    runs = cycles - result.data["watch"]["idle_cycles"]
    assert cycles // 4 <= runs <= cycles // 4 + 1 + cycles // 60
    (files, threads, before), (files_later, threads_later, after) = looks
    assert (files, threads) == (files_later, threads_later)
    # A cycle that kept one object would keep half of all cycles' objects. One closure that is alive
    # at the second look only, such as a simulator's, has some cells.
    kept_max = max(cycles / 8, CELLS_OF_A_CLOSURE)
    grown = {name: count for name, count in (after - before).items() if count > kept_max}
    assert {} == grown
    ((groups,),) = shop.query(
        "SELECT COUNT(DISTINCT row_group_id) FROM pragma_storage_info('tailrace.runs')"
    )
    assert groups <= COMPACTED_RUNS


def test_other_processes_learn_who_has_the_lock_and_look_at_it(shop: OrgShop) -> None:
    """The process of a user: a lock that is taken, a status, a change, and SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "run", "--watch", "1", "--json"],
        cwd=shop.root,
        env={**os.environ, **shop.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    project = Project(shop.project)

    def status() -> dict[str, Any]:
        with suppress(errors.TailraceError):
            return dict(project.status().data)
        return {"watch": None, "runs": []}

    def cycles() -> int:
        """Those that are saved: after each run, and each minute."""
        watch = status()["watch"]
        return watch["cycles"] if watch else 0

    try:
        wait_until(lambda: process.poll() is not None or len(shop.segment_events()) == 8)
        # A run has ended, and a cycle without news is counted.
        wait_until(lambda: [run["exit_code"] for run in status()["runs"]] == [0])
        wait_until(lambda: cycles() > 0)
        watching = status()["watch"]
        assert watching["active"]
        assert (process.pid, 1.0) == (watching["process"], watching["every_seconds"])
        with pytest.raises(errors.LockHeld) as held:
            project.sync()
        assert 75 == held.value.exit_code
        assert f"(held by PID {process.pid}, {watching['watch_id']})" in held.value.message
        assert "tailrace status" in held.value.hint
        retitle(shop, 0, "Chief")()
        wait_until(lambda: process.poll() is not None or len(shop.segment_events()) == 9)
        wait_until(lambda: [run["exit_code"] for run in status()["runs"]] == [0, 0])
        # A signal within the cycle, such as in its checkpoint, ends the process with 143.
        wait_until(lambda: cycles() > watching["cycles"])
    finally:
        process.terminate()
        output, messages = process.communicate(timeout=60)
    assert 0 == process.returncode, messages
    result = json.loads(output)
    assert ("run", 0) == (result["command"], result["exit_code"])
    assert (0, 1) == (result["watch"]["failed_cycles"], result["audiences"][0]["changed"])
    assert 0 == project.sync().exit_code
    assert not project.status().data["watch"]["active"]
    assert 9 == len(shop.segment_events())
