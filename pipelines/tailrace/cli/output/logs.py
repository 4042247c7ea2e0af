"""Logs on stderr: text for people, JSON for log collectors, annotations for GitHub Actions."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from tailrace.cli.output.escape import github, github_property, printable

ERROR, WARNING = logging.ERROR, logging.WARNING

# The attributes that every record has; the others were given by `extra=` and are logged.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# They log what they send and receive, and warn on their own loggers and through `warnings`.
LIBRARIES = ("dlt", "segment", "simple_salesforce", "urllib3", "requests", "sqlglot", "py.warnings")


class JsonLines(logging.Formatter):
    """One JSON object a line, with the `extra` values beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        created = datetime.fromtimestamp(record.created, tz=UTC)
        line = {
            "time": created.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info and record.exc_info[0]:
            # The type only: the text of an exception may quote a row.
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """`error: models/audiences/vip.sql:4: …` with its hint below; information has no prefix."""

    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage())
        if record.levelno < logging.WARNING:
            return message
        values = vars(record)
        place = "".join(f"{printable(values[key])}:" for key in ("file", "line") if values.get(key))
        text = f"{record.levelname.lower()}: {place}{' ' if place else ''}{message}"
        detail = f"The warehouse said: {values['detail']}" if values.get("detail") else ""
        texts = (values.get("excerpt") or "", values.get("hint") or "", detail)
        details = [line for text in texts for line in str(text).splitlines()]
        return "\n  ".join((text, *(printable(line) for line in details if line)))


class GithubLines(logging.Formatter):
    """Workflow commands: errors and warnings become annotations of their file and line."""

    def format(self, record: logging.LogRecord) -> str:
        if record.levelno < logging.WARNING:
            return github(record.getMessage())
        values = vars(record)
        place = ",".join(
            f"{key}={github_property(values[key])}" for key in ("file", "line") if values.get(key)
        )
        hint = f" {github(values['hint'])}" if values.get("hint") else ""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        return f"::{level}{' ' if place else ''}{place}::{github(record.getMessage())}{hint}"


class _Handler(logging.StreamHandler[Any]):
    """Clears the progress line of a terminal before it writes."""

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")
        super().emit(record)


FORMATTERS = {"text": TextLines, "json": JsonLines, "github": GithubLines}


def set_up(
    log_format: str, stream: IO[str] | None = None, *, quiet: bool = False, debug: bool = False
) -> None:
    """Log to stderr from INFO on; with `quiet` from WARNING on.

    The libraries' own logs are dropped unless `debug`: they quote requests and rows.
    """

    def new_handler() -> logging.Handler:
        handler = _Handler(stream or sys.stderr)
        handler.setFormatter(FORMATTERS[log_format]())
        return handler

    logger = logging.getLogger("tailrace")
    logger.handlers = [new_handler()]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logging.captureWarnings(True)
    for name in LIBRARIES:
        library = logging.getLogger(name)
        # dlt changes the formatters of its handlers, so it does not get ours.
        library.handlers = [new_handler()] if debug else [logging.NullHandler()]
        library.propagate = False
        library.setLevel(logging.DEBUG if debug else logging.NOTSET)
        library.disabled = False


def log_entries(entries: Iterable[Mapping[str, Any]], level: int = ERROR) -> None:
    """Log the errors, or the warnings, of a result."""
    logger = logging.getLogger("tailrace")
    if not logger.handlers:
        set_up("text")
    for entry in entries:
        details = {key: value for key, value in entry.items() if key != "message"}
        logger.log(level, "%s", entry["message"], extra=details)
