"""How the last run ended and where the audiences stand, in one line with the next command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tailrace import errors
from tailrace.clock import parse_utc
from tailrace.dataclass import dataclass

OPS = ("entered", "changed", "exited")
# Commands that deliver or extract; the verdict is about the latest of them.
JOBS = frozenset({"run", "sync", "extract", "retry", "reset", "retire", "replay"})
# Shows every error of the files.
CHECK_COMMAND = "tailrace validate"
WORDS = {
    "ok": "Healthy",
    "held": "Held by a guard",
    "rejected": "Some rows rejected",
    "failed": "Failed",
    "running": "Running",
}

Entry = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome in one line, and the next command to copy.

    `status` is ok, held, rejected, failed or running.
    """

    status: str
    word: str
    sentence: str
    command: str

    def as_dict(self) -> dict[str, str]:
        """The entry `verdict` in the result of `status`."""
        return asdict(self)


def verdict(
    *,
    runs: Sequence[Entry],
    audiences: Sequence[Entry],
    running: str | None,
    sending: Sequence[Entry],
    rejected: int,
) -> Verdict:
    """The verdict on the latest run and the state of the audiences.

    Args:
        runs: The latest runs, newest first, as in the result of `status`.
        audiences: Where each audience stands, as in the result of `status`.
        running: The id of the active run.
        sending: What it sends.
        rejected: The number of open rejections.
    """
    run = next((run for run in runs if run["command"] in JOBS), None)
    if run is None:
        return _verdict("ok", "There is no run yet.", "tailrace run", word="Nothing to show")
    about = f"Run {run['run_id']}"
    if run["run_id"] == running:
        return _verdict("running", f"{about} is running{_progress(sending)}.", "tailrace status")
    if run["exit_code"] is None:
        return _verdict("failed", f"{about} did not finish; the next one sends the rest.")
    if run["exit_code"] in (1, 2):
        sentence = f"{about} failed{' with ' + run['error'] if run['error'] else ''}."
        return _verdict("failed", sentence, _next_command(run))
    held = [audience for audience in audiences if audience["status"] == "held"]
    if held:
        return _held(held)
    failed = [_named(audience) for audience in audiences if audience["status"] == "failed"]
    if failed:
        return _verdict("failed", f"{', '.join(failed)} did not finish.")
    if rejected:
        rows = f"{rejected:,} {'row is' if rejected == 1 else 'rows are'} rejected"
        return _verdict("rejected", f"{about} finished; {rows}.", "tailrace rejected")
    return _verdict("ok", f"{about} finished{_moved(run, audiences)}.", "tailrace plan")


def _next_command(run: Entry) -> str:
    """What shows the error of a failed run, or else what may succeed where it failed."""
    error = vars(errors).get(str(run["error"]))
    if isinstance(error, type) and issubclass(error, errors.ModelError):
        return "tailrace plan"
    return "tailrace doctor" if run["exit_code"] == 2 else "tailrace run"


def with_verdict(status: Mapping[str, Any]) -> dict[str, Any]:
    """The result of `status` with the verdict on the files that are broken now, if there are any.

    A run that is active keeps its verdict.
    """
    if not status["broken"] or status["running"] is not None:
        return dict(status)
    return {**status, "verdict": _broken_verdict(status["broken"]).as_dict()}


def _broken_verdict(broken: Sequence[Entry]) -> Verdict:
    first = broken[0]
    names = sorted({name for entry in broken for name in entry["audiences"]})
    stopped = f" It stops {', '.join(names)}." if names else ""
    files = {entry["file"] for entry in broken}
    if len(files) > 1:
        more = "Another file has" if len(files) == 2 else f"{len(files) - 1} more files have"
        stopped = f" {more} errors.{stopped.replace(' It stops', ' They stop')}"
    return _verdict("failed", placed(first) + stopped, CHECK_COMMAND)


def placed(error: Entry) -> str:
    """The file, line and message of an error: `models/people.sql:7: The SQL does not parse.`"""
    line = f":{error['line']}" if error["line"] else ""
    place = f"{error['file']}{line}: " if error["file"] else ""
    end = "" if error["message"].endswith((".", "?", "!")) else "."
    return f"{place}{error['message']}{end}"


def _verdict(
    status: str, sentence: str, command: str = "tailrace run", *, word: str = ""
) -> Verdict:
    return Verdict(status=status, word=word or WORDS[status], sentence=sentence, command=command)


def _progress(sending: Sequence[Entry]) -> str:
    sent = sum(int(entry["sent"]) for entry in sending)
    planned = sum(int(entry["planned"]) for entry in sending)
    return f" and has sent {sent:,} of {planned:,} members" if planned else ""


def _moved(run: Entry, audiences: Sequence[Entry]) -> str:
    """How long a run took, and what it changed over all audiences."""
    if run["finished_at"] is None:
        return ""
    begun = parse_utc(run["started_at"])
    seconds = (parse_utc(run["finished_at"]) - begun).total_seconds()
    of_run = [
        audience
        for audience in audiences
        if audience["finished_at"] and parse_utc(audience["finished_at"]) >= begun
    ]
    counts = ", ".join(f"{sum(int(entry[op]) for entry in of_run):,} {op}" for op in OPS)
    return f" in {seconds:,.0f} s: {counts}"


def _held(held: Sequence[Entry]) -> Verdict:
    sentences = []
    for audience in held:
        guards = [
            f"{guard['name']}: {guard.get('message') or _seen(guard)}"
            for guard in audience["guards"]
            if guard["held"]
        ]
        sentences.append(f"{_named(audience)} is held by {', '.join(guards) or 'a guard'}")
    selected = "".join(f" --select {audience['audience']}" for audience in held)
    return _verdict("held", f"{'; '.join(sentences)}.", "tailrace plan --show 5" + selected)


def _seen(guard: Entry) -> str:
    return f"{guard['seen']:,} seen, {guard['limit']:,} allowed"


def _named(audience: Entry) -> str:
    """The audience's name, with its destination if that is not the default one."""
    name, destination = str(audience["audience"]), audience["destination"]
    return name if destination == "segment" else f"{name} → {destination}"
