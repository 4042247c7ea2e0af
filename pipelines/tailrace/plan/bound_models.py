"""The models of a project as queries over the tables of a warehouse."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from tailrace.audience.audience import Audience
from tailrace.errors import ModelDoesNotBind, NotAllowedInModel, UserError
from tailrace.ledger.audiences import Delivered
from tailrace.models.column_types import column_types
from tailrace.models.compile import bind, compiled_sql
from tailrace.models.loader import Model, Models
from tailrace.models.types import ColumnTypes
from tailrace.plan.event_window import events_since
from tailrace.plan.faults import located, runs
from tailrace.plan.kept_models import KeptModels
from tailrace.plan.plan import AudiencePlan
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, Column, query


class BoundModels:
    """Compiles models, and binds them to the tables of an open warehouse.

    Args:
        warehouse: The open warehouse.
        models: All models of the project.
        now: The time that models see as the clock.
    """

    def __init__(self, warehouse: Warehouse, models: Models, *, now: datetime) -> None:
        self._warehouse = warehouse
        self._models = models
        self._now = now

    def compiled(self, name: str, *, tables_built: Collection[str] = ()) -> str:
        """The text of a model with those under it, except `tables_built`, which exist as tables."""
        return compiled_sql(
            self._models,
            name,
            tables_built=tables_built,
            dialect=self._warehouse.dialect,
            columns=self._types,
        )

    def bind(self, text: str, audience: Audience) -> Binding:
        """The rows of a compiled text that are an audience's: those that consent lets in."""
        settings, dialect = self._warehouse.project.settings, self._warehouse.dialect
        bound: Binding = bind(
            text,
            dataset=settings.dataset,
            now=self._now,
            dialect=dialect,
            model_dataset=settings.model_dataset,
            file=audience.file,
            columns=self._types,
        )
        if audience.log is not None:
            bound = events_since(bound, audience.log, self._now, dialect=dialect)
        if audience.suppress_when is None:
            return bound
        return query(
            "plan/members_only",
            dialect,
            tables={"model": bound},
            column=Column(audience.suppress_when),
        )

    def described(
        self, model: Model, audience: Audience, text: str, *, kept: KeptModels | None
    ) -> tuple[Binding, tuple[Column, ...]]:
        """An audience's rows of today, and their columns.

        Args:
            model: The audience's model.
            audience: The audience.
            text: The compiled text.
            kept: What earlier commands have kept of models; None if nothing is to be kept.

        Raises:
            ModelDoesNotBind: The warehouse cannot bind it.
            NotAllowedInModel: It does more than compute rows from tables.
        """
        key = kept.key(model, audience, text) if kept is not None else None
        known = kept.get(key) if kept is not None else None
        if known is not None:
            return known
        bound = self.bind(text, audience)
        columns = self._describe(bound, model)
        if kept is not None:
            kept.put(key, bound, columns)
        return bound, columns

    def columns_of(self, model: Model) -> tuple[Column, ...]:
        """The columns that an audience's model gives today.

        Raises:
            ModelDoesNotBind: The warehouse cannot bind it.
        """
        assert model.audience is not None
        return self._describe(self.bind(self.compiled(model.name), model.audience), model)

    def rows(self, model: Model, audience: Audience) -> tuple[Binding, Binding]:
        """The audience's rows of today: all rows of its SELECT, and those that consent lets in."""
        text = self.compiled(model.name)
        regardless_of_consent = replace(audience, consent=None)
        return self.bind(text, regardless_of_consent), self.bind(text, audience)

    def rows_of(self, planned: AudiencePlan) -> Binding:
        """The rows that an audience's plan has read."""
        return self.bind(planned.definition, planned.audience)

    def earlier(self, delivered: Delivered) -> Binding | None:
        """The delivered definition, bound to today's data; None if it no longer runs."""
        mapping = Audience.from_mapping(delivered.mapping)
        try:
            earlier = self.bind(delivered.definition, mapping)
            columns = self._warehouse.describe(earlier)
        except UserError:
            return None
        return earlier if runs(self._warehouse, earlier, columns) else None

    def _describe(self, bound: Binding, model: Model) -> tuple[Column, ...]:
        try:
            return self._warehouse.describe(bound)
        except (ModelDoesNotBind, NotAllowedInModel) as error:
            raise located(self._warehouse, self._models, model, error, now=self._now) from None

    @cached_property
    def _types(self) -> ColumnTypes:
        return column_types(self._warehouse)
