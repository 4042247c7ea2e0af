"""What the engine says while it works: to stderr, as text for people or as JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

ERROR, WARNING = logging.ERROR, logging.WARNING

# What every record has; the rest was given by `extra=` and belongs into the line.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line, with whatever the caller gave as `extra` beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, tz=UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info and record.exc_info[0]:
            # The type only: the text of an exception may quote a row.
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """`error: models/audiences/vip.sql:4: …` and what to do, as a person reads it."""

    def format(self, record: logging.LogRecord) -> str:
        said = vars(record)
        place = "".join(f"{said[key]}:" for key in ("file", "line") if said.get(key))
        text = f"{record.levelname.lower()}: {place}{' ' if place else ''}{record.getMessage()}"
        hint = said.get("hint")
        return f"{text}\n  {hint}" if hint else text


def set_up(log_format: str, stream: IO[str] | None = None) -> None:
    """Send what `tailrace` loggers say to stderr: warnings as text, everything as JSON.

    A person watches the progress and needs the exceptions to it only; a log collector wants
    the whole story.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logger = logging.getLogger("tailrace")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if log_format == "json" else logging.WARNING)


def complain(entries: Iterable[Mapping[str, Any]], level: int = ERROR) -> None:
    """Say the errors, or the warnings, of a result on stderr."""
    logger = logging.getLogger("tailrace")
    if not logger.handlers:
        set_up("text")
    for each in entries:
        details = {key: value for key, value in each.items() if key != "message"}
        logger.log(level, "%s", each["message"], extra=details)
