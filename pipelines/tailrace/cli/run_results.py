"""`run_results.json`: the result of one command as a file for other tools, as dbt has it.

The format is `schemas/run_results.schema.json`. It holds counts, names and errors: no key
of a member and no value of a row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tailrace import __version__
from tailrace.cli.options import Options
from tailrace.clock import Clock, SystemClock, format_utc
from tailrace.errors import RunResultsNotWritten, TailraceError
from tailrace.results import Result

SCHEMA_VERSION = 1
_COUNTS = ("size_before", "size_after", "entered", "changed", "exited", "sent", "rejected", "held")
_ERROR_KEYS = ("error", "message", "hint", "file", "line")


@contextmanager
def recording(
    options: Options, command: str, file: Path | None, *, clock: Clock | None = None
) -> Iterator[Callable[[Result], Result]]:
    """Write the result of the block to a file, also if an exception leaves the block.

    Args:
        options: The options of the command.
        command: Its name.
        file: Where to write; None writes nothing.
        clock: The time source (default: the system's clock).

    Yields:
        A function that the block gives its result to. It returns the result, with exit code 1 and
        an error if the file could not be written.
    """
    if file is None:
        yield lambda result: result
        return
    clock = clock or SystemClock()
    target, started = file.absolute(), clock.monotonic()

    def write(result: Result, exit_code: int | None) -> None:
        seconds = round(clock.monotonic() - started, 3)
        content = run_results(result, target=options.target, seconds=seconds, clock=clock)
        _replace(target, {**content, "exit_code": exit_code})

    def record(result: Result) -> Result:
        try:
            write(result, result.exit_code)
        except RunResultsNotWritten as error:
            errors = (*result.errors, error)
            return replace(result, exit_code=result.exit_code or 1, errors=errors)
        return result

    try:
        yield record
    except TailraceError as error:
        write(Result(command=command, errors=(error,)), error.exit_code)
        raise
    except Exception as unexpected:
        write(_unexpected(command, unexpected), 1)
        raise
    except BaseException as stopped:
        # A signal: the process chooses its exit code later.
        write(_unexpected(command, stopped), None)
        raise


def run_results(
    result: Result, *, target: str | None, seconds: float, clock: Clock
) -> dict[str, Any]:
    """The content of the file.

    Args:
        result: The result of a command.
        target: The target of the project.
        seconds: How long the command took.
        clock: The time source.
    """
    errors = [entry.as_dict() for error in result.errors for entry in error.flattened()]
    return {
        "metadata": {
            "schema_version": SCHEMA_VERSION,
            "tailrace_version": __version__,
            "generated_at": format_utc(clock.now()),
            "run_id": result.run_id,
            "target": target,
        },
        "command": result.command,
        "exit_code": result.exit_code,
        "elapsed_seconds": seconds,
        "results": [
            *(_object(entry) for entry in result.objects),
            *(_audience(entry) for entry in result.data.get("audiences", ())),
        ],
        "errors": [{key: error.get(key) for key in _ERROR_KEYS} for error in errors],
        "warnings": [str(warning["message"]) for warning in result.warnings],
    }


def _audience(entry: Mapping[str, Any]) -> dict[str, Any]:
    status = entry["status"]
    if status in ("ok", "unchanged") and entry["rejected"]:
        status = "rejected"
    return {
        "unique_id": f"audience.{entry['audience']}.{entry['destination']}",
        "resource_type": "audience",
        "name": entry["audience"],
        "destination": entry["destination"],
        "status": status,
        "message": "; ".join(_held(guard) for guard in entry["guards"] if guard["held"]),
        "counts": {
            **{name: int(entry[name] or 0) for name in _COUNTS},
            "quarantined": int(entry["quarantined"]),
        },
    }


def _held(guard: Mapping[str, Any]) -> str:
    return f"{guard['name']}: {guard['seen']} seen, {guard['limit']} allowed"


def _object(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "unique_id": f"object.{entry['object']}",
        "resource_type": "object",
        "name": entry["object"],
        "destination": None,
        "status": "ok" if entry["complete"] else "failed",
        "message": "",
        "counts": {"rows": int(entry["rows"]), "quarantined": int(entry["quarantined"])},
    }


def _unexpected(command: str, error: BaseException) -> Result:
    """The result of a command that ended by a signal or an error that is not ours.

    The text of such an error may quote a row.
    """
    ended = TailraceError(f"Ended by {type(error).__name__}", hint="See: tailrace status")
    return Result(command=command, errors=(ended,))


def _replace(file: Path, content: Mapping[str, Any]) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise RunResultsNotWritten(
            f"The results cannot be written to {file}: {error.strerror}"
        ) from error
