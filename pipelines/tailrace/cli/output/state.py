"""The state in `state_url` as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.cli.output.table import to_second

Output = Mapping[str, Any]


def state_lines(result: Output) -> Iterable[str]:
    """The result of a command about the state."""
    if "released" in result:
        lease = result["released"]
        if lease is None:
            yield "No run has the lease."
        else:
            yield f"Released the lease of process {lease['process']} on {lease['host']}."
        return
    if "replaced_generation" in result:
        replaced = result["replaced_generation"]
        instead = "" if replaced is None else f", in place of generation {replaced}"
        yield f"Stored {result['file']} as generation {result['generation']}{instead}."
        return
    if "file" in result:
        yield f"Wrote generation {result['generation']} to {result['file']}."
        return
    yield from stored_state(result)


def stored_state(state: Output) -> Iterable[str]:
    """The state in `state_url`: its generation, its size and its lease."""
    if state["generation"]:
        size = f"{state['bytes'] / 1e6:,.1f} MB, {state['stored_bytes'] / 1e6:,.1f} MB compressed"
        written = f"written {to_second(state['written_at'])}"
        yield f"State: {state['url']}, generation {state['generation']}, {size}, {written}."
    else:
        yield f"State: {state['url']} is empty."
    lease = state["lease"]
    if lease is None or not lease["held"]:
        yield "Lease: free."
        return
    page = f", {lease['run_url']}" if lease["run_url"] else ""
    until = to_second(lease["expires_at"])
    yield f"Lease: held by process {lease['process']} on {lease['host']}{page}, until {until}."
