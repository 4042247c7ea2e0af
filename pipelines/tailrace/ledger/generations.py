"""Notices a DuckDB file that was copied or replaced by an older one.

A copied file is a second sender: both copies plan and send the same changes. Nothing inside a copy
differs from its original, so each run records two things. The ledger gets the host and the file of
the run. The project's `.tailrace/` gets the run's id, its generation: the next run of this project
expects that run in the ledger that it opens.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tailrace.dataclass import dataclass
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Run

# So many runs on one host make it the file's home. Throw-away machines, which have another name
# for each run, never become one.
RUNS_AT_HOME_MIN = 3
RECORD_BYTES_MAX = 4_096
WAYS_OUT = (
    "If the file was moved or restored from a backup, continue: this is reported once. If another "
    "copy of it is still used, only one of them may send: stop the runs of the other copy, or run "
    "here with settings and a source of its own: tailrace run --target NAME"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a DuckDB file is.

    Attributes:
        host: The machine's name.
        file: The path of the file.
        file_id: Device and inode, which a move keeps and a copy does not.
    """

    host: str
    file: str
    file_id: str

    @classmethod
    def of(cls, file: Path) -> Place:
        """The place of a file on this machine."""
        file = file.resolve()
        with suppress(OSError):
            status = file.stat()
            return cls(
                host=platform.node(), file=str(file), file_id=f"{status.st_dev}:{status.st_ino}"
            )
        return cls(host=platform.node(), file=str(file), file_id="")

    def is_elsewhere(self, home: Place) -> bool:
        """Whether a file at home cannot have come to this place by a rename."""
        if self.host != home.host:
            return True
        return self.file != home.file and self.file_id != home.file_id

    def is_still_there(self) -> bool:
        """Whether this machine has the file in this place."""
        return self.file_id != "" and Place.of(Path(self.file)) == self


def signs_of_a_copy(ledger: Ledger) -> Iterator[str]:
    """Sentences that say why the open file may be a copy. Called before the run is recorded.

    Other warehouses than DuckDB have one place, and yield nothing. A file in `state_url` is copied
    for each run, and its store refuses a second sender.
    """
    if not ledger.warehouse.engine.single_writer or not ledger.has_table("generations"):
        return
    if ledger.warehouse.project.settings.state_url is not None:
        return
    file = ledger.warehouse.project.duckdb_file
    previous = _previous_generation(ledger)
    if previous is not None and not _has_run(ledger, *previous):
        yield (
            f"{file.name} does not have this project's last run, {previous[1]}: the file was "
            "replaced by a backup or by a copy that was used elsewhere"
        )
        return
    rows = ledger.warehouse.run(
        "ledger/generations", tables=ledger.tables, rows_max=RUNS_AT_HOME_MIN
    )
    places = [Place(host=host, file=path, file_id=file_id) for host, path, file_id in rows]
    here = Place.of(file)
    if not places or not here.is_elsewhere(places[0]):
        return
    home = places[0]
    if home.is_still_there():
        yield f"{file.name} is a copy of {home.file}, and a copied file is a second sender"
    elif len(places) == RUNS_AT_HOME_MIN and not any(p.is_elsewhere(home) for p in places):
        now, before = f"at {here.file}", f"at {home.file}"
        if here.host != home.host:
            now, before = f"on {here.host}", f"on {home.host}"
        yield (
            f"{file.name} is {now}, and its last {RUNS_AT_HOME_MIN} runs were {before}: it was "
            "moved or copied, and a copied file is a second sender"
        )


def record_generation(ledger: Ledger, run: Run) -> None:
    """Record the place of a run in the ledger, and its id in the project. Called under the lock."""
    if not ledger.warehouse.engine.single_writer:
        return
    place = Place.of(ledger.warehouse.project.duckdb_file)
    ledger.warehouse.run(
        "ledger/record_generation",
        tables=ledger.tables,
        run=run.seq,
        host=place.host,
        file=place.file,
        file_id=place.file_id,
    )
    record = {"ledger": _ledger_id(ledger), "run_seq": run.seq, "run_id": run.id}
    path = _record_file(ledger)
    # The record only serves a warning, and a run does not fail for want of it.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record), encoding="utf-8")


def _previous_generation(ledger: Ledger) -> tuple[int, str] | None:
    """The number and the id of the last run that this project made with this ledger."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        with _record_file(ledger).open("rb") as file:
            record = json.loads(file.read(RECORD_BYTES_MAX))
        if record["ledger"] == _ledger_id(ledger):
            return int(record["run_seq"]), str(record["run_id"])
    return None


def _has_run(ledger: Ledger, run_seq: int, run_id: str) -> bool:
    rows = ledger.warehouse.run("ledger/run_numbered", tables=ledger.tables, run=run_seq)
    return any(found == run_id for (found,) in rows)


def _record_file(ledger: Ledger) -> Path:
    project = ledger.warehouse.project
    name = f"{project.duckdb_file.resolve()}\n{ledger.dataset}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return project.root / ".tailrace" / f"generation-{digest}.json"


def _ledger_id(ledger: Ledger) -> str:
    """Tells a ledger from one that was started again in the same file."""
    return hashlib.sha256(ledger.namespace.encode()).hexdigest()[:16]
