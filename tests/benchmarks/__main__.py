"""`make bench`: one line a figure, `NAME | figure | against | ratio | goal | ok` (or `SHORT`).

Each `bench_*.py` in this folder has `figures()`, which yields what it measured; a NAME on the
command line is the file's name without `bench_`. The same lines are appended to `bench.jsonl` as
JSON objects. Whatever falls short, the exit code is 0: this measures, it does not judge.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent
RECORD = FOLDER.parents[1] / "bench.jsonl"

sys.path.insert(0, str(FOLDER))


def main(only: str = "") -> None:
    """Run the benchmarks whose names are in `only`, separated by commas, or all of them."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    wanted = [name for name in only.split(",") if name] or list(known)
    strange = [name for name in wanted if name not in known]
    if strange:
        sys.exit(f"No benchmark {strange[0]}. There are: {', '.join(known)}")
    if len(wanted) > 1:
        # Each in a process of its own: what one imports, opens or sets is nothing to the next.
        for name in wanted:
            subprocess.run([sys.executable, str(FOLDER), name], check=False)
        return
    for name in wanted:
        for figure in load(known[name]).figures():
            print(figure, flush=True)
            with RECORD.open("a") as record:
                record.write(
                    json.dumps(asdict(figure) | {"ratio": figure.ratio, "ok": figure.ok}) + "\n"
                )


def load(path: Path) -> ModuleType:
    """Import one benchmark from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(*sys.argv[1:])
