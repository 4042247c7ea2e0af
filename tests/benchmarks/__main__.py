"""`make bench`: one line a figure, `NAME | figure | against | ratio | goal | ok` (or `SHORT`).

Each `bench_*.py` in this folder has `figures()`, which yields what it measured; a NAME on the
command line is the file's name without `bench_`. The same lines are appended as JSON objects to
`bench.jsonl`, or to the file that HISTORY names, with the time and the commit; `make bench-chart`
draws them. Whatever falls short, the exit code is 0: this measures, it does not judge.

The first line is the load of the machine, which the history has too: a figure that was taken beside
other work says little.

A quick run takes fewer rows, and leaves out the benchmarks of other engines, of a large state, and
of the page, whose goals are seconds. Its figures are judged by the same goals; a figure that needs
the full size, or several tries near its goal, says `not judged`, and why.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from figure import Figure, quick

FOLDER = Path(__file__).parent
RECORD = Path(os.environ.get("HISTORY") or FOLDER.parents[1] / "bench.jsonl")
# The load before the first benchmark, for the processes of the others.
LOAD = "TAILRACE_BENCH_LOAD"
# They start a server or make a large file, and run for minutes even with few rows. How long an
# answer of the page takes says little beside other work.
LEFT_OUT_WHEN_QUICK = ("page", "partitions", "postgres", "scale", "spark", "state")


def main(only: str = "") -> None:
    """Run the benchmarks whose names are in `only`, separated by commas, or all of them."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    wanted = [name for name in only.split(",") if name] or list(known)
    strange = [name for name in wanted if name not in known]
    if strange:
        sys.exit(f"No benchmark {strange[0]}. There are: {', '.join(known)}")
    if quick() and not only:
        wanted = [name for name in wanted if name not in LEFT_OUT_WHEN_QUICK]
        print(f"Not in a quick run: {', '.join(LEFT_OUT_WHEN_QUICK)}. Measure one with ONLY=NAME.")
    if LOAD not in os.environ:
        one, five, _ = os.getloadavg()
        os.environ[LOAD] = f"{one:.2f}"
        cores = os.cpu_count()
        print(f"Load at the start: {one:.2f} (five minutes: {five:.2f}), {cores} cores", flush=True)
    if len(wanted) > 1:
        # Each in a process of its own: what one imports, opens or sets is nothing to the next.
        for name in wanted:
            subprocess.run([sys.executable, str(FOLDER), name], check=False)
        return
    commit = _commit()
    for name in wanted:
        for figure in load(known[name]).figures():
            print(figure, flush=True)
            with RECORD.open("a") as record:
                record.write(json.dumps(line(figure, commit=commit)) + "\n")


def line(figure: Figure, *, commit: str) -> dict[str, object]:
    """A figure as the history has it."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "quick": quick(),
        "load_at_start": float(os.environ[LOAD]),
        **asdict(figure),
        "ratio": figure.ratio,
        "ok": figure.ok,
    }


def _commit() -> str:
    command = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty"]
    described = subprocess.run(command, check=False, capture_output=True, text=True)
    return described.stdout.strip()


def load(path: Path) -> ModuleType:
    """Import one benchmark from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(*sys.argv[1:])
