"""Why a person is, or is not, a member of an audience, by today's data.

The ledger has what was delivered. This adds whether the model returns the person now, and what
keeps the person from being sent: consent, a duplicate key, a guard, or a rejection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.clock import Clock
from tailrace.errors import TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.models.loader import Model, Models, read_models
from tailrace.plan.planner import Planner, syncs_of
from tailrace.plan.policy import PlanOptions
from tailrace.warehouse.statements import Column, TableName

# Columns that every landed object of Salesforce has, and other tables do not.
OBJECT_COLUMNS = frozenset({"id", "is_deleted"})


class Today:
    """One person in the landed objects and the models of a project."""

    def __init__(self, ledger: Ledger, person: str, *, clock: Clock) -> None:
        self._ledger = ledger
        self._warehouse = ledger.warehouse
        self._person = person
        self.models = self._read_models()
        self._planner = Planner(
            ledger, self.models, options=PlanOptions(), destinations=None, now=clock.now()
        )
        self.rows = list(self._landed())
        # Whether any model has returned the person.
        self.in_results = False

    def _read_models(self) -> Models:
        try:
            return read_models(self._warehouse.project.models_folder)
        except TailraceError:
            # The ledger has the history all the same; `validate` reports what is wrong.
            return Models(by_name={})

    def syncs(self) -> dict[str, tuple[Model, Audience]]:
        """The project's audiences by their ledger keys."""
        return {sync.ledger_key: (model, sync) for model, sync in syncs_of(self.models.audiences())}

    def _landed(self) -> Iterator[dict[str, Any]]:
        """The rows of Salesforce with the person's id."""
        dataset = self._warehouse.project.settings.dataset
        for name in sorted(self._warehouse.tables_in(dataset)):
            table = TableName(dataset, name)
            columns = {column.name for column in self._warehouse.columns_of(table)}
            if columns >= OBJECT_COLUMNS:
                for (deleted,) in self._warehouse.run(
                    "reporting/landed_status", tables={"landed": table}, person=self._person
                ):
                    yield {"table": name, "deleted": bool(deleted)}

    def why(self, model: Model, sync: Audience, traced: Mapping[str, Any], held: str) -> str:
        """Why the person is not (or soon not) a member, in a sentence; empty if they are.

        Args:
            model: The audience's model.
            sync: The audience on its way to one destination.
            traced: The ledger's entry of the person in this audience.
            held: The guards that held its last run, or an empty text.
        """
        try:
            rows, suppressed = self._rows_of(model, sync)
        except TailraceError as error:
            return f"the model cannot be run: {error.message}"
        member = traced["membership"] == "member"
        out = self._exclusion(sync, rows, suppressed)
        if out and rows and not suppressed:
            # A bad key is never read as an exit.
            return f"{out}{'; the membership stays as it is' if member else ''}"
        if out:
            return f"{out}{'; the next run sends the exit' if member and not held else ''}" + (
                f"; held by {held}" if member and held else ""
            )
        if member:
            return ""
        if held:
            return f"the audience is held by {held}"
        last = traced["events"][-1]["fate"] if traced["events"] else ""
        if last.startswith("refused"):
            return f"{last}; the next run sends it again"
        if self._warehouse.reads_beside_a_run and traced["events"]:
            return "the running run sends the entry, and records the membership when it ends"
        return "the next run sends the entry"

    def _exclusion(self, sync: Audience, rows: int, suppressed: bool) -> str:
        """Why today's data does not make the person a member; empty if it does."""
        if suppressed:
            return f"suppressed by consent: {sync.suppress_when} is true"
        if rows > 1 and len(sync.key) == 1:
            return f"the key is in {rows} rows, which are quarantined"
        if rows:
            return ""
        if not self.rows:
            return "not in the model's result, and no landed object has this id"
        if all(row["deleted"] for row in self.rows):
            return "not in the model's result, and deleted in Salesforce"
        return "not in the model's result"

    def _rows_of(self, model: Model, sync: Audience) -> tuple[int, bool]:
        """How many rows the SELECT returns, and whether consent suppresses all of them."""
        columns = self._planner.columns_of(model)
        wanted = {*sync.key, sync.user_id, sync.anonymous_id}
        names = [column for column in columns if column.name in wanted]
        whole, members = self._planner.bound(model, sync)
        rows = self._count(whole, names)
        self.in_results = self.in_results or rows > 0
        return rows, rows > 0 and not self._count(members, names)

    def _count(self, query: Any, names: Sequence[Column]) -> int:
        ((rows,),) = self._warehouse.run(
            "reporting/count_in_model",
            tables={"model": query},
            columns={"names": names},
            person=self._person,
        )
        return int(rows)


def held_by(status: Mapping[str, Any]) -> str:
    """The guards that hold an audience since its last run."""
    return ", ".join(str(guard["name"]) for guard in status.get("guards", ()) if guard["held"])
