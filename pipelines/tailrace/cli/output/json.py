"""The object that `--json` prints, also for a command that failed."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tailrace.errors import TailraceError
from tailrace.results import Result

Output = dict[str, Any]

MASKED = "masked, since it may hold personal values; to see it, add --show-values"


def failure(command: str, error: TailraceError) -> Output:
    """The object of a command that failed with an error of ours."""
    return Result(command=command, exit_code=error.exit_code, errors=(error,)).as_dict()


def add_details(output: Output, errors: Sequence[TailraceError], *, show_values: bool) -> None:
    """Add what the warehouse said word for word to the errors of an output.

    Args:
        output: The object of a command.
        errors: The errors that it was made from.
        show_values: Whether to show it; it may hold personal values.
    """
    flattened = [entry for error in errors for entry in error.flattened()]
    if len(flattened) != len(output["errors"]):
        return
    for entry, error in zip(output["errors"], flattened, strict=True):
        if error.detail:
            entry["detail"] = error.detail if show_values else MASKED


def usage_error(command: str, message: str, hint: str) -> Output:
    """The object of a command line that could not be parsed."""
    entry = {"error": "UsageError", "message": message, "hint": hint}
    return Result(command=command, exit_code=2).as_dict() | {"errors": [entry]}


def crash(command: str, error: Exception) -> Output:
    """The object of a command that failed with an unexpected exception.

    The text of an exception may quote a row or a secret, so only its type and place are printed.
    An error of the operating system is about a file and is printed as it is.
    """
    if isinstance(error, OSError) and error.strerror:
        about = f" ({error.filename})" if error.filename else ""
        hint = "Check the file and its permissions. Details: run the command with --debug"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Make room on the disk. Nothing is lost: run the same command again."
        entry = {"message": f"{error.strerror}{about}", "hint": hint}
    else:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        place = (
            f" at {Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""
        )
        entry = {
            "message": f"Internal error: {type(error).__name__}{place}",
            "hint": "Run the command with --debug or TAILRACE_DEBUG=1 to see the traceback, and "
            "please report it.",
        }
    entries = [{"error": type(error).__name__, **entry}]
    return Result(command=command, exit_code=1).as_dict() | {"errors": entries}


def render(output: Output) -> str:
    """The object as indented JSON."""
    return json.dumps(output, indent=2, default=str)
