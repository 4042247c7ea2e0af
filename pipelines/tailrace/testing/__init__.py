"""The sandbox: simulators of Salesforce and Segment, real HTTP servers on this machine.

Shipped so that users can test their own models with them; the engine never imports it.

    with SalesforceSimulator(org=Org(seed=7)) as salesforce, SegmentSimulator() as segment:
        ...                                   # run something against salesforce.url, segment.url
        truth = salesforce.org.advance_day()  # then let a day pass, and run it again
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tailrace.testing.http.faults import Fault, FaultScript

if TYPE_CHECKING:
    from tailrace.testing.org.org import Org, Sizes
    from tailrace.testing.salesforce.bulk import BulkSettings, JobFault
    from tailrace.testing.salesforce.simulator import SalesforceSimulator
    from tailrace.testing.segment.simulator import SegmentSimulator

__all__ = [
    "BulkSettings",
    "Fault",
    "FaultScript",
    "JobFault",
    "Org",
    "SalesforceSimulator",
    "SegmentSimulator",
    "Sizes",
]

# Imported when first asked for: each brings half of the package along.
_HOMES = {
    "BulkSettings": "salesforce.bulk",
    "JobFault": "salesforce.bulk",
    "Org": "org.org",
    "SalesforceSimulator": "salesforce.simulator",
    "SegmentSimulator": "segment.simulator",
    "Sizes": "org.org",
}


def __getattr__(name: str) -> Any:
    """A name of `__all__`, from the module that has it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
