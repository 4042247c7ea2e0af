"""Everything that Tailrace raises on purpose.

* TailraceError                     exit 1
  x UserError                      exit 2: nothing was started
    + ConfigurationError
      - UnknownConfigKey
      - InvalidConfigValue
      - MissingCredential
      - CredentialRefused
      - InsecureHost
      - PrivateAddress
      - OtherOrg
      - ModelRoleRefused
      - TableNameTaken
      - PartitionsChanged
      - NotAProject
      - TrackingPlanInvalid
      - StateUnknown
    + ModelError
      - SqlDoesNotParse
      - HeaderInvalid
        . UnknownHeaderKey
      - ModelTestInvalid
      - DbtManifestInvalid
      - DbtModelUnusable
      - UnknownColumn
      - UnknownModel
      - ModelCycle
      - ModelDoesNotBind
      - NonDeterministicModel
      - NotAllowedInModel
      - ModelFailed                 exit 1
      - KeyTypeChanged
      - SeveralModelErrors
    + NothingSelected
    + UnknownObject
    + UnknownField
    + SeveralUnknown
    + UnsupportedValue
    + LedgerTooNew
    + StateTooNew
    + ReceiverChanged
    + NothingLanded
    + PlanUnreadable
    + ReportNotWritten
    + RunResultsNotWritten
    + PortTaken
  x DbtExposuresOutdated            exit 1
  x TryAgain                        exit 1: the same command may work later
    + Unreachable
    + ServiceFailed
      - SalesforceFault
      - AnswerUnreadable
      - AnswerBeyondLimit
      - NoAnswer
    + QuotaSpent
    + ExtractIncomplete
      - ObjectNotVisible
      - FieldTypeChanged
    + DeliveryIncomplete
      - DestinationFailed
      - ResendRefused
      - EventsMissing
      - ReceiverGone
    + WarehouseFailed
      - WarehouseUnavailable
      - StatementRefused
      - MemoryShort
    + StateStoreFailed
      - StateDamaged
      - StateNotSaved
    + PlanChanged
    + ModelNotRun
    + ReadStopped
  x LockHeld                        exit 75
    + LeaseLost
  x InternalError                          exit 1: a promise of ours does not hold
    + LedgerGap
    + StatementInvalid

The docstring of a class is its message unless one is given; `hint` says what to type next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

# The name of a process of `run --watch` begins with it, in the lock and in messages.
WATCH_PREFIX = "watch-"


class TailraceError(Exception):
    """Tailrace could not go on."""

    exit_code = 1
    hint: str = ""

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint if hint is not None else type(self).hint
        self.file = str(file) if file is not None else None
        self.line = line
        # The line of the file, and below it a mark under the characters at fault.
        self.excerpt: str | None = None
        # What the warehouse said word for word; it may hold personal values.
        self.detail: str | None = None
        super().__init__(self.message)

    def as_dict(self) -> dict[str, object]:
        """One entry of `errors` in a `--json` result."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "file": self.file,
            "line": self.line,
            **({"excerpt": self.excerpt} if self.excerpt else {}),
        }

    def flattened(self) -> Sequence[TailraceError]:
        """The errors this one stands for: itself, unless it gathers several."""
        return (self,)


class UserError(TailraceError):
    """Something in the project or on the command line needs a change."""

    exit_code = 2


class ConfigurationError(UserError):
    """The configuration cannot be used as it is."""

    hint = "Look at .dlt/config.toml and .dlt/secrets.toml, then run: tailrace doctor"
    # The key at fault with its section, such as `tailrace.warehouse`.
    key: str | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, file=file, line=line)
        self.key = key


class UnknownConfigKey(ConfigurationError):
    """A key in the configuration is not one that Tailrace reads."""


class InvalidConfigValue(ConfigurationError):
    """A value in the configuration has the wrong type or range."""


class MissingCredential(ConfigurationError):
    """A credential is not configured."""


class CredentialRefused(ConfigurationError):
    """The service refused the credential."""


class InsecureHost(ConfigurationError):
    """Plain http:// is accepted for loopback hosts only."""

    hint = "Use https:// in the configured host."


class PrivateAddress(ConfigurationError):
    """A host has an address inside a network, and the setting does not allow it."""


class OtherOrg(ConfigurationError):
    """The landed rows come from another Salesforce org."""


class ModelRoleRefused(ConfigurationError):
    """The role of `model_role` does not exist, or the connection may not take it."""


class TableNameTaken(ConfigurationError):
    """Two Salesforce objects would land in the same table."""


class PartitionsChanged(ConfigurationError):
    """A table that has landed has other partitions than the configuration says."""


class NotAProject(ConfigurationError):
    """There is no Tailrace project here."""

    hint = "Start one with: tailrace init my_project"


