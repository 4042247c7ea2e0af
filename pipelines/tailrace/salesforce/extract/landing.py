"""Where an extract lands: statements that need no dlt, and a dlt pipeline to load objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tailrace.errors import WarehouseFailed
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.engines import engine_of
from tailrace.warehouse.file_facts import FileFacts
from tailrace.warehouse.session import PIPELINE
from tailrace.warehouse.statements import Bound, Column, statement

if TYPE_CHECKING:
    import dlt


class Landing(Protocol):
    """A warehouse that objects land in.

    Attributes:
        dataset: The dataset of the landed tables.
        pipeline_name: dlt's name of the pipeline.
        engine: Its engine; None if the pipeline of dlt has to be asked.
        merges_files: Whether it can read the files of an extract itself.
        folder: Where the pages of an extract are kept until they are loaded.
        facts: What is known of the file of the warehouse.
    """

    facts: FileFacts
    engine: str | None

    @property
    def dataset(self) -> str: ...

    @property
    def pipeline_name(self) -> str: ...

    @property
    def merges_files(self) -> bool: ...

    @property
    def folder(self) -> Path: ...

    def run(
        self,
        name: str,
        /,
        *,
        tables: Mapping[str, Bound] | None = None,
        columns: Mapping[str, Sequence[Column]] | None = None,
        **values: Any,
    ) -> list[tuple[Any, ...]]:
        """Run a statement of `sql/` and return its rows."""

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction, in which `run` runs its statements."""

    def pipeline(self) -> AbstractContextManager[dlt.Pipeline]:
        """The dlt pipeline, which imports dlt."""


class WarehouseLanding:
    """The warehouse of a project."""

    def __init__(self, warehouse: Warehouse, facts: FileFacts | None = None) -> None:
        self.facts = facts or FileFacts.unused()
        self.dataset = warehouse.project.settings.dataset
        self.engine: str | None = warehouse.project.settings.warehouse
        self.pipeline_name = PIPELINE
        self.folder = warehouse.project.state_folder / "pages"
        self.merges_files = warehouse.engine.single_writer
        self.run = warehouse.run
        self.transaction = warehouse.transaction
        self.pipeline = warehouse.landing


class PipelineLanding:
    """The destination of a dlt pipeline, without a project."""

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self.facts = FileFacts.unused()
        self.dataset = str(pipeline.dataset_name)
        self.engine: str | None = None
        self.pipeline_name = pipeline.pipeline_name
        self.folder = Path(pipeline.pipelines_dir) / "pages"
        self._pipeline = pipeline
        self._open: Any = None
        self._kept_client: Any = None

    @contextmanager
    def session(self) -> Iterator[Any]:
        """One session for all statements of a block."""
        if self._open is not None:
            yield self._open
            return
        with self._client() as client:
            self._open = client
            try:
                yield client
            finally:
                self._open = None

    def _client(self) -> Any:
        """A client that can be opened again: dlt resolves the whole configuration for a new one."""
        if self._kept_client is None:
            self._kept_client = self._pipeline.sql_client()
        return self._kept_client

    @property
    def merges_files(self) -> bool:
        with self.session() as client:
            return engine_of(str(client.capabilities.sqlglot_dialect)).single_writer

    def run(
        self,
        name: str,
        /,
        *,
        tables: Mapping[str, Bound] | None = None,
        columns: Mapping[str, Sequence[Column]] | None = None,
        **values: Any,
    ) -> list[tuple[Any, ...]]:
        with self.session() as client:
            dialect = str(client.capabilities.sqlglot_dialect)
            sql = statement(name, dialect, tables=tables, columns=columns, **values)
            return [tuple(row) for row in client.execute_sql(sql) or ()]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        from dlt.common.destination.exceptions import DestinationException

        try:
            with self.session() as client, client.begin_transaction():
                yield
        except DestinationException as error:
            raise WarehouseFailed(f"a transaction: {type(error).__name__}") from error

    @contextmanager
    def pipeline(self) -> Iterator[dlt.Pipeline]:
        yield self._pipeline
