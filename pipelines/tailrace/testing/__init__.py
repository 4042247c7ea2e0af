"""The sandbox: simulators of Salesforce and Segment, real HTTP servers on this machine.

Shipped so that users can test their own models with them; the engine never imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tailrace.testing.faults import Fault, FaultScript

if TYPE_CHECKING:
    from tailrace.testing.salesforce import SalesforceSimulator
    from tailrace.testing.segment import SegmentSimulator

__all__ = ["Fault", "FaultScript", "SalesforceSimulator", "SegmentSimulator"]


def __getattr__(name: str) -> Any:
    """Import a simulator when it is first asked for: each brings half of the package along."""
    if name == "SalesforceSimulator":
        from tailrace.testing.salesforce import SalesforceSimulator

        return SalesforceSimulator
    if name == "SegmentSimulator":
        from tailrace.testing.segment import SegmentSimulator

        return SegmentSimulator
    raise AttributeError(name)
