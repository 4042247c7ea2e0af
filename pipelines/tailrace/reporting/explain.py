"""Why a person is in an audience, or why not, by what the data says today.

The ledger tells what was delivered. Whoever asks after one person wants to know as well whether
the SELECT gives them now, and what stands between that and Segment.
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

# Columns that tell a landed object of Salesforce from another table.
OBJECT_COLUMNS = frozenset({"id", "is_deleted"})


class Today:
    """What the landed objects and the audiences of a project say of one person now."""

    def __init__(self, ledger: Ledger, person: str, *, clock: Clock) -> None:
        self._ledger = ledger
        self._warehouse = ledger.warehouse
        self._person = person
        self.models = self._read_models()
        self._planner = Planner(
            ledger, self.models, options=PlanOptions(), segment=None, now=clock.now()
        )
        self.rows = list(self._landed())

    def _read_models(self) -> Models:
        try:
            return read_models(self._warehouse.project.models_folder)
        except TailraceError:
            # The ledger still knows what was; `validate` says what is wrong.
            return Models(by_name={})

    def lanes(self) -> dict[str, tuple[Model, Audience]]:
        """The project's audiences by what the ledger calls them."""
        return {lane.ledger_key: (model, lane) for model, lane in syncs_of(self.models.audiences())}

    def _landed(self) -> Iterator[dict[str, Any]]:
        """The rows of Salesforce with the person's id."""
        dataset = self._warehouse.project.settings.dataset
        for name in sorted(self._warehouse.tables_in(dataset)):
            table = TableName(dataset, name)
            columns = {column.name for column in self._warehouse.columns_of(table)}
            if columns >= OBJECT_COLUMNS:
                for (deleted,) in self._warehouse.run(
                    "reporting/landed", tables={"landed": table}, person=self._person
                ):
                    yield {"table": name, "deleted": bool(deleted)}

    def why(self, model: Model, lane: Audience, traced: Mapping[str, Any], held: str) -> str:
        """One sentence for somebody who is not a member, or will not be one; else nothing.

        Args:
            model: The audience's model.
            lane: The audience on its way to one destination.
            traced: What the ledger says of the person.
            held: The guards that held its last run, or nothing.
        """
        try:
            given, suppressed = self._given(model, lane)
        except TailraceError as error:
            return f"its SELECT cannot be run today: {error.message}"
        member = traced["membership"] == "member"
        out = self._out(lane, given, suppressed)
        if out and given and not suppressed:
            # A bad key is never read as an exit.
            return f"{out}{', and they stay as they are' if member else ''}"
        if out:
            return f"{out}{'; the next run sends the exit' if member and not held else ''}" + (
                f"; held by {held}" if member and held else ""
            )
        if member:
            return ""
        if held:
            return f"held by {held}, and nothing of the audience is sent"
        last = traced["events"][-1]["fate"] if traced["events"] else ""
        if last.startswith("refused"):
            return f"{last}; the next run tries again"
        return "the next run sends the entry"

    def _out(self, lane: Audience, given: int, suppressed: bool) -> str:
        if suppressed:
            return f"consent keeps them out: {lane.suppress_when} is true"
        if given > 1 and len(lane.key) == 1:
            return f"their key stands in {given} rows, which are quarantined"
        if given:
            return ""
        if not self.rows:
            return "its SELECT does not give them today, and no landed object has this id"
        if all(row["deleted"] for row in self.rows):
            return "its SELECT does not give them today, and Salesforce has deleted them"
        return "its SELECT does not give them today"

    def _given(self, model: Model, lane: Audience) -> tuple[int, bool]:
        """How many rows the SELECT gives, and whether consent takes all of them out."""
        columns = self._planner.columns_of(model)
        wanted = {*lane.key, lane.user_id, lane.anonymous_id}
        names = [column for column in columns if column.name in wanted]
        whole, members = self._planner.bound(model, lane)
        given = self._count(whole, names)
        return given, given > 0 and not self._count(members, names)

    def _count(self, query: Any, names: Sequence[Column]) -> int:
        ((rows,),) = self._warehouse.run(
            "reporting/given",
            tables={"model": query},
            columns={"names": names},
            person=self._person,
        )
        return int(rows)


def held_by(standing: Mapping[str, Any]) -> str:
    """The guards that hold an audience since its last run."""
    return ", ".join(str(each["name"]) for each in standing.get("guards", ()) if each["held"])
