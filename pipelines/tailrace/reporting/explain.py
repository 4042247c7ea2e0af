"""Why a person is, or is not, a member of an audience, by today's data.

The ledger has what was delivered. This adds whether the model returns the person now, and what
keeps the person from being sent: consent, a duplicate key, a guard, or a rejection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.clock import Clock
from tailrace.destinations.registry import project_models
from tailrace.errors import ModelNotRun, NothingSelected, TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.models.loader import Model
from tailrace.plan.bound_models import BoundModels
from tailrace.plan.planner import syncs_of
from tailrace.warehouse.statements import Column, TableName

# Columns that every landed object of Salesforce has, and other tables do not.
OBJECT_COLUMNS = frozenset({"id", "is_deleted"})


class Today:
    """One person in the landed objects and the models of a project."""

    def __init__(self, ledger: Ledger, person: str, *, clock: Clock) -> None:
        self._ledger = ledger
        self._warehouse = ledger.warehouse
        self._person = person
        # A file with errors keeps its history; `validate` reports what is wrong with it.
        self.models = project_models(self._warehouse.project)
        self._bound_models = BoundModels(self._warehouse, self.models, now=clock.now())
        self.rows = list(self._landed())
        # Whether any model has returned the person.
        self.in_results = False
        # The audiences whose models were not run, so that they do not tell whether they have the
        # person.
        self.not_run: dict[str, TailraceError] = {}
        for broken in self.models.broken.values():
            name = broken.audience.name if broken.audience else broken.name
            if broken.audience or broken.model is None:
                self.not_run[name] = broken.errors[0]

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
        except ModelNotRun as error:
            self.not_run[sync.name] = error
            is_member = traced["membership"] == "member"
            what = "whether the next run sends an exit" if is_member else "why"
            return f"{what} is not known: {error.message}"
        except TailraceError as error:
            self.not_run[sync.name] = error
            return f"the model cannot be run: {_located(error)}"
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

    def why_without_model(self, audience: str) -> str:
        """Why an audience of the ledger has no model that can be run."""
        error = self.not_run.get(audience)
        if error is None:
            return "its model file was deleted"
        return f"the model cannot be run: {_located(error)}"

    def warnings(self) -> list[dict[str, Any]]:
        """A warning if models were not run because a run extracts objects."""
        waiting = [error for error in self.not_run.values() if isinstance(error, ModelNotRun)]
        if not waiting:
            return []
        return [
            {
                "message": f"Why the person is not a member is unknown: {waiting[0].message}",
                "hint": waiting[0].hint,
                "file": None,
                "line": None,
            }
        ]

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
        columns = self._bound_models.columns_of(model)
        wanted = set(sync.person_columns)
        names = [column for column in columns if column.name in wanted]
        whole, members = self._bound_models.rows(model, sync)
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


def unknown_person(traced: Mapping[str, Any]) -> TailraceError:
    """The error for a person of whom nothing is known.

    Args:
        traced: The result of `history.trace`. A warning in it becomes the error.
    """
    message = f"No landed object, no model and no audience has the person {traced['person']}"
    if traced["models_not_run"]:
        message += f"; not run: {', '.join(traced['models_not_run'])}"
    if traced["warnings"]:
        # A model that was not run may have the person.
        return ModelNotRun(message, hint=traced["warnings"].pop()["hint"])
    return NothingSelected(
        message,
        hint="Give a key, a userId or an anonymousId, e.g. an 18-character Salesforce id.",
    )


def _located(error: TailraceError) -> str:
    place = ":".join(str(part) for part in (error.file, error.line) if part)
    return f"{place}: {error.message}" if place else error.message


def held_by(status: Mapping[str, Any]) -> str:
    """The guards that hold an audience since its last run."""
    return ", ".join(str(guard["name"]) for guard in status.get("guards", ()) if guard["held"])
