"""Random histories converge: whatever fails on the way, the receiver ends up with the source."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulation.history import History
from simulation.receiver import members, profiles

from tailrace.testing.segment.simulator import SegmentSimulator

SEEDS_PER_TEST = 10
# A generator of a run that died is closed by the garbage collector, and dies once more.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    blocks = range(0, metafunc.config.getoption("--seeds"), SEEDS_PER_TEST)
    metafunc.parametrize("first_seed", blocks)


def test_a_history_converges(first_seed: int, tmp_path: Path) -> None:
    """Nothing is lost, nothing arrives under two ids, and the ledger adds up."""
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        with SegmentSimulator() as segment:
            history = History(seed, tmp_path / str(seed), segment)
            history.play()
            assert history.expected() == members(profiles(segment.events)), f"seed {seed}"
            assert segment.inbox.clashes == [], f"seed {seed}"
            assert history.gaps() == [], f"seed {seed}"
            history.opened.close()
