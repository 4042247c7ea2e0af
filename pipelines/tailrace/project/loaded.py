"""A project that is loaded, and what its methods share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tailrace.clock import Clock, SystemClock
from tailrace.config.project import ProjectConfig, load_project
from tailrace.errors import NothingLanded, NothingSelected, TailraceError
from tailrace.lineage_events.switches import is_switched_on
from tailrace.results import Result

if TYPE_CHECKING:
    from tailrace.models.loader import Models
    from tailrace.run.observer import Observers, RunObserver
    from tailrace.run.result import RunResult


class LoadedProject:
    """The configuration and the clock of a project.

    An error about a setting leaves a public method, raised or in its result, with the file and the
    line that set it.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, method in list(vars(cls).items()):
            if callable(method) and not name.startswith("_"):
                setattr(cls, name, _located(method))

    def __init__(
        self,
        config: ProjectConfig,
        *,
        state: Path | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self._manifest = None if state is None else Path(state).absolute()
        selectors = {"state": self._by_state, "result": self._by_result}
        self.config = replace(config, selectors=selectors)

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        *,
        target: str | None = None,
        environ: Mapping[str, str] | None = None,
        state: Path | str | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """Read the project in a folder.

        Args:
            path: The project's folder. Without it, the working directory or the nearest folder
                above it that has a `.dlt/config.toml`.
            target: Use the settings of `.dlt/<target>.*.toml`.
            environ: The environment variables to read settings from (default: the process's).
            state: A manifest that `ls` has saved, for the selection `state:modified`.
            clock: The time source (default: the system's clock).

        Raises:
            tailrace.errors.ConfigurationError: The folder is not a project, or a setting is wrong.
        """
        return cls(load_project(path, target=target, environ=environ), state=state, clock=clock)

    def _by_state(self, models: Models, value: str) -> Collection[str]:
        from tailrace.models.manifest import select_by_state

        return select_by_state(models, value, self._manifest)

    def _by_result(self, models: Models, value: str) -> Collection[str]:
        from tailrace.reporting.selection import select_by_result

        audiences: Sequence[Mapping[str, Any]] = ()
        with suppress(NothingLanded):
            audiences = self._read("status")["audiences"]
        return select_by_result(audiences, value)

    def _models(self) -> Models:
        from tailrace.destinations.registry import project_models

        return project_models(self.config)

    def _objects(self, select: Sequence[str], exclude: Sequence[str]) -> tuple[str, ...]:
        configured = self.config.salesforce().objects
        if not (select or exclude) and configured:
            # Without a selection, the models are not needed.
            return configured
        from tailrace.models.objects import select_objects

        with self._former_audiences():
            return select_objects(self._models, configured, select, exclude)

    @contextmanager
    def _observers(self, command: str) -> Iterator[Observers]:
        """What a run calls at its beginning and its end, and what hears of its errors."""
        observers: list[RunObserver] = []
        with ExitStack() as stack:
            # Most projects have neither, and do not pay for importing them.
            if self.config.alerts().urls:
                from tailrace.alerts.observer import alerting

                observers += stack.enter_context(alerting(self.config, command, clock=self.clock))
            if is_switched_on(self.config.environ):
                from tailrace.lineage_events.observer import emitting

                observers += stack.enter_context(emitting(self.config, clock=self.clock))
            yield tuple(observers)

    def _read(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Read from the warehouse, or from the run that has its file open."""
        from tailrace.reporting.reads import read

        return read(self.config, name, clock=self.clock, **arguments)

    @contextmanager
    def _former_audiences(self) -> Iterator[None]:
        """Say so if a selected name is an audience of the ledger whose file was deleted."""
        try:
            yield
        except NothingSelected as error:
            from tailrace.reporting.selection import with_ledger_names

            if error.unknown is None:
                raise
            raise with_ledger_names(error, self._names_in_ledger()) from None

    def _names_in_ledger(self) -> frozenset[str]:
        with suppress(TailraceError):
            return frozenset(self._read("audience_names")["names"])
        return frozenset()

    def _described_state(self) -> dict[str, Any]:
        from tailrace.state.session import describe

        return describe(self.config, clock=self.clock)


def result_of(done: RunResult) -> Result:
    """The result of a run as the Python API returns it."""
    data = done.as_dict()
    del data["errors"]
    return Result(command=done.command, exit_code=done.exit_code, data=data, errors=done.errors)


def _located(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def located(self: LoadedProject, *args: Any, **kwargs: Any) -> Any:
        with self.config.locating():
            result = method(self, *args, **kwargs)
        for error in result.errors if isinstance(result, Result) else ():
            self.config.locate(error)
        return result

    return located
