"""Settings of an org for writes, faults of rows, and the options of a write request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RowFault:
    """Rows that fail with an error code although they break no rule of describe.

    Args:
        code: the status code, such as UNABLE_TO_LOCK_ROW.
        message: its message.
        fields: the fields that the error names.
        sobject: only rows of this object.
        operation: only "create", "update" or "delete".
        when: predicate over the values that the request sets; in-process only.
        values: only rows that set these values.
        times: how often the fault applies; None = always, as a validation rule does.
    """

    code: str
    message: str = "simulated"
    fields: tuple[str, ...] = ()
    sobject: str | None = None
    operation: str | None = None
    when: Callable[[Mapping[str, Any]], bool] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    times: int | None = 1

    def matches(self, sobject: str, operation: str, values: Mapping[str, Any]) -> bool:
        """Whether the fault applies to a row."""
        if self.sobject not in (None, sobject) or self.operation not in (None, operation):
            return False
        if any(values.get(name) != value for name, value in self.values.items()):
            return False
        return self.when is None or self.when(values)


@dataclass(kw_only=True)
class WriteSettings:
    """Rules of the org that describe does not show; they may change while it runs.

    Args:
        assignment_owner: the user or queue that active assignment rules of Lead, Case and Account
            set as owner; None = no active rules.
        duplicate_rules: object -> fields that a duplicate rule compares.
        duplicate_rules_block: True = the rules block even with `allowSave=true`.
        trigger_rows_max: object -> rows in a chunk of 200 that its triggers can process.
        lock_parents: Bulk batches that share a parent lock each other out, unless its rows are
            next to each other.
        ingest_bytes_max: bytes of an upload.
        ingest_batch_rows: rows in an internal batch of a Bulk job.
        ingest_batches_max: batches in 24 hours.
        empty_results: "header" or "no_content" for result files without rows.
    """

    assignment_owner: str | None = None
    duplicate_rules: dict[str, tuple[str, ...]] = field(default_factory=dict)
    duplicate_rules_block: bool = False
    trigger_rows_max: dict[str, int] = field(default_factory=dict)
    lock_parents: bool = False
    ingest_bytes_max: int = 100_000_000
    ingest_batch_rows: int = 10_000
    ingest_batches_max: int = 15_000
    empty_results: str = "header"


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """Options of one request, from its headers or its job."""

    api: str = "rest"
    client: str | None = None
    assign: bool = False
    allow_duplicates: bool = False

    @classmethod
    def of_headers(cls, headers: Mapping[str, str]) -> WriteOptions:
        """`Sforce-Auto-Assign` is on unless it is FALSE; duplicates block unless allowed."""
        duplicates = _options(headers.get("sforce-duplicate-rule-header", ""))
        return cls(
            client=_options(headers.get("sforce-call-options", "")).get("client"),
            assign=headers.get("sforce-auto-assign", "TRUE").strip().upper() != "FALSE",
            allow_duplicates=duplicates.get("allowsave", "").lower() == "true",
        )


def _options(header: str) -> dict[str, str]:
    """`a=b; c=d` as a dictionary with keys in lower case."""
    pairs = (part.partition("=") for part in header.replace(",", ";").split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}
