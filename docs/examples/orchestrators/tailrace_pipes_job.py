"""The job of `dagster_pipes_assets.py`: a run that reports its audiences to Dagster."""

import os

from dagster_pipes import PipesContext, open_dagster_pipes

import tailrace
from tailrace.errors import LockHeld


def run(pipes: PipesContext) -> None:
    project = tailrace.Project.load(os.environ["TAILRACE_PROJECT_DIR"])
    selected = sorted(pipes.asset_keys)
    try:
        result = project.run(select=selected)
    except LockHeld:
        pipes.log.info("Another run is active.")
        return
    for name in selected:
        # One for each of its destinations.
        entries = [entry for entry in result.audiences.values() if entry.audience == name]
        if entries and all(entry.status in ("ok", "unchanged") for entry in entries):
            metadata = {
                "members": max(entry.size_after or 0 for entry in entries),
                "sent": sum(entry.sent for entry in entries),
            }
            pipes.report_asset_materialization(asset_key=name, metadata=metadata)
    # A held audience (3) waits for a decision, and rejected rows (4) are retried by the next run.
    if result.exit_code in (1, 2):
        result.raise_for_errors()
        raise RuntimeError(f"tailrace run exited with {result.exit_code}")


if __name__ == "__main__":
    with open_dagster_pipes() as context:
        run(context)
