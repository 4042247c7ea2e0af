"""The result of `status` in the OpenMetrics text format 1.0, for a monitoring system to read.

Every value is a gauge: it says how things are at the time of the file, and a file that is written
again after a while replaces the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tailrace.clock import parse_utc

Entry = Mapping[str, Any]

AUDIENCE_STATES = ("ok", "unchanged", "held", "failed", "sending")
# Name -> help, and the key of an audience in `status`.
AUDIENCE_COUNTS = {
    "members": ("Members after the latest run.", "size_after"),
    "entered": ("Members who entered in the latest run.", "entered"),
    "changed": ("Members who changed in the latest run.", "changed"),
    "exited": ("Members who exited in the latest run.", "exited"),
    "rejected": ("Members who were rejected in the latest run.", "rejected"),
    "held": ("Changes that a guard holds.", "held"),
    "quarantined": ("Rows with a NULL or duplicate key in the latest run.", "quarantined"),
}


def openmetrics(status: Mapping[str, Any]) -> str:
    """The metrics of a result of `status`: audiences, the latest run, and the stored state.

    No label has a personal value: labels are names of audiences and destinations.
    """
    lines = [*_audiences(status["audiences"]), *_runs(status["runs"]), *_state(status.get("state"))]
    return "\n".join([*lines, "# EOF", ""])


def _audiences(audiences: Iterable[Entry]) -> Iterator[str]:
    entries = list(audiences)
    for name, (help_text, key) in AUDIENCE_COUNTS.items():
        samples = [(_labels(_names(entry)), entry[key]) for entry in entries]
        yield from _gauge(f"audience_{name}", help_text, samples)
    successes = [
        (_labels(_names(entry)), _seconds(entry.get("last_success_at"))) for entry in entries
    ]
    help_text = "When the latest successful run ended, in Unix time."
    yield from _gauge("audience_last_success_seconds", help_text, successes, unit="seconds")
    yield "# TYPE tailrace_audience_status stateset"
    yield "# HELP tailrace_audience_status Status after the latest run."
    for entry in entries:
        for state in AUDIENCE_STATES:
            labels = _labels({**_names(entry), "tailrace_audience_status": state})
            yield f"tailrace_audience_status{labels} {int(entry['status'] == state)}"


def _runs(runs: Iterable[Entry]) -> Iterator[str]:
    latest = next((run for run in runs if run["finished_at"]), None)
    if latest is None:
        return
    started, finished = _seconds(latest["started_at"]), _seconds(latest["finished_at"])
    labels = _labels({"command": latest["command"]})
    figures = (
        ("finished_seconds", "seconds", "When the latest run ended, in Unix time.", finished),
        ("duration_seconds", "seconds", "Duration of the latest run.", finished - started),
        ("exit_code", "", "Exit code of the latest run.", latest["exit_code"]),
        ("salesforce_calls", "", "API calls of the latest run.", latest["salesforce_calls"]),
    )
    for name, unit, help_text, value in figures:
        yield from _gauge(f"run_{name}", help_text, [(labels, value)], unit=unit)
    quantiles = [
        (_labels({"command": latest["command"], "quantile": quantile}), latest.get(key))
        for quantile, key in (("0.5", "latency_p50_seconds"), ("0.95", "latency_p95_seconds"))
    ]
    help_text = "From the modification of a record to its acknowledgement, in the latest run."
    yield from _gauge("run_latency_seconds", help_text, quantiles, unit="seconds")


def _state(state: Entry | None) -> Iterator[str]:
    if state is None:
        return
    lease = state["lease"]
    for name, unit, help_text, value in (
        ("generation", "", "Generation of the stored state.", state["generation"]),
        ("size_bytes", "bytes", "Size of the DuckDB file of the stored state.", state["bytes"]),
        ("lease_held", "", "1 while a run holds the lease.", int(bool(lease and lease["held"]))),
    ):
        yield from _gauge(f"state_{name}", help_text, [("", value)], unit=unit)


def _gauge(
    name: str, help_text: str, samples: Iterable[tuple[str, Any]], *, unit: str = ""
) -> Iterator[str]:
    """A family of gauges; a sample without a value is left out."""
    yield f"# TYPE tailrace_{name} gauge"
    if unit:
        yield f"# UNIT tailrace_{name} {unit}"
    yield f"# HELP tailrace_{name} {help_text}"
    for labels, value in samples:
        if value is not None:
            yield f"tailrace_{name}{labels} {_number(value)}"


def _names(entry: Entry) -> dict[str, str]:
    return {"audience": str(entry["audience"]), "destination": str(entry["destination"])}


def _labels(labels: Mapping[str, str]) -> str:
    """
    >>> _labels({"audience": 'a "b"', "destination": "segment"})
    '{audience="a \\\\"b\\\\"",destination="segment"}'
    """
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _seconds(value: str | None) -> Any:
    return None if value is None else parse_utc(value).timestamp()


def _number(value: Any) -> str:
    """
    >>> _number(3), _number(1.5), _number(2.0)
    ('3', '1.5', '2.0')
    """
    return repr(float(value)) if isinstance(value, float) else str(int(value))
