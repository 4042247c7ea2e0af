"""Several Segment sources: each has its own ledger, and none waits for another."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop

from tailrace.errors import HeaderInvalid, MissingCredential, UnknownConfigKey
from tailrace.run import dispatch, job
from tailrace.testing import Fault, SegmentSimulator

BOTH = PEOPLE.replace("key: id\n", "key: id\ndestination: [segment, segment_eu]\n")


class TwoSources:
    """A shop with two Segment sources."""

    def __init__(self, root: Path, us: SegmentSimulator, eu: SegmentSimulator) -> None:
        self.us, self.eu = us, eu
        self.shop = Shop(root, us)
        self.shop.environ |= {
            "DESTINATION__SEGMENT_EU__HOST": eu.url,
            "DESTINATION__SEGMENT_EU__WRITE_KEY": eu.write_key,
            "DESTINATION__SEGMENT_EU__EVENTS_PER_SECOND_MAX": "0",
        }
        for name in ("SEGMENT", "SEGMENT_EU"):
            self.shop.environ[f"DESTINATION__{name}__RETRY_SECONDS_MAX"] = "0.3"
            self.shop.environ[f"DESTINATION__{name}__BATCH_EVENTS_MAX"] = "4"

    def land(self, count: int, city: str = "Oslo") -> None:
        self.shop.land(
            [{"id": f"c{n}", "email": f"c{n}@example.com", "city": city} for n in range(count)]
        )

    def live(self, lane: str) -> int:
        ((count,),) = self.shop.query(
            f"SELECT count(*) FROM tailrace.snapshot__{lane} WHERE NOT _gone"
        )
        return int(count)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[TwoSources]:
    with ExitStack() as stack:
        us = stack.enter_context(SegmentSimulator(write_key="us-key"))
        eu = stack.enter_context(SegmentSimulator(write_key="eu-key"))
        made = TwoSources(tmp_path / "shop", us, eu)
        made.shop.audience(BOTH)
        yield made


def said(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return sorted((e["type"], e.get("event", ""), e["userId"]) for e in events)


def test_each_destination_gets_all_under_ids_of_its_own(two: TwoSources) -> None:
    """Segment remembers ids across sources: the same id twice would be dropped as a repeat."""
    two.land(5)
    done = two.shop.sync()
    assert 0 == done.exit_code
    assert said(two.us.events) == said(two.eu.events)
    assert 10 == len(two.us.events)
    ids = [{each["messageId"] for each in source.events} for source in (two.us, two.eu)]
    assert set() == ids[0] & ids[1]
    assert [("people", "segment", 5), ("people", "segment_eu", 5)] == [
        (each["audience"], each["destination"], each["sent"]) for each in done.audiences
    ]
    assert {"people"} == {
        e["properties"]["audience_key"] for e in two.eu.events if e["type"] == "track"
    }
    assert [] == list(done.orphans)
    two.land(5)
    assert 0 == two.shop.sync().as_dict()["segment"]["calls"]


@pytest.mark.parametrize("failing", ["us", "eu"])
@pytest.mark.parametrize("how", ["down", "wrong key"])
def test_a_destination_that_fails_holds_no_other_back(
    two: TwoSources, failing: str, how: str
) -> None:
    """The other one is served, the run ends in 1, and the next run finishes from the outbox."""
    bad, good = (two.us, two.eu) if failing == "us" else (two.eu, two.us)
    name = "segment" if failing == "us" else "segment_eu"
    key = f"DESTINATION__{name.upper()}__WRITE_KEY"
    two.land(8)
    if how == "down":
        bad.faults.append(Fault(path="/v1/batch", status=503))
    else:
        two.shop.environ |= {
            key: "no-such-key",
            f"DESTINATION__{name.upper()}__SETTINGS_HOST": bad.url,
        }
    done = two.shop.sync()
    assert (1, ["DestinationFailed"]) == (
        done.exit_code,
        [each["error"] for each in done.as_dict()["errors"]],
    )
    assert done.errors[0].message.startswith(f"{name}: ")
    assert {name: "failed"} == {
        each["destination"]: each["status"] for each in done.audiences if each["status"] != "ok"
    }
    assert 16 == len(good.events)

    bad.faults.clear()
    two.shop.environ[key] = bad.write_key
    two.land(8, "Bergen")
    healed = two.shop.sync()
    assert 0 == healed.exit_code, healed.errors
    profiles = [
        {e["userId"]: e["properties"]["city"] for e in source.events if e["type"] == "track"}
        for source in (bad, good)
    ]
    assert profiles[0] == profiles[1] == {f"c{n}": "Bergen" for n in range(8)}
    assert [] == bad.inbox.clashes


def test_a_slow_destination_holds_no_other_back(two: TwoSources) -> None:
    """While the first one has not answered its first batch, the second gets everything."""
    two.land(40)
    in_time = threading.Event()

    def until_the_other_has_all(_: object) -> bool:
        for _ in range(400):
            if len(two.eu.events) == 80:
                in_time.set()
                break
            two.us.closing.wait(0.05)
        return False

    two.us.faults.append(Fault(path="/v1/batch", when=until_the_other_has_all))
    assert 0 == two.shop.sync().exit_code
    assert in_time.is_set()
    assert 80 == len(two.us.events)


def test_a_destination_without_a_section_is_reported_before_the_run(two: TwoSources) -> None:
    two.shop.audience(PEOPLE.replace("key: id\n", "key: id\ndestination: segmnt_eu\n"))
    (two.shop.root / ".dlt" / "secrets.toml").write_text('[destination.segment_eu]\nhost = "x"\n')
    with pytest.raises(UnknownConfigKey, match="segment_eu"):
        two.shop.sync()
    two.shop.audience(BOTH)
    del two.shop.environ["DESTINATION__SEGMENT_EU__WRITE_KEY"]
    with pytest.raises(MissingCredential, match=r"destination\.segment_eu\.write_key"):
        two.shop.sync()
    two.shop.environ["DESTINATION__SEGMENT_EU__WRITEKEY"] = "typo"
    with pytest.raises(UnknownConfigKey, match="WRITE_KEY"):
        two.shop.sync()


def test_two_audiences_that_the_ledger_would_call_the_same_are_refused(two: TwoSources) -> None:
    two.shop.audience(PEOPLE.replace("audience: people", "audience: people__segment_eu"), "other")
    with pytest.raises(HeaderInvalid, match="people__segment_eu"):
        two.shop.sync()


def test_a_destination_that_the_header_no_longer_names_is_an_orphan(two: TwoSources) -> None:
    """Its members stay until it is retired, and then their exits go there alone."""
    two.land(3)
    two.shop.sync()
    two.shop.audience(PEOPLE)
    assert ("people__segment_eu",) == two.shop.sync().orphans
    before = len(two.us.events)
    done = job.retire(two.shop.project, "people__segment_eu", clock=two.shop.clock)
    assert 0 == done.exit_code, done.errors
    assert before == len(two.us.events)
    left = [e["userId"] for e in two.eu.events if e.get("event") == "Segment Exited"]
    assert ["c0", "c1", "c2"] == sorted(left)
    assert () == two.shop.sync().orphans


def test_an_interrupted_run_writes_down_what_was_answered(two: TwoSources) -> None:
    """Ctrl-C: what Segment took by then is acknowledged, and the next run sends the rest."""
    two.land(40)

    def stop(_name: str, done: int, _total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.shop.sync(progress=stop)
    assert two.shop.query("SELECT count(*) FROM tailrace.acks") > [(0,)]
    assert 0 == two.shop.sync().exit_code
    for source in (two.us, two.eu):
        assert 80 == len(source.events)
        assert [] == source.inbox.clashes
    assert 40 == two.live("people") == two.live("people__segment_eu")


def test_ctrl_c_while_segment_is_silent_is_one_line(two: TwoSources) -> None:
    """Requests that hang delay no other destination, and the process ends without more output."""
    two.land(40)
    asked = threading.Event()

    def is_asked(_: object) -> bool:
        asked.set()
        return True

    two.us.faults.append(Fault(path="/v1/batch", when=is_asked, delay_seconds=30))
    with subprocess.Popen(
        [sys.executable, "-m", "tailrace", "sync", "--project-dir", str(two.shop.root)],
        env=os.environ | two.shop.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (130, "") == (process.returncode, stdout)
    *logged, last = stderr.strip().splitlines()
    assert last.startswith("Interrupted. Acknowledged messages are recorded")
    assert not any("Traceback" in line or "Error" in line for line in logged)


def test_a_delivery_restores_the_settings_of_the_interpreter() -> None:
    before = (gc.get_threshold(), sys.getswitchinterval())
    with pytest.raises(ValueError), dispatch._tuned_interpreter():
        assert gc.get_threshold()[0] == dispatch.COLLECTED_AFTER
        assert sys.getswitchinterval() == pytest.approx(dispatch.SWITCH_SECONDS)
        raise ValueError
    assert before == (gc.get_threshold(), sys.getswitchinterval())
