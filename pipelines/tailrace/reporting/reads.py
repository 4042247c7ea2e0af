"""Questions about the ledger, asked of the DuckDB file or of the run that has it open.

`READS` are the functions that `tailrace.Project` reads with. A run gets them to answer the same
questions while it has the file open, and `read` chooses between both ways.
"""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tailrace import errors
from tailrace.clock import Clock, format_utc
from tailrace.config.project import ProjectConfig
from tailrace.errors import LockHeld, ReadStopped, TailraceError
from tailrace.reporting import history, rejections
from tailrace.reporting.ledger_facts import ledger_facts
from tailrace.reporting.status import status
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.endpoint_file import LOOPBACK, EndpointAddress, find_endpoint

log = logging.getLogger(__name__)

Source = ProjectConfig | Warehouse

# A run that begins or ends has the file open for a moment without answering.
WAIT_SECONDS_MAX = 2.0
PAUSE_SECONDS = 0.1
ANSWER_SECONDS_MAX = 30.0
ANSWER_BYTES_MAX = 64_000_000


def _one_run(source: Source, *, clock: Clock, run_id: str) -> dict[str, Any]:
    return history.one_run(source, run_id, clock=clock)


def _trace(
    source: Source, *, clock: Clock, person: str, show_values: bool = False
) -> dict[str, Any]:
    return history.trace(source, person, clock=clock, show_values=show_values)


def _sizes(source: Source, *, clock: Clock, audience: str) -> dict[str, Any]:
    return history.sizes(source, audience, clock=clock)


def _members_at(source: Source, *, clock: Clock, audience: str, at: str) -> dict[str, Any]:
    moment = datetime.fromisoformat(at)
    keys = history.members_at(source, audience, moment, clock=clock)
    return {
        "audience": audience,
        "at": format_utc(moment),
        "members": [list(key) for key in keys],
    }


def _rejected(
    source: Source,
    *,
    clock: Clock,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    show_values: bool = False,
    rows_max: int | None = None,
) -> dict[str, Any]:
    return rejections.rejected(
        source,
        clock=clock,
        select=select,
        exclude=exclude,
        show_values=show_values,
        rows_max=rows_max,
    )


def _recorded(source: Source, *, clock: Clock, audience: str) -> dict[str, Any]:
    return {"audiences": history.recorded(source, audience, clock=clock)}


def _audience_names(source: Source, *, clock: Clock) -> dict[str, Any]:
    return {"names": sorted(history.audience_names(source, clock=clock))}


# Each function takes a project or its open warehouse, the clock, and arguments that JSON can hold.
READS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "status": status,
    "one_run": _one_run,
    "trace": _trace,
    "sizes": _sizes,
    "members_at": _members_at,
    "rejected": _rejected,
    "recorded": _recorded,
    "audience_names": _audience_names,
    "ledger_facts": ledger_facts,
}


def read(project: ProjectConfig, name: str, *, clock: Clock, **arguments: Any) -> dict[str, Any]:
    """The result of a function of `READS`.

    Where a run of this project has the DuckDB file open, that run answers from what it has
    committed, and the result has its id as `read_from_run`.

    Raises:
        LockHeld: Another process has the file open and does not answer.
        ReadStopped: The answer was too large or took too long for a run to give.
        TailraceError: As of the function.
    """
    deadline = clock.monotonic() + WAIT_SECONDS_MAX
    while True:
        address = find_endpoint(project) if project.settings.warehouse == "duckdb" else None
        if address is not None:
            answer = _ask(project, address, name, arguments)
            if answer is not None:
                run_id = answer["read_from_run"]
                log.info("read from the running run %s: what it has committed so far", run_id)
                return answer
        try:
            return READS[name](project, clock=clock, **arguments)
        except LockHeld:
            if clock.monotonic() >= deadline:
                raise
            clock.sleep(PAUSE_SECONDS)


def _ask(
    project: ProjectConfig, address: EndpointAddress, name: str, arguments: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A run's answer; None if nothing answers there, or something that is not a run."""
    settings = project.settings
    request = {
        "read": name,
        "arguments": dict(arguments),
        "target": project.target,
        "datasets": {
            "dataset": settings.dataset,
            "ledger_dataset": settings.ledger_dataset,
            "model_dataset": settings.model_dataset,
        },
    }
    answer = _post(address, json.dumps(request).encode())
    if answer is None or "run_id" not in answer:
        return None
    if isinstance(answer.get("error"), dict):
        raise _error_of(answer["error"])
    if not isinstance(answer.get("data"), dict):
        return None
    return {**answer["data"], "read_from_run": str(answer["run_id"])}


def _post(address: EndpointAddress, body: bytes) -> dict[str, Any] | None:
    # The proxy settings of the environment do not apply to this connection.
    connection = http.client.HTTPConnection(LOOPBACK, address.port, timeout=ANSWER_SECONDS_MAX)
    headers = {
        "Authorization": f"Bearer {address.token}",
        "Content-Type": "application/json",
    }
    try:
        connection.request("POST", "/read", body=body, headers=headers)
        response = connection.getresponse()
        content = response.read(ANSWER_BYTES_MAX + 1)
        answer = json.loads(content) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        log.debug("The run's read endpoint did not answer: %s", type(error).__name__)
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


def _error_of(entry: Mapping[str, Any]) -> TailraceError:
    """The error that a run raised in answering, as this process would have raised it."""
    kind = getattr(errors, str(entry.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, TailraceError)):
        kind = ReadStopped
    error = kind.__new__(kind)
    TailraceError.__init__(
        error,
        str(entry.get("message")),
        hint=str(entry.get("hint") or ""),
        file=entry.get("file"),
        line=entry.get("line"),
    )
    return error
