"""The context of one extract: the requests to Salesforce, and the result of each object.

Nothing here imports dlt, so that an extract that finds nothing new does not pay for its import.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tailrace.config.settings import SalesforceSettings
from tailrace.errors import (
    ConfigurationError,
    ObjectNotVisible,
    OtherOrg,
    QuotaSpent,
    SeveralUnknown,
    TableNameTaken,
    TailraceError,
    UnknownField,
    UnknownObject,
    Unreachable,
    UserError,
    all_of,
)
from tailrace.salesforce.answers import readable_answers
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import SObject, describe_object, read_describe
from tailrace.salesforce.extract.extracted_object import ExtractedObject, record_state
from tailrace.salesforce.extract.extractor import ObjectExtractor
from tailrace.salesforce.extract.reconciliation import (
    Reconciliation,
    definitions,
    needs_definitions,
    read_reconciliation,
    record_reconciliation,
)

# Errors that end the extract: no further object could be read.
FATAL_ERRORS = (ConfigurationError, Unreachable)
ORG_ID, DRIFT, HAD_ROWS = "org_id", "drift", "had_rows"


class Answered(NamedTuple):
    """What Salesforce answered at the start of an extract.

    Attributes:
        names: The API names of the objects.
        unknown: The errors of names that Salesforce does not know.
        org_id: The id of the org, if it can be known.
    """

    names: list[str]
    unknown: dict[str, TailraceError]
    org_id: str | None


class ExtractContext:
    """One run: its settings, its session with Salesforce, and the result of each object.

    Attributes:
        before_replacing: Called before tables are loaded from the start.
        before_loading: Called before each load.
        reconcile: Objects of which all ids are compared.
        reread: Objects that are read as if they had no watermark.
        full_refresh: All tables are dropped and loaded again.
        engine: The engine of the warehouse; None in a pipeline of dlt, which knows it.
        had_rows: Tables that have had rows which were not deleted.
        is_idle: Nothing was written to the warehouse.
        ahead: Objects that were read before dlt was started, by their API names.
        extracted, errors: What became of each object, by its API name.
        refusals: Why Salesforce refused the log of deletions, by the object's API name.
    """

    def __init__(
        self,
        api: Api,
        settings: SalesforceSettings,
        *,
        folder: Path,
        continue_on_error: bool,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.api = api
        self.before_replacing: Callable[[Sequence[tuple[str, str]]], None] | None = None
        self.before_loading: Callable[[], None] | None = None
        self.settings = settings
        self.extractor = ObjectExtractor(
            api, settings, folder, leave_out=continue_on_error, progress=progress
        )
        self.continue_on_error = continue_on_error
        self.reconcile: frozenset[str] = frozenset()
        self.reread: frozenset[str] = frozenset()
        self.full_refresh = False
        self.engine: str | None = None
        self.had_rows: frozenset[str] = frozenset()
        self.is_idle = False
        self.described: dict[str, SObject] = {}
        self.ahead: dict[str, tuple[ExtractedObject, Reconciliation]] = {}
        self.extracted: dict[str, ExtractedObject] = {}
        self.errors: dict[str, TailraceError] = {}
        self.refusals: dict[str, str] = {}

    def describe(self, name: str) -> SObject:
        """The object as it lands; asked of Salesforce once.

        Raises:
            UnknownObject: There is no such object, or this user may not see it.
            UnknownField: The settings name a field that does not exist.
        """
        if name not in self.described:
            described = describe_object(self.api, name)
            self.described[name] = read_describe(
                described, self.settings.of(name), formula=self.settings.formula
            )
        return self.described[name]

    def fail(self, name: str, error: TailraceError) -> None:
        """Record the failure of an object; its message names the object."""
        if not re.search(rf"\b{re.escape(name)}\b", error.message):
            error.message = f"{name}: {error.message}"
        self.errors[name] = error

    def read_completely(
        self,
        name: str,
        state: Mapping[str, Any],
        stored: Mapping[str, Any] | None,
        normalize: Callable[[str], str],
    ) -> tuple[ExtractedObject, Reconciliation] | None:
        """Read an object as `read` does, and keep the result; None if it failed.

        Raises:
            TailraceError: No further object can be read, or the first error ends this run.
        """
        started = self.api.clock.monotonic()
        try:
            extracted, reconciliation = self.read(name, state, stored, normalize)
        except FATAL_ERRORS:
            raise
        except TailraceError as error:
            if not self.continue_on_error:
                raise
            self.fail(name, error)
            return None
        extracted.seconds = round(self.api.clock.monotonic() - started, 3)
        self.extracted[name] = extracted
        if reconciliation.refusal is not None:
            self.refusals[name] = reconciliation.refusal
        return extracted, reconciliation

    def read(
        self,
        name: str,
        state: Mapping[str, Any],
        stored: Mapping[str, Any] | None,
        normalize: Callable[[str], str],
    ) -> tuple[ExtractedObject, Reconciliation]:
        """Read an object's window, and what its window cannot show.

        Args:
            state: The object's part of dlt's state.
            stored: dlt's schema of the landed table, if there is one.
            normalize: From API names to those of tables and columns.

        Raises:
            TailraceError: It could not be read completely.
        """
        with readable_answers(name):
            sobject = self.describe(name)
            with ThreadPoolExecutor(1) as worker:
                asked = None
                if needs_definitions(self.api, sobject, state):
                    asked = worker.submit(definitions, self.api, sobject)
                extracted = self.extractor.extract(
                    sobject, self._state_to_read_by(name, state), stored, normalize=normalize
                )
                field_definitions = asked.result() if asked is not None else None
            if field_definitions is not None:
                extracted.layout = extracted.layout.defined(field_definitions)
            reconciliation = read_reconciliation(
                self.extractor, extracted, state, reconcile=name in self.reconcile
            )
        return extracted, reconciliation

    def record(
        self,
        state: MutableMapping[str, Any],
        extracted: ExtractedObject,
        reconciliation: Reconciliation,
    ) -> None:
        """Put into an object's state what the next extract needs to know."""
        record_state(state, extracted)
        self._record_drift(state, extracted)
        record_reconciliation(state, extracted, reconciliation, deleted=self.settings.deleted)

    def _state_to_read_by(self, name: str, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state of an object, without its watermark when all of it is to be read again."""
        if name not in self.reread:
            return state
        return {key: value for key, value in state.items() if key != "watermark"}

    def _record_drift(self, state: MutableMapping[str, Any], extracted: ExtractedObject) -> None:
        table = extracted.layout.table
        drift = {
            change.column: {"field": change.field, "was": change.was, "now": change.now}
            for change in extracted.layout.drift
            if change.changes_values
        }
        for key, value in ((DRIFT, drift), (HAD_ROWS, table in self.had_rows)):
            if value:
                state[key] = value
            elif key == DRIFT:
                state.pop(key, None)


def ask(context: ExtractContext, wanted: Sequence[str]) -> Answered:
    """Log in, and ask for the budget, the objects and the org's id."""
    with readable_answers("the org"):
        context.api.token()
        context.api.ask_limits()
        names, unknown = describe_all(context, wanted)
        return Answered(names, unknown, context.api.org_id())


def describe_all(
    context: ExtractContext, wanted: Sequence[str]
) -> tuple[list[str], dict[str, TailraceError]]:
    """Describe all objects before anything is read.

    Returns:
        The API names; and the errors of names that Salesforce does not know.
    """
    unknown: dict[str, TailraceError] = {}

    def described(name: str) -> str:
        try:
            with readable_answers(name):
                sobject = context.describe(name)
        except (UnknownObject, UnknownField, SeveralUnknown) as error:
            unknown[name] = error
            return name
        except (UserError, *FATAL_ERRORS, QuotaSpent):
            raise
        except TailraceError as error:
            # The service failed for this object; the others go on.
            context.fail(name, error)
            return name
        context.described[sobject.name] = sobject
        return sobject.name

    with ThreadPoolExecutor(context.settings.objects_in_flight_max) as pool:
        names = list(dict.fromkeys(pool.map(described, wanted)))
    return names, unknown


def hold_unknown(
    context: ExtractContext,
    names: Sequence[str],
    unknown: Mapping[str, TailraceError],
    states: Mapping[str, Mapping[str, Any] | None],
) -> None:
    """Record unknown names of objects that landed before as failures of these objects.

    Raises:
        UnknownObject, UnknownField, SeveralUnknown: A name never landed, so it is a mistake in the
            configuration; all such names are reported together.
    """
    mistakes = []
    for name in names:
        if name not in unknown:
            continue
        error = unknown[name]
        if not (states.get(name) or {}).get("fields"):
            mistakes.append(error)
        elif isinstance(error, UnknownObject):
            context.errors[name] = ObjectNotVisible(
                f"{name} landed before, and this user cannot see it any more",
                hint=f"Give the user read access to {name}, or take it out of objects under"
                " [sources.salesforce] and out of the models.",
            )
        else:
            context.errors[name] = ObjectNotVisible(error.message, hint=error.hint)
    if mistakes:
        raise all_of(mistakes)


def check_distinct_tables(names: Sequence[str], normalize: Callable[[str], str]) -> None:
    """Refuse objects whose names become the same table.

    Raises:
        TableNameTaken: Names both objects.
    """
    owners: dict[str, str] = {}
    for name in names:
        owner = owners.setdefault(normalize(name), name)
        if owner.lower() != name.lower():
            raise table_name_taken(owner, name, normalize(name))


def check_org(
    source_state: Mapping[str, Any], org_id: str | None, *, is_full_refresh: bool
) -> None:
    """Refuse to mix rows of two orgs: a refreshed sandbox keeps its address and gets a new id.

    Raises:
        OtherOrg: The landed rows come from another org than the one that is logged in to.
    """
    landed = source_state.get(ORG_ID)
    if is_full_refresh or not landed or org_id is None or str(landed)[:15] == org_id[:15]:
        return
    raise OtherOrg(
        f"The landed rows come from the Salesforce org {landed}, and this login is for the org"
        f" {org_id}: a refreshed sandbox, or another address",
        hint="To replace all landed rows by those of this org, run: tailrace extract"
        " --full-refresh. To keep them, set another dataset under [tailrace], or log in to the"
        " former org.",
    )


def check_table_name(state: Mapping[str, Any], name: str, table: str) -> None:
    """Refuse an object whose table belongs to another object.

    Raises:
        TableNameTaken: Both objects have the same name in the warehouse.
    """
    owner = str(state.get("object") or name)
    if owner.lower() != name.lower():
        raise table_name_taken(owner, name, table)


def table_name_taken(owner: str, name: str, table: str) -> TableNameTaken:
    """The error for two objects whose names become the same table."""
    return TableNameTaken(
        f"{owner} and {name} would both land in the table {table}",
        hint=f"Take one of them out of objects under [sources.salesforce]: {owner} or {name}."
        " To land both, extract one of them into another dataset.",
    )
