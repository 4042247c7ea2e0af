"""The DuckDB file in the store of `state_url`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace.errors import NothingLanded, NothingSelected
from tailrace.project.loaded import LoadedProject
from tailrace.results import Result

if TYPE_CHECKING:
    from tailrace.state.session import Opened


class StoredState(LoadedProject):
    """Looks at the stored state, and moves it."""

    def state(self) -> Result:
        """The generation, the size and the lease of the state in `state_url`.

        Raises:
            tailrace.errors.NothingSelected: The project has no `state_url`.
        """
        self._require_state_url()
        return Result(command="state", data=self._described_state())

    def unlock_state(self) -> Result:
        """Release the lease of another run, which then stops before its next batch.

        Raises:
            tailrace.errors.LockHeld: The lease was renewed or taken at the same moment.
            tailrace.errors.NothingSelected: The project has no `state_url`.
        """
        from tailrace.state.lease import unlock
        from tailrace.state.stores import open_store

        self._require_state_url()
        lease = unlock(open_store(self.config), clock=self.clock)
        released = lease.as_dict(self.clock.now()) if lease is not None else None
        return Result(command="state", data={"released": released})

    def push_state(self, file: Path | str | None = None, *, dry_run: bool = False) -> Result:
        """Write a DuckDB file to `state_url`, in place of the state that is there.

        Args:
            file: The file; without it, this machine's copy of the state, or else the file of
                `[destination.duckdb] credentials`.
            dry_run: Only return what would be replaced.

        Raises:
            tailrace.errors.LockHeld: A run holds the lease.
            tailrace.errors.NothingLanded: There is no such file.
            tailrace.errors.NothingSelected: The project has no `state_url`.
        """
        from tailrace.state.push import push
        from tailrace.warehouse.opening import complete_duckdb_file

        self._require_state_url()
        source = None if file is None else Path(file).resolve()
        data = push(self._opened_state(), source, complete=complete_duckdb_file, dry_run=dry_run)
        return Result(command="state", data=data)

    def pull_state(self, file: Path | str) -> Result:
        """Write a copy of the state in `state_url` to a file, which may not exist.

        Raises:
            tailrace.errors.NothingLanded: The store has no state, or the file exists.
            tailrace.errors.NothingSelected: The project has no `state_url`.
        """
        from tailrace.state.session import open_to_read

        self._require_state_url()
        target = Path(file).resolve()
        if target.exists():
            raise NothingLanded(
                f"{target.name} exists", hint="Name a file that does not exist, or delete it."
            )
        with open_to_read(self._opened_state(), wait_seconds_max=0.0):
            if not self.config.duckdb_file.exists():
                raise NothingLanded(f"There is no state in {self.config.settings.state_url}")
            shutil.copyfile(self.config.duckdb_file, target)
        return Result(command="state", data={**self._described_state(), "file": str(target)})

    def _opened_state(self) -> Opened:
        from tailrace.state.session import Opened
        from tailrace.warehouse.opening import duckdb_engine

        return Opened(project=self.config, clock=self.clock, engine=duckdb_engine())

    def _require_state_url(self) -> None:
        if self.config.settings.state_url is None:
            raise NothingSelected(
                "The project has no state_url",
                hint="Set state_url under [tailrace] in .dlt/config.toml: docs/how-to/state.md",
            )
