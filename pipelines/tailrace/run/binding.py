"""Binds models to the tables that have landed, without running them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tailrace.audience.yaml import raise_all
from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.errors import ConfigurationError, LockHeld, WarehouseUnavailable
from tailrace.models.loader import Model, Models
from tailrace.warehouse.engines import engine_of


def bind_to_landed_tables(
    config: ProjectConfig, models: Models, chosen: Sequence[Model], *, clock: Clock
) -> list[dict[str, Any]]:
    """Bind models on the warehouse: a DuckDB file that exists, or a server that is configured.

    Returns:
        A warning for each source that would hold its audiences today; and one if another process
        has the file open, or if the server cannot be reached.

    Raises:
        tailrace.errors.UserError: A model does not bind; it names the file and the line.
    """
    embedded = engine_of(config.settings.warehouse).single_writer
    if embedded and not config.duckdb_file.is_file():
        return []
    # A project without a warehouse is checked without importing dlt.
    from tailrace.plan.faults import binding_errors
    from tailrace.plan.sources import SourceStates
    from tailrace.warehouse.opening import open_warehouse

    try:
        with open_warehouse(
            config, clock=clock, read_only=True, wait_seconds_max=0, refresh=False
        ) as warehouse:
            raise_all(binding_errors(warehouse, models, chosen, now=clock.now()))
            read = {source.key for model in chosen for source in models.sources_read(model.name)}
            states = SourceStates(warehouse, models, now=clock.now()).all()
            return [
                {
                    "message": f"{reason}: the audiences that read it are held",
                    "hint": "Run the job that loads the table, or correct models/sources.yml.",
                    "file": state.source.file,
                    "line": state.source.line,
                }
                for state in states
                if state.source.key in read
                for reason in state.problems()
            ]
    except LockHeld:
        message = "A run has the warehouse open: columns of landed tables were not checked"
        return _unchecked(message, "Check them after the run with: tailrace validate")
    except (ConfigurationError, WarehouseUnavailable) as error:
        if embedded:
            raise
        return _unchecked(
            f"{error.message}: columns of landed tables were not checked",
            error.hint or "Check the connection with: tailrace doctor",
        )


def _unchecked(message: str, hint: str) -> list[dict[str, Any]]:
    return [{"message": message, "hint": hint, "file": None, "line": None}]