class TrackingPlanInvalid(ConfigurationError):
    """The tracking plan cannot be used."""

    hint = "Correct tracking_plan.yaml, or draft another with: tailrace tracking-plan"


class StateUnknown(ConfigurationError):
    """The store of `state_url` and the DuckDB file here do not belong together."""


class ModelError(UserError):
    """A model cannot be used as it is."""

    hint = "Correct the file, then run: tailrace validate"


class SqlDoesNotParse(ModelError):
    """The SQL does not parse."""


class HeaderInvalid(ModelError):
    """The audience header is not valid."""


class UnknownHeaderKey(HeaderInvalid):
    """The audience header has a key that does not exist."""


class ModelTestInvalid(ModelError):
    """A file of tests of a model is not valid."""

    hint = "Correct the file, then run: tailrace test"


class DbtManifestInvalid(ModelError):
    """The manifest of dbt cannot be read."""


class DbtModelUnusable(ModelError):
    """dbt has no such model, or builds it where this project cannot read it."""


class UnknownColumn(ModelError):
    """The header names a column that the SELECT does not have."""


class UnknownModel(ModelError):
    """A model reads from a table that is neither a model nor a landed object."""


class ModelCycle(ModelError):
    """Models read from each other in a circle."""


class ModelDoesNotBind(ModelError):
    """The warehouse cannot run the model on the tables it has.

    `construct` is the text in the model that is not translated to the warehouse's dialect.
    """

    construct: str = ""


class NonDeterministicModel(ModelError):
    """The model gives other rows each time it runs."""


class NotAllowedInModel(ModelError):
    """The model does more than compute rows from tables."""

    hint = (
        "A model reads tables and computes from their columns; it cannot read files, settings or "
        "the catalog, run SQL texts, or raise errors of its own."
    )


class ModelFailed(ModelError):
    """The warehouse failed on the model's SQL while running it."""

    exit_code = 1


class KeyTypeChanged(ModelError):
    """The audience's key has another type than the members in the ledger."""


class SeveralModelErrors(ModelError):
    """Several models need a change."""

    def __init__(self, errors: Sequence[TailraceError]) -> None:
        super().__init__(f"{len(errors)} errors in the models")
        self.errors = tuple(errors)

    def flattened(self) -> Sequence[TailraceError]:
        return self.errors


class NothingSelected(UserError):
    """The selection matches no model.

    Attributes:
        unknown: The name or pattern that matches nothing; None if it is not about one.
        known: The names that it could have been.
    """

    hint = "See what there is with: tailrace ls"

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
        unknown: str | None = None,
        known: Iterable[str] = (),
    ) -> None:
        super().__init__(message, hint=hint, file=file, line=line)
        self.unknown = unknown
        self.known = tuple(known)


class UnknownObject(UserError):
    """Salesforce has no such object, or this user may not see it."""


class UnknownField(UserError):
    """Salesforce has no such field on the object, or this user may not see it."""

    # The key that names the field, if only one may.
    key: str | None = None


class SeveralUnknown(UserError):
    """Several names are not known to Salesforce."""

    def __init__(self, errors: Sequence[TailraceError]) -> None:
        self.errors = tuple(one for error in errors for one in error.flattened())
        super().__init__(
            " ".join(error.message for error in self.errors),
            hint=" ".join(dict.fromkeys(error.hint for error in self.errors)),
        )

    def flattened(self) -> Sequence[TailraceError]:
        return self.errors


def all_of(errors: Sequence[TailraceError]) -> TailraceError:
    """One error that stands for all of them: itself, when there is only one."""
    return errors[0] if len(errors) == 1 else SeveralUnknown(errors)


class UnsupportedValue(UserError):
    """A column holds a value that a payload cannot carry."""

    hint = "Cast the column in the SELECT, for example to VARCHAR."

    def __init__(
        self, message: str | None = None, *, path: str = "", rule: str = "value_not_supported"
    ) -> None:
        super().__init__(message)
        self.path = path
        self.rule = rule

    def at(self, step: str, *, rule: str | None = None) -> UnsupportedValue:
        """The same error, one place further out."""
        path = f"{step}.{self.path}".strip(".")
        return UnsupportedValue(self.message, path=path, rule=rule or self.rule)


class LedgerTooNew(UserError):
    """The ledger was written by a newer Tailrace."""


class StateTooNew(UserError):
    """The state was written by a newer Tailrace or DuckDB."""


class ReceiverChanged(UserError):
    """The ledger was delivered to another receiver."""


class NothingLanded(UserError):
    """No Salesforce object has landed in the warehouse yet."""

    hint = "Land them first with: tailrace extract"


class PlanUnreadable(UserError):
    """The file is not a plan that Tailrace wrote."""

    hint = "Write one with: tailrace plan --out plan.json"


class ReportNotWritten(UserError):
    """The file of a report cannot be written."""

    hint = "Choose a file in a folder that exists, with: --out FILE"


