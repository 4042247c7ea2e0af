"""Prefect: a flow around one run of Tailrace."""

import os

from prefect import flow, get_run_logger
from prefect.states import Completed

import tailrace
from tailrace.errors import LockHeld


@flow(retries=0)
def sync_audiences(project_dir: str = os.environ["TAILRACE_PROJECT_DIR"]):
    logger = get_run_logger()
    try:
        result = tailrace.Project.load(project_dir).run()
    except LockHeld:
        return Completed(name="Skipped", message="Another run is active.")
    for name, entry in result.audiences.items():
        logger.info("%s is %s: %s members sent", name, entry.status, entry.sent)
    # A held audience (3) waits for a decision, and rejected rows (4) are retried by the next run.
    if result.exit_code in (1, 2):
        result.raise_for_errors()
        raise RuntimeError(f"tailrace run exited with {result.exit_code}")
    return result.exit_code


if __name__ == "__main__":
    sync_audiences()
