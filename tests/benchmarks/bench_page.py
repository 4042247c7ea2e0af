"""The page of 40 audiences and 90 runs: processor seconds to write it, and its size."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, quick

sys.path.insert(0, str(Path(__file__).parents[1]))

from page_ledger import grow
from shop import Shop

from tailrace.project import Project
from tailrace.reporting.page.render import render_report
from tailrace.reporting.page.report import project_facts
from tailrace.testing.segment.simulator import SegmentSimulator

WRITE_SECONDS_MAX = 0.5
BYTES_MAX = 1_000_000
TRIES = 3


def figures() -> Iterator[Figure]:
    """`page_render` renders and writes facts that are gathered; `page_report` is all of it."""
    with tempfile.TemporaryDirectory() as folder, SegmentSimulator() as segment:
        shop = Shop(Path(folder) / "shop", segment)
        grow(shop, audiences=10 if quick() else 40, runs=90)
        project, out = Project(shop.project), Path(folder) / "report.html"
        whole, render = [], []
        for _ in range(TRIES):
            started = time.process_time()
            project.report(out)
            whole.append(time.process_time() - started)
            facts = project_facts(shop.project, clock=shop.clock)
            started = time.process_time()
            out.write_text(render_report(facts), encoding="utf-8")
            render.append(time.process_time() - started)
        size = out.stat().st_size
    yield Figure(name="page_render", figure=min(render), against=WRITE_SECONDS_MAX, goal=1.0)
    yield Figure(name="page_report", figure=min(whole), against=WRITE_SECONDS_MAX, goal=1.0)
    yield Figure(name="page_bytes", figure=size / 1e6, against=BYTES_MAX / 1e6, goal=1.0, unit="MB")
