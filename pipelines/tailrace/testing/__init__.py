"""Simulators of Salesforce, Segment and a webhook endpoint: HTTP servers on this machine.

They ship with Tailrace so that users can test their own models; the engine never imports them.

    with SalesforceSimulator(org=Org(seed=7)) as salesforce, SegmentSimulator() as segment:
        ...                                     # run against salesforce.url and segment.url
        changes = salesforce.org.advance_day()  # let a day pass, then run again
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tailrace.testing.http.faults import Fault, FaultScript

if TYPE_CHECKING:
    from tailrace.testing.org.org import Org, Sizes
    from tailrace.testing.salesforce.behavior import OrgBehavior
    from tailrace.testing.salesforce.bulk import BulkSettings, JobFault
    from tailrace.testing.salesforce.simulator import SalesforceSimulator
    from tailrace.testing.segment.simulator import SegmentSimulator
    from tailrace.testing.webhook.receiver import WebhookReceiver

__all__ = [
    "BulkSettings",
    "Fault",
    "FaultScript",
    "JobFault",
    "Org",
    "OrgBehavior",
    "SalesforceSimulator",
    "SegmentSimulator",
    "Sizes",
    "WebhookReceiver",
]

# Imported on first use, because each of them imports a large part of the package.
_MODULES = {
    "BulkSettings": "salesforce.bulk",
    "JobFault": "salesforce.bulk",
    "Org": "org.org",
    "OrgBehavior": "salesforce.behavior",
    "SalesforceSimulator": "salesforce.simulator",
    "SegmentSimulator": "segment.simulator",
    "Sizes": "org.org",
    "WebhookReceiver": "webhook.receiver",
}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
