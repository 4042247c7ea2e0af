"""The process of the `tailrace` command, also as `python -m tailrace`."""

from __future__ import annotations

import gc
from typing import NoReturn

# Objects are searched for reference cycles when so many are new. Imports create no garbage, and at
# Python's own number a tenth of a short command is spent on the search.
GC_OBJECTS = 100_000


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    # Before the imports.
    gc.set_threshold(GC_OBJECTS)
    from tailrace.cli import app

    app.main()


if __name__ == "__main__":
    main()
