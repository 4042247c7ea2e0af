"""The results that `tailrace.Project` returns, typed; `as_dict()` is what `--json` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from tailrace.dataclass import dataclass
from tailrace.errors import TailraceError

if TYPE_CHECKING:
    from tailrace.models.loader import Model

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class GuardResult:
    """One guard of an audience: the value it compared and its limit, in members."""

    name: str
    seen: int
    limit: int
    held: bool
    allowed: bool = False
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class AudienceResult:
    """One audience at one destination; the counts are members."""

    audience: str
    destination: str
    status: str
    size_before: int | None
    size_after: int | None
    entered: int
    changed: int
    exited: int
    sent: int
    rejected: int
    held: int
    quarantined: int
    by_reason: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    guards: tuple[GuardResult, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AudienceResult:
        """Read an entry of `audiences` in a `--json` result."""
        counts = ("entered", "changed", "exited", "sent", "rejected", "held", "quarantined")
        known = GuardResult.__dataclass_fields__
        guards = (
            GuardResult(**{key: value for key, value in guard.items() if key in known})
            for guard in data.get("guards") or ()
        )
        return cls(
            audience=str(data["audience"]),
            destination=str(data.get("destination") or "segment"),
            status=str(data["status"]),
            size_before=data.get("size_before"),
            size_after=data.get("size_after"),
            **{name: int(data.get(name) or 0) for name in counts},
            by_reason=data.get("by_reason") or {},
            guards=tuple(guards),
            data=data,
        )


class AudienceResults(Mapping[str, AudienceResult]):
    """Audiences by name. An audience with several destinations has one entry for each, by
    `NAME@DESTINATION`.
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        results = [AudienceResult.from_dict(entry) for entry in entries]
        names = Counter(result.audience for result in results)
        self._results = {
            result.audience
            if names[result.audience] == 1
            else f"{result.audience}@{result.destination}": result
            for result in results
        }

    def __getitem__(self, name: str) -> AudienceResult:
        return self._results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        return f"AudienceResults({self._results!r})"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a call of `Project` returned.

    Attributes:
        command: The command of the same name: `run`, `plan`, `status` ...
        exit_code: The exit code of that command; 0 is a success, 3 held, 4 some rows rejected.
        data: The other keys of the `--json` object.
        errors: What went wrong in a run that had started. What is wrong before is raised instead.
    """

    command: str
    exit_code: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[TailraceError, ...] = ()

    @property
    def run_id(self) -> str | None:
        """The id of the run in the ledger; None for a command that starts no run."""
        return self.data.get("run_id")

    @property
    def audiences(self) -> AudienceResults:
        """The audiences of a plan, a run or a status."""
        return AudienceResults(
            [entry for entry in self.data.get("audiences", ()) if entry.get("status")]
        )

    @property
    def objects(self) -> tuple[Mapping[str, Any], ...]:
        """The extracted Salesforce objects, as in `--json`."""
        return tuple(self.data.get("objects", ()))

    @property
    def warnings(self) -> tuple[Mapping[str, Any], ...]:
        """Warnings, each with `message`, `hint`, `file` and `line`."""
        return tuple(self.data.get("warnings", ()))

    @property
    def pending(self) -> bool:
        """Whether a plan has changes to send."""
        moved = any(a.entered + a.changed + a.exited for a in self.audiences.values())
        return moved or bool(self.data.get("unfinished"))

    def raise_for_errors(self) -> Result:
        """Raise the first error of a run that failed; return the result if there is none."""
        if self.errors:
            raise self.errors[0]
        return self

    def as_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        errors = [entry.as_dict() for error in self.errors for entry in error.flattened()]
        return {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "exit_code": self.exit_code,
            **self.data,
            "errors": errors,
        }


def listed_model(model: Model) -> dict[str, Any]:
    """The entry of a model in the result of `ls`."""
    audience = model.audience
    return {
        "name": model.name,
        "kind": model.kind,
        "materialized": model.materialized,
        "path": str(model.path),
        "depends_on": sorted(model.depends_on),
        "reads": sorted(model.reads),
        "sources": sorted(model.sources),
        "dbt": model.dbt.unique_id if model.dbt else None,
        "columns": None if model.columns is None else list(model.columns),
        "key": list(audience.key) if audience else None,
        "tags": list(model.tags if model.dbt else audience.tags if audience else ()),
    }