class RunResultsNotWritten(UserError):
    """The file of `--run-results` cannot be written."""

    hint = "Choose a file in a folder that can be written, with: --run-results FILE"


class PortTaken(UserError):
    """A port of this machine cannot be used."""

    hint = "Choose another one with: --port PORT, or leave it out for a free one"


class DbtExposuresOutdated(TailraceError):
    """The file of exposures is not what the audiences say."""


class TryAgain(TailraceError):
    """Something outside failed; the same command may work later."""

    hint = "Nothing is lost. Run the same command again."


class Unreachable(TryAgain):
    """A service cannot be reached."""


class ServiceFailed(TryAgain):
    """A service answered with an error."""


class SalesforceFault(ServiceFailed):
    """Salesforce answered with an error code.

    Attributes:
        code: Salesforce's own, as `MALFORMED_QUERY`.
        status: The HTTP status; 0 when the code is not that of an HTTP answer.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str,
        hint: str | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status


class AnswerUnreadable(ServiceFailed):
    """A service answered with something other than its documentation says."""


class AnswerBeyondLimit(ServiceFailed):
    """An answer is larger, or takes longer, than allowed."""

    hint = "Raise answer_bytes_max or answer_seconds_max if the answer is right."


class NoAnswer(ServiceFailed):
    """A connection broke before the answer was complete."""


class QuotaSpent(TryAgain):
    """The API quota that this run may use is spent."""


class ExtractIncomplete(TryAgain):
    """Not every object could be extracted whole."""


class ObjectNotVisible(ExtractIncomplete):
    """An object that landed before is not visible any more."""


class FieldTypeChanged(ExtractIncomplete):
    """A field's type in Salesforce no longer fits the column that it landed in."""


class DeliveryIncomplete(TryAgain):
    """Not every planned call was acknowledged; the rest stays in the outbox."""


class DestinationFailed(DeliveryIncomplete):
    """One of several destinations failed; the others have theirs."""


class ReceiverGone(DeliveryIncomplete):
    """The receiver says that it is gone for good; nothing is sent until it is resumed."""


class ResendRefused(DeliveryIncomplete):
    """What a run left behind is older than what the receiver remembers: it could arrive twice."""


class EventsMissing(DeliveryIncomplete):
    """The receiver says that it received less than it acknowledged."""


class WarehouseFailed(TryAgain):
    """The warehouse could not carry out a statement."""


class WarehouseUnavailable(WarehouseFailed):
    """The server of the warehouse accepts no connection now; it may later."""

    hint = "Start the server, or check host and port, then run: tailrace doctor"


class StatementRefused(WarehouseFailed):
    """The warehouse is there, and refuses a statement or a value in it."""

    # Whether the statement runs a query, such as a model's, and not only Tailrace's own text.
    runs_query = False


class MemoryShort(WarehouseFailed):
    """The warehouse has too little memory for a statement."""

    hint = "Let it use more of the machine's: memory_share_max under [tailrace] in .dlt/config.toml"


class StateStoreFailed(TryAgain):
    """The store of `state_url` failed."""


class StateDamaged(StateStoreFailed):
    """A part of the state is missing or differs from its checksum."""

    hint = (
        "Restore the store from its own backup or object versions, or write a copy of the DuckDB "
        "file to it: tailrace state push FILE"
    )


class StateNotSaved(StateStoreFailed):
    """The state could not be stored."""


class PlanChanged(TryAgain):
    """The data, the SQL or the ledger moved since the plan was reviewed."""

    hint = "Nothing of it was sent. Review again: tailrace plan --out plan.json"


class ModelNotRun(TryAgain):
    """No model is run now."""


class ReadStopped(TryAgain):
    """A run that has the warehouse open could not answer a question about it."""

    hint = "Run the same command again when the run has ended."


class LockHeld(TailraceError):
    """Another run holds the lock."""

    exit_code = 75
    hint = "Wait for the other run to end, then run the same command again."


def hint_about(run_id: str) -> str:
    """What to do about the process that holds a lock, by the name of its run.

    >>> hint_about("run-4f2a") == LockHeld.hint
    True
    """
    if not run_id.startswith(WATCH_PREFIX):
        return LockHeld.hint
    return (
        f"{run_id} is a process of run --watch, which keeps the lock. See what it does with: "
        "tailrace status. To run another command, end it with SIGTERM: it stops after a batch."
    )


class LeaseLost(LockHeld):
    """Another run took the lease of the state."""


class InternalError(TailraceError):
    """A promise of Tailrace's own does not hold."""

    hint = "Please report this with the output of: tailrace doctor --json"


class LedgerGap(InternalError):
    """The run's numbers do not add up: planned is not acknowledged + rejected + held."""


class StatementInvalid(InternalError):
    """A statement of the engine cannot be bound."""
