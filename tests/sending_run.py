"""A run in a process of its own that waits in the middle of its delivery."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shop import Shop

from tailrace.project import Project
from tailrace.testing import Fault, SegmentSimulator

WAIT_SECONDS_MAX = 60


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def sending(shop: Shop, segment: SegmentSimulator) -> Iterator[subprocess.Popen[str]]:
    """A `sync` in a process of its own, whose second batch gets no answer until the block ends."""
    released = threading.Event()
    held: list[bool] = []

    def hold(_request: Any) -> bool:
        if len(segment.inbox.delivered) >= 20:
            held.append(True)
            released.wait(WAIT_SECONDS_MAX)
        return False

    segment.faults.append(Fault(path="/v1/batch", when=hold, status=500))
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "sync", "--json"],
        cwd=shop.root,
        env={**os.environ, **shop.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: bool(held) or process.poll() is not None)
        project = Project(shop.project)
        wait_until(lambda: project.status().data["sending"][0]["sent"] > 0)
        yield process
    finally:
        released.set()
        segment.faults.clear()
        process.communicate(timeout=WAIT_SECONDS_MAX)
