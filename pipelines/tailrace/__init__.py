"""Tailrace: reverse ETL as code, from Salesforce through SQL audiences to Segment.

    import tailrace

    project = tailrace.Project.load("shop", target="prod")
    result = project.run(select=["tag:marketing"])
    result.exit_code, result.audiences["vip_contacts"].entered, result.as_dict()

`Project`, `PlanOptions`, `Result` and the exceptions in `tailrace.errors` are public; everything
else is private to the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailrace.plan.policy import PlanOptions
    from tailrace.project import Project
    from tailrace.results import AudienceResult, Result

__version__ = "0.1.0"
__all__ = ["AudienceResult", "PlanOptions", "Project", "Result", "__version__"]

_LAZY = {
    "AudienceResult": ("tailrace.results", "AudienceResult"),
    "PlanOptions": ("tailrace.plan.policy", "PlanOptions"),
    "Project": ("tailrace.project", "Project"),
    "Result": ("tailrace.results", "Result"),
}


def __getattr__(name: str) -> Any:
    # Imported when first used: `tailrace --help` imports this package and must stay quick.
    import importlib

    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)
