"""Airflow 3: a DAG with one task, which runs Tailrace in the worker's Python."""

import os

import pendulum
from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk import dag, task


@dag(
    schedule="17 * * * *",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
)
def tailrace_audiences():
    @task(retries=0)
    def sync() -> int:
        import tailrace
        from tailrace.errors import LockHeld, TailraceError

        try:
            result = tailrace.Project.load(os.environ["TAILRACE_PROJECT_DIR"]).run()
        except LockHeld:
            raise AirflowSkipException("Another run is active.") from None
        except TailraceError as error:
            raise AirflowFailException(f"{error.message}. {error.hint}") from None
        # A held audience (3) waits for a decision, and the next run retries rejected rows (4).
        if result.exit_code in (1, 2):
            raise AirflowFailException("; ".join(error.message for error in result.errors))
        return result.exit_code

    sync()


dag_object = tailrace_audiences()
