"""Renders `docs/reference/simulators.md` from the docstrings and tables of `tailrace.testing`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tailrace.testing.http.bodies import UNEXPECTED_BODIES
from tailrace.testing.http.faults import Fault
from tailrace.testing.salesforce.behavior import OrgBehavior
from tailrace.testing.salesforce.bulk import BulkSettings, JobFault
from tailrace.testing.salesforce.controls import CALLS
from tailrace.testing.salesforce.named_faults import API_REFUSALS, LOGIN_REFUSALS, SALESFORCE_FAULTS
from tailrace.testing.salesforce.simulator import SalesforceSimulator
from tailrace.testing.salesforce.write_settings import RowFault, WriteSettings
from tailrace.testing.segment.named_faults import SEGMENT_FAULTS
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.testing.webhook.receiver import WEBHOOK_FAULTS, WebhookReceiver

_INTRO = """\
`tailrace.testing` contains HTTP servers that behave like Salesforce, Segment and a webhook
endpoint. They listen on 127.0.0.1 and need no account. They are strict: they refuse, or silently
drop, the requests that the real services refuse or drop.

In a test:

```python
from tailrace.testing import Fault, SalesforceSimulator, SegmentSimulator

with SalesforceSimulator() as salesforce, SegmentSimulator() as segment:
    segment.faults.append(Fault(path="/v1/batch", status=503, times=2))
    print(salesforce.url, salesforce.client_id, segment.url, segment.write_key)
```

As a process, which prints its URL and credentials as one line of JSON:

```
python -m tailrace.testing salesforce --write-back --fault ip_restricted
python -m tailrace.testing segment --fault rate_limited
python -m tailrace.testing webhook --verdicts element
```

`--help` lists all options, `--list-faults` the named faults."""
_CONTROL = """\
A test in another process uses control calls under `/_control/`. They take and return JSON, are not
logged, and need no authentication."""
_SHARED_CALLS = (
    ("GET /_control/requests", "the requests so far, with status and fault"),
    ("DELETE /_control/requests", "clear that list"),
    ("GET /_control/faults", "the fault rules"),
    ("POST /_control/faults", "add a rule or a list of rules, with the fault options below"),
    ("DELETE /_control/faults", "remove all rules"),
    ("POST /_control/named_fault", 'add a named fault: `{"name": "rate_limited", "times": 1}`'),
)
_SEGMENT_CALLS = (
    ("GET /_control/events", "accepted messages, one per messageId"),
    ("GET /_control/received", "all messages of accepted requests"),
    ("GET /_control/discards", "messages that were answered with 200 and dropped"),
    ("GET /_control/stats", "counts"),
    ("DELETE /_control/events", "forget all messages"),
)
_WEBHOOK_CALLS = (
    ("GET /_control/deliveries", "accepted requests with their elements and errors"),
    ("DELETE /_control/deliveries", "forget them"),
)


def simulators() -> str:
    """The page, without its title."""
    return "\n\n".join(
        (
            _INTRO,
            "## Faults",
            "A fault rule selects requests and changes their answers. The first rule that fires "
            "applies.",
            _arguments(Fault),
            "Values of `unexpected_body`: " + _codes(UNEXPECTED_BODIES) + ".",
            "## Control calls",
            _CONTROL,
            _calls(_SHARED_CALLS),
            "## Salesforce",
            "### Simulator options",
            _arguments(SalesforceSimulator),
            "### Org behavior",
            '`SalesforceSimulator(behavior=OrgBehavior(paging="repeats"))`, '
            "`--set paging=repeats` or `POST /_control/settings`:",
            _arguments(OrgBehavior),
            "### Bulk queries",
            _arguments(BulkSettings),
            "`JobFault`, for query jobs and ingest jobs:",
            _arguments(JobFault),
            "### Writes",
            "`WriteSettings`:",
            _arguments(WriteSettings),
            "`RowFault`, for single rows of a write:",
            _arguments(RowFault),
            "### Named faults",
            _login_faults(),
            _api_faults(),
            "Others: " + _codes(_other_faults()) + ". "
            "`token_{body}` and `api_{body}` answer 200 with a body of the list above.",
            "### Control calls of Salesforce",
            _calls(
                [
                    ("GET /_control/org", "time, rows per object, API calls, jobs"),
                    ("GET /_control/writes", "successful writes"),
                    ("GET /_control/apex", "requests that an Apex class has answered"),
                    *(
                        (f"POST /_control/{name}", _first_line(call.__doc__))
                        for name, call in CALLS.items()
                    ),
                ]
            ),
            "## Segment",
            _arguments(SegmentSimulator),
            "Named faults: " + _codes(SEGMENT_FAULTS) + ".",
            _calls(_SEGMENT_CALLS),
            "## Webhook",
            _arguments(WebhookReceiver),
            "Named faults: " + _codes(WEBHOOK_FAULTS) + ".",
            _calls(_WEBHOOK_CALLS),
        )
    )


def arguments(documented: type) -> dict[str, str]:
    """Name -> description, from the `Args:` of a docstring."""
    text = inspect.getdoc(documented) or ""
    lines = text.partition("Args:\n")[2].splitlines()
    described: dict[str, str] = {}
    name = ""
    for line in lines:
        start = re.fullmatch(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            described[name] = start[2]
        elif line.startswith(" " * 8):
            described[name] += " " + line.strip()
        elif line.strip():
            break
    return described


def _arguments(documented: type) -> str:
    return _table(
        ("option", "meaning"),
        [(f"`{name}`", text) for name, text in arguments(documented).items()],
    )


def _login_faults() -> str:
    return _table(
        ("login", "error", "error_description"),
        [(f"`{name}`", *refusal) for name, refusal in LOGIN_REFUSALS.items()],
    )


def _api_faults() -> str:
    return _table(
        ("call", "status", "errorCode", "paths"),
        [
            (f"`{name}`", str(status), code, f"`{path}`")
            for name, (status, code, _, path) in API_REFUSALS.items()
        ],
    )


def _other_faults() -> list[str]:
    bodies = {f"{prefix}_{name}" for prefix in ("token", "api") for name in UNEXPECTED_BODIES}
    known = bodies | set(LOGIN_REFUSALS) | set(API_REFUSALS)
    return [name for name in SALESFORCE_FAULTS if name not in known]


def _calls(calls: Iterable[tuple[str, str]]) -> str:
    return _table(("call", "effect"), [(f"`{call}`", effect) for call, effect in calls])


def _codes(names: Iterable[str] | Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0].removesuffix(".")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines
    )
