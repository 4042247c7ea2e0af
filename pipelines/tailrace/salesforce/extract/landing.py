"""Where an extract lands: statements that need no dlt, and a dlt pipeline to load objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.session import PIPELINE
from tailrace.warehouse.statements import Binding, statement

if TYPE_CHECKING:
    import dlt


class Landing(Protocol):
    """A warehouse that objects land in.

    Attributes:
        dataset: The dataset of the landed tables.
        pipeline_name: dlt's name of the pipeline.
        folder: Where the pages of an extract are kept until they are loaded.
    """

    @property
    def dataset(self) -> str: ...

    @property
    def pipeline_name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def run(
        self, name: str, /, *, tables: Mapping[str, Binding] | None = None, **values: Any
    ) -> list[tuple[Any, ...]]:
        """Run a statement of `sql/` and return its rows."""

    def pipeline(self) -> AbstractContextManager[dlt.Pipeline]:
        """The dlt pipeline, which imports dlt."""


class WarehouseLanding:
    """The warehouse of a project."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.dataset = warehouse.project.settings.dataset
        self.pipeline_name = PIPELINE
        self.folder = warehouse.project.state_folder / "pages"
        self.run = warehouse.run
        self.pipeline = warehouse.landing


class PipelineLanding:
    """The destination of a dlt pipeline, without a project."""

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self.dataset = str(pipeline.dataset_name)
        self.pipeline_name = pipeline.pipeline_name
        self.folder = Path(pipeline.pipelines_dir) / "pages"
        self._pipeline = pipeline

    def run(
        self, name: str, /, *, tables: Mapping[str, Binding] | None = None, **values: Any
    ) -> list[tuple[Any, ...]]:
        with self._pipeline.sql_client() as client:
            dialect = str(client.capabilities.sqlglot_dialect)
            rows = client.execute_sql(statement(name, dialect, tables=tables, **values))
            return [tuple(row) for row in rows or ()]

    @contextmanager
    def pipeline(self) -> Iterator[dlt.Pipeline]:
        yield self._pipeline
