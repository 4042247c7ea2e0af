"""`tailrace.Project`: the Python API, which the command line calls.

Nothing here prints. The engine is imported inside the methods, so that importing the package and
the offline methods do not import dlt or DuckDB.
"""

from __future__ import annotations

from tailrace.project.deliveries import Deliveries
from tailrace.project.files import Files
from tailrace.project.questions import Questions
from tailrace.project.stored_state import StoredState


class Project(Deliveries, Questions, StoredState, Files):
    """A Tailrace project: a folder with `.dlt/config.toml` and `models/`.

    >>> project = Project.load("shop", target="prod")  # doctest: +SKIP
    >>> project.run(select=["tag:marketing"]).audiences["vip_contacts"].entered  # doctest: +SKIP
    3
    """
