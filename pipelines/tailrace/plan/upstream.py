"""Why the data that an audience reads cannot be trusted; the guard `upstream` holds it then."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tailrace.audience.audience import Audience
from tailrace.ledger.ledger import Ledger
from tailrace.models.lineage import fields_read
from tailrace.models.loader import Model, Models, landed_name
from tailrace.plan.recorded import Definitions, Recorded
from tailrace.plan.sources import SourceStates
from tailrace.warehouse.statements import TableName


class Upstream:
    """The Salesforce objects and declared sources that audiences read, as they are today."""

    def __init__(
        self,
        ledger: Ledger,
        models: Models,
        *,
        sources: SourceStates,
        recorded: Recorded,
        definitions: Definitions,
    ) -> None:
        self._ledger = ledger
        self._models = models
        self._sources = sources
        self._recorded = recorded
        self._definitions = definitions

    def reasons(self, model: Model, audience: Audience) -> tuple[str, ...]:
        """Why the data that the audience reads cannot be used today, one line each."""
        states = self._sources.read_by(model.name)
        is_partial = any(state.gone or state.retyped for state in states)
        read = self._fields_read(model, audience) if is_partial else {}
        ran = is_partial and self._ran_before(model, audience)
        return (
            *self.reasons_of_objects(model, audience),
            *(
                reason
                for state in states
                for reason in state.reasons(
                    named=self._sources.named_by(model.name, state.source) if state.gone else (),
                    read=read.get(state.source.key, ()),
                    ran=ran,
                )
            ),
        )

    def reasons_of_objects(self, model: Model, audience: Audience) -> tuple[str, ...]:
        """What is wrong with the Salesforce objects that the audience reads."""
        reasons = []
        for table in self._models.objects_read(model.name):
            extract = self._recorded.extracts.get(table)
            if extract is None:
                continue
            if not extract.complete:
                reasons.append(f"{extract.object} is incomplete ({extract.error or 'unknown'})")
            elif extract.empty:
                reasons.append(f"{extract.object} came back empty")
            read = self._fields_read(model, audience) if extract.vanished_fields else {}
            reasons += [
                f"{extract.object}.{field} is no longer visible or changed its type"
                for field in extract.vanished_fields
                if landed_name(field) in read.get(table, ())
            ]
        return tuple(reasons)

    def prevents_running(self, model: Model, audience: Audience) -> bool:
        """Whether the audience's SQL cannot run for want of a source or of a column of one."""
        states = self._sources.read_by(model.name)
        if not any(state.missing or state.gone for state in states):
            return False
        ran, named = self._ran_before(model, audience), self._sources.named_by
        return any(state.unbound(named(model.name, state.source), ran=ran) for state in states)

    def _ran_before(self, model: Model, audience: Audience) -> bool:
        """Whether the audience's SQL is the one that was delivered last."""
        delivered = self._recorded.delivered(audience.ledger_key)
        return delivered is not None and (
            delivered.definition_fingerprint == self._definitions.fingerprint(model.name, delivered)
        )

    def _fields_read(self, model: Model, audience: Audience) -> Mapping[str, Collection[str]]:
        """The columns of tables that decide the audience's members and values."""
        warehouse = self._ledger.warehouse
        dataset = warehouse.project.settings.dataset
        tables = self._models.objects_read(model.name)
        sources = self._models.sources_read(model.name)
        suppress = (audience.suppress_when,) if audience.suppress_when else ()
        return fields_read(
            self._models,
            model.name,
            columns=tuple(dict.fromkeys((*audience.key, *audience.mapped_columns, *suppress))),
            landed={
                table: [c.name for c in warehouse.columns_of(TableName(dataset, table))]
                for table in tables
            }
            | {source.key: [c.name for c in self._sources.columns(source)] for source in sources},
        )
