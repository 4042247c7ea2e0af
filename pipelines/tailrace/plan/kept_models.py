"""Bound texts and columns of models that an earlier command has read, checked and described.

Parsing a model's text, checking it by DuckDB's parser and describing its rows gives the same result
as long as the text, the tables that it reads and the versions are the same. The results are kept in
`.tailrace/bound-models.json` (see `warehouse.parse_cache`), which can be deleted at any time.

Kept are the models of a large selection, on DuckDB, that read base tables of the extract's dataset
alone, and no clock. What a view, a declared source, a stored function or a stored type means may
change while these stay equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tailrace.audience.audience import Audience
from tailrace.models.loader import Model, Models
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.parse_cache import ParseCache
from tailrace.warehouse.statements import Column, QueryText

FILE = "bound-models.json"
FILE_BYTES_MAX = 8_000_000
# Listing what a file defines takes as long as describing several models: fewer are described.
MODELS_MIN = 10
# The folders whose code decides what a model is bound to, and whether it may run.
_FOLDERS = ("models", "plan", "warehouse")


class KeptModels:
    """The models of a project whose bound text and columns are kept.

    Args:
        warehouse: The open warehouse.
        models: All models.
        columns: Gives the columns of the tables of the extract's dataset, by name.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        models: Models,
        columns: Callable[[], Mapping[str, Sequence[Column]]],
    ) -> None:
        self._warehouse = warehouse
        self._models = models
        self._columns = columns
        self._cache: ParseCache | None = None

    def key(self, model: Model, audience: Audience, text: str) -> str | None:
        """The key of an audience's bound text and columns; None if they are not kept.

        Args:
            model: Its model.
            audience: The audience.
            text: The compiled text, with all models that it reads inlined.
        """
        if audience.log is not None or audience.suppress_when is not None:
            return None
        names = (model.name, *self._models.under(model.name))
        closure = [self._models.by_name[name] for name in names]
        if any(read.sources or read.dbt or read.syntax.clock != "none" for read in closure):
            return None
        layouts = []
        for table in self._models.objects_read(model.name):
            if table not in self._base_tables:
                return None
            columns = self._columns().get(table, ())
            layouts.append((table, [(column.name, column.type) for column in columns]))
        settings = self._warehouse.project.settings
        whole = repr((self._warehouse.engine_version, settings.dataset, layouts, text))
        return hashlib.sha256(whole.encode(errors="replace")).hexdigest()

    def get(self, key: str | None) -> tuple[QueryText, tuple[Column, ...]] | None:
        """What is kept under a key; DuckDB is confined as before any model runs."""
        kept = None if key is None else self._file.get(key)
        if kept is None:
            return None
        self._warehouse.confine_models()
        text, columns = kept
        return QueryText(text), tuple(Column(name, type_) for name, type_ in columns)

    def put(self, key: str | None, bound: object, columns: Sequence[Column]) -> None:
        """Keep the bound text of a model, which was checked, and its columns."""
        if key is not None and isinstance(bound, QueryText):
            described = [[column.name, column.type] for column in columns]
            self._file.put(key, [bound.sql, described])

    def save(self) -> None:
        """Write the file if there is something new."""
        if self._cache is not None:
            self._cache.save()

    @property
    def _file(self) -> ParseCache:
        if self._cache is None:
            folder = self._warehouse.project.root / ".tailrace"
            self._cache = ParseCache(
                folder / FILE, bytes_max=FILE_BYTES_MAX, code=sorted(_code_files())
            )
        return self._cache

    @cached_property
    def _base_tables(self) -> frozenset[str]:
        """The tables of the dataset that are no views; none if the file has stored definitions."""
        # A DuckLake has its functions and types elsewhere.
        if not self._warehouse.engine.plans_side_by_side:
            return frozenset()
        rows = self._warehouse.run(
            "warehouse/definitions", dataset=self._warehouse.project.settings.dataset
        )
        if any(kind != "table" for kind, _ in rows):
            return frozenset()
        return frozenset(str(name) for _, name in rows)


def _code_files() -> Iterator[Path]:
    package = Path(__file__).parents[1]
    for folder in _FOLDERS:
        yield from (package / folder).glob("*.py")
