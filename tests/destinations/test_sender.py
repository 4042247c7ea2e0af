"""The sender loses no row, repeats only with the same ids, and reports the outcome of every row."""

from __future__ import annotations

import gc
import json
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tailrace.clock import SystemClock
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.batching import Acknowledged, Batch, Rejected, Verdict
from tailrace.destinations.messages import MemberMessages, Message
from tailrace.destinations.outcome import SendOutcome
from tailrace.destinations.retry import REFUSALS_IN_A_ROW_MAX
from tailrace.destinations.segment.http import SegmentClient
from tailrace.destinations.sender import PREPARED_BATCHES_MAX, Flow, Sender, Wakeup, wait
from tailrace.errors import (
    CredentialRefused,
    DeliveryIncomplete,
    ServiceFailed,
    TailraceError,
    Unreachable,
)
from tailrace.testing import Fault, SegmentSimulator
from tailrace.testing.http.clocks import HurriedClock
from tailrace.testing.http.messages import Request, Response
from tailrace.testing.segment.named_faults import named_fault


def message(kind: Any, seq: int, user: str, size: int = 0) -> Message:
    message_id = f"{kind}-{seq}"
    content: dict[str, Any] = {"type": kind, "userId": user, "messageId": message_id}
    if kind == "track":
        content |= {"event": "Segment Entered", "properties": {"seq": seq, "x": "x" * size}}
    else:
        content["traits"] = {"seq": seq}
    return Message(kind=kind, message_id=message_id, body=json.dumps(content).encode())


def member(seq: int, user: str | None = None, size: int = 0) -> MemberMessages:
    user = user or f"u{seq:06d}"
    return MemberMessages(
        seq=seq,
        user=user,
        messages=(message("identify", seq, user), message("track", seq, user, size)),
    )


def plan(rows: int) -> list[MemberMessages]:
    return [member(seq) for seq in range(1, rows + 1)]


def ids(members: Iterable[MemberMessages]) -> set[str]:
    return {message.message_id for member in members for message in member.messages}


@pytest.fixture
def clock() -> HurriedClock:
    return HurriedClock()


@pytest.fixture
def target(clock: HurriedClock) -> Iterator[SegmentSimulator]:
    with SegmentSimulator(clock=clock) as simulator:
        yield simulator


class RunSender(Sender):
    """A sender with the loop that a run has around its flow (`dispatch`)."""

    def __init__(self, settings: SegmentSettings, **more: Any) -> None:
        self.wakeup = Wakeup()
        client = SegmentClient(settings, clock=more["clock"])
        super().__init__(client, settings.send_limits(), wakeup=self.wakeup, **more)

    def deliver(self, batches: Iterable[Batch], **options: Any) -> Iterator[Verdict]:
        flow: Flow = self.flow(batches, **options)
        try:
            for verdict in flow:
                if verdict is not None:
                    yield verdict
                else:
                    wait(self.wakeup)
        except KeyboardInterrupt:
            yield from flow.drain()
            raise
        finally:
            flow.cancel()


def sender(target: SegmentSimulator, **more: Any) -> RunSender:
    values: dict[str, Any] = {
        "events_per_second_max": 0,
        "batch_events_max": 200,
        "timeout_seconds": 5.0,
        "write_key": target.write_key,
        "host": target.url,
        "settings_host": target.url,
        **more,
    }
    settings = SegmentSettings(**values)
    return RunSender(settings, clock=target.clock, random_source=random.Random(7))


def deliver(target: SegmentSimulator, rows: Sequence[MemberMessages], **more: Any) -> list[Verdict]:
    with sender(target, **more) as segment:
        return list(segment.deliver(segment.batches(rows)))


def sent_seqs(verdicts: Iterable[Verdict]) -> set[int]:
    """The seqs of all acknowledged ranges."""
    return {
        seq
        for each in verdicts
        if isinstance(each, Acknowledged)
        for seq in range(each.first_seq, each.last_seq + 1)
    }


def rejections(verdicts: Iterable[Verdict]) -> list[Rejected]:
    return [each for each in verdicts if isinstance(each, Rejected)]


def test_check_then_deliver(target: SegmentSimulator) -> None:
    """The happy path: the key is asked about, everything arrives, every range is acknowledged."""
    rows = plan(1_000)
    with sender(target) as segment:
        segment.check()
        verdicts = list(segment.deliver(segment.batches(rows)))
    assert ids(rows) == target.inbox.ids()
    assert sent_seqs(verdicts) == set(range(1, 1_001))
    assert 2_000 == sum(each.messages for each in verdicts if isinstance(each, Acknowledged))
    assert {1} == {each.requests for each in verdicts if isinstance(each, Acknowledged)}
    assert [] == target.inbox.clashes + target.inbox.complaints + target.discards


FAULTS: dict[str, list[Fault]] = {
    "none": [],
    "500 at first": [Fault(path="/v1/batch", status=500, times=3)],
    "500 after the work": [Fault(path="/v1/batch", status=500, processed=True, times=3)],
    "503 with Retry-After": [Fault(status=503, headers={"Retry-After": "20"}, times=2)],
    "429 with Retry-After": [Fault(status=429, headers={"Retry-After": "30"}, times=2)],
    "429 with X-RateLimit-Reset": [
        Fault(status=429, headers={"X-RateLimit-Reset": "3"}, nth=2, times=2)
    ],
    "429 without a word": [Fault(status=429, nth=2, times=3)],
    "408, 410, 460": [Fault(status=status, nth=1) for status in (408, 410, 460)],
    "cut before": [Fault(cut="before", times=2)],
    "cut after": [Fault(cut="after", times=2)],
    "cut in the answer": [Fault(cut="middle", times=2)],
    "slow": [Fault(delay_seconds=0.05)],
    "every third fails": [Fault(status=502, nth=n) for n in range(1, 30, 3)],
    "half an answer": [Fault(status=200, body='{"success": tr', times=2)],
    "a mixture": [
        Fault(cut="after", nth=1),
        Fault(status=429, headers={"Retry-After": "1"}, nth=2),
        Fault(status=500, processed=True, nth=3),
        Fault(cut="before", nth=4),
    ],
}


@pytest.mark.parametrize("rows", [1, 150, 1_200])
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_delivered_is_what_was_planned(
    target: SegmentSimulator, name: str, rows: int
) -> None:
    """After any fault that passes, everything arrived once, and all repetitions are identical."""
    target.faults.extend(FAULTS[name])
    planned = plan(rows)
    verdicts = deliver(target, planned)
    assert ids(planned) == target.inbox.ids()
    assert len(target.events) == 2 * rows
    assert sent_seqs(verdicts) == set(range(1, rows + 1))
    assert [] == rejections(verdicts)
    assert [] == target.inbox.clashes + target.inbox.complaints


def test_an_answer_too_late_is_repeated(target: SegmentSimulator) -> None:
    """The batch that timed out was taken after all; the repetition is the same."""
    target.faults.append(Fault(path="/v1/batch", delay_seconds=0.5, times=1))
    planned = plan(300)
    verdicts = deliver(target, planned, timeout_seconds=0.2)
    time.sleep(0.5)
    assert ids(planned) == target.inbox.ids()
    assert sent_seqs(verdicts) == set(range(1, 301))
    assert [] == target.inbox.clashes


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("poisoned", [[1], [77], [300], [5, 6, 200], list(range(1, 41))])
def test_a_poison_row_costs_itself(
    target: SegmentSimulator, status: int, poisoned: list[int]
) -> None:
    """A refused batch is halved until the culprit stands alone; its neighbours arrive."""
    for seq in poisoned:
        target.faults.append(
            Fault(
                poison={"properties.seq": seq}, status=status, body={"code": "bad", "message": ""}
            )
        )
    planned = plan(300)
    verdicts = deliver(target, planned)
    found = rejections(verdicts)
    assert poisoned == sorted(each.seq for each in found)
    assert {("track", "bad", status, True)} == {
        (each.kind, each.reason, each.status, each.unconfirmed) for each in found
    }
    assert [f"track-{each.seq}" for each in found] == [each.message_id for each in found]
    lost = {f"track-{seq}" for seq in poisoned}
    assert ids(planned) - lost == target.inbox.ids()
    assert sent_seqs(verdicts) == set(range(1, 301))
    told = sum(each.messages for each in verdicts if isinstance(each, Acknowledged))
    assert told == len(target.received)


def test_a_refused_identify_takes_its_track_along(target: SegmentSimulator) -> None:
    """Nothing of a row goes out after a refused call: it would be sent again with every run."""
    target.faults.append(Fault(poison={"traits.seq": 7}, status=400))
    planned = plan(20)
    found = rejections(deliver(target, planned))
    assert [(7, "identify", False)] == [(each.seq, each.kind, each.unconfirmed) for each in found]
    assert ids(planned) - {"identify-7", "track-7"} == target.inbox.ids()


def test_one_poison_row_among_many_costs_one_row(target: SegmentSimulator) -> None:
    """Among 100,000 rows: one rejection, some twenty requests more."""
    target.faults.append(Fault(poison={"userId": "u054321"}, status=400))
    target.inbox._keep = False
    rows = (
        MemberMessages(
            seq=seq, user=f"u{seq:06d}", messages=(message("track", seq, f"u{seq:06d}"),)
        )
        for seq in range(100_000)
    )
    with sender(target, batch_events_max=2_500) as segment:
        verdicts = list(segment.deliver(segment.batches(rows)))
    assert [54_321] == [each.seq for each in rejections(verdicts)]
    assert len(target.inbox.ids()) == 99_999
    assert len(target.requests) < 40 + 30


def test_nothing_to_send_is_acknowledged_without_a_request(target: SegmentSimulator) -> None:
    """Transitions without messages are acknowledged all the same."""
    planned = [MemberMessages(seq=seq, user="a", messages=()) for seq in (1, 2)]
    assert sent_seqs(deliver(target, planned)) == {1, 2}
    assert [] == target.requests


def test_a_rejection_comes_before_its_range(target: SegmentSimulator) -> None:
    """The caller can write rejections down before it acknowledges what covers them."""
    target.faults.append(Fault(poison={"properties.seq": 3}, status=400))
    verdicts = deliver(target, plan(10))
    assert [Rejected, Acknowledged] == [type(each) for each in verdicts]


def test_an_unconfirmed_attempt_marks_the_later_rejection(target: SegmentSimulator) -> None:
    """A row that may have arrived with a broken attempt is rejected as unconfirmed."""
    target.faults.append(Fault(cut="after", nth=1))
    target.faults.append(Fault(poison={"traits.seq": 2}, status=400))
    found = rejections(deliver(target, plan(4)))
    assert [(2, True)] == [(each.seq, each.unconfirmed) for each in found]
    target.faults.clear()
    target.faults.append(Fault(status=429, nth=1))
    target.faults.append(Fault(poison={"traits.seq": 2}, status=400))
    found = rejections(deliver(target, plan(4)))
    assert [(2, False)] == [(each.seq, each.unconfirmed) for each in found]


def test_an_unconfirmed_attempt_of_one_half_says_nothing_of_the_other(
    target: SegmentSimulator,
) -> None:
    """The first half of a bisected batch breaks off once; a rejection in the second is certain."""
    target.faults.append(Fault(path="/v1/batch", cut="after", nth=2))
    for seq in (2, 4):
        target.faults.append(Fault(poison={"traits.seq": seq}, status=400))
    verdicts = rejections(deliver(target, plan(4)))
    assert [(2, True), (4, False)] == [(row.seq, row.unconfirmed) for row in verdicts]


@pytest.mark.parametrize("body", [{"success": False}, {"ok": False, "okEvents": 1}])
def test_a_no_under_a_200_is_bisected(target: SegmentSimulator, body: Any) -> None:
    """Collectors that refuse with status 200 cost the refused row, not the others."""
    target.faults.append(Fault(poison={"traits.seq": 3}, status=200, body=body))
    verdicts = deliver(target, plan(10))
    assert [(3, 200)] == [(each.seq, each.status) for each in rejections(verdicts)]


def test_a_service_that_refuses_everything_is_not_asked_row_by_row(
    target: SegmentSimulator,
) -> None:
    """A wrong host that answers 400 to all ends the delivery, not the audience."""
    target.faults.append(Fault(status=400, body="nope"))
    with pytest.raises(ServiceFailed, match="500 requests in a row") as caught:
        deliver(target, plan(5_000), batch_events_max=2_500)
    assert "nope" in caught.value.message
    assert len(target.requests) < 520


class RefusingConnection:
    """A receiver that refuses every request with an odd seq in it, and accepts the others."""

    name = "receiver"
    section = "destination.receiver"
    address_key = "destination.receiver.url"
    clock_offset_seconds: float | None = None

    def __init__(self) -> None:
        self.refused = 0

    def check(self) -> None:
        return

    def measure_clock(self) -> None:
        return

    def send(self, messages: Sequence[Message], *, retries: int) -> SendOutcome:
        seqs = [int(message.message_id.partition("-")[2]) for message in messages]
        if any(seq % 2 for seq in seqs):
            self.refused += 1
            return SendOutcome(outcome="refused", status=400, reason="odd")
        return SendOutcome(outcome="accepted", status=200)

    def close(self) -> None:
        return


def test_refusals_with_acceptances_between_do_not_end_a_delivery() -> None:
    """Only refusals in a row do: every second row refused is 1,800 refusals, each row its own."""
    connection = RefusingConnection()
    limits = SegmentSettings(write_key="", events_per_second_max=0).send_limits()
    rows = plan(600)
    with Sender(connection, limits, clock=HurriedClock()) as sender:
        flow = sender.flow(sender.batches(rows))
        verdicts = [verdict for verdict in flow if verdict is not None]
    assert [row.seq for row in rows if row.seq % 2] == [row.seq for row in rejections(verdicts)]
    assert connection.refused > 2 * REFUSALS_IN_A_ROW_MAX


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("offset_seconds", "own_time"), [(3_500, True), (90_000, False)])
def test_a_clock_that_is_a_little_off_stops_nothing(
    target: SegmentSimulator, sign: int, offset_seconds: int, own_time: bool
) -> None:
    """Up to an hour, or for events that have no time of their own."""
    target.faults.append(Fault(date_offset_seconds=sign * offset_seconds))
    with sender(target) as segment:
        verdicts = list(segment.deliver(segment.batches(plan(2)), own_time=own_time))
    assert sent_seqs(verdicts) == {1, 2}


@pytest.mark.parametrize(("fault", "way"), [("date_ahead", "behind"), ("date_behind", "ahead of")])
def test_a_clock_that_is_off_sends_no_times_from_rows(
    target: SegmentSimulator, fault: str, way: str
) -> None:
    """Segment would shift the times of the events by the difference: nothing is sent."""
    target.faults.append(named_fault(fault))
    with sender(target) as segment, pytest.raises(DeliveryIncomplete, match=f"72.0 h {way}"):
        list(segment.deliver(segment.batches(plan(2)), own_time=True))
    assert [] == target.events


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=401), CredentialRefused),
        (Fault(status=403), CredentialRefused),
        (Fault(status=404), ServiceFailed),
        (Fault(status=302, headers={"Location": "https://login.example.com/?a=b"}), ServiceFailed),
        (Fault(status=200, body="<html>log in</html>"), ServiceFailed),
        (Fault(status=500), DeliveryIncomplete),
        (Fault(status=429, headers={"Retry-After": "200"}), DeliveryIncomplete),
        (Fault(cut="before"), DeliveryIncomplete),
    ],
)
def test_what_ends_a_delivery(
    target: SegmentSimulator, fault: Fault, error: type[TailraceError]
) -> None:
    """What came before is acknowledged, then the error; nothing after it is acknowledged."""
    rows = plan(2_000)
    verdicts: list[Verdict] = []
    with sender(target, retry_seconds_max=100) as segment:
        delivery = segment.deliver(segment.batches(rows))
        verdicts.append(next(delivery))
        target.faults.append(fault)
        with pytest.raises(error) as caught:
            verdicts.extend(delivery)
    assert caught.value.hint
    # A 500 that was processed aside, exactly what is acknowledged has arrived.
    arrived = {int(message_id.partition("-")[2]) for message_id in target.inbox.ids()}
    assert sent_seqs(verdicts) <= arrived
    assert len(sent_seqs(verdicts)) < 2_000


def test_giving_up_takes_as_long_as_it_may(target: SegmentSimulator, clock: HurriedClock) -> None:
    """retry_seconds_max bounds the time that a batch is tried, waiting included."""
    target.faults.append(Fault(status=503))
    with pytest.raises(DeliveryIncomplete, match="503"):
        deliver(target, plan(1), retry_seconds_max=300)
    # 0 + 0.5 + 1 … + 60 + 60 + 60, the next minute would be over.
    assert 200 <= clock.slept_seconds <= 300
    retries = [each.request.headers.get("x-retry-count") for each in target.requests]
    assert [None, *(str(n) for n in range(1, len(retries)))] == retries


def test_a_wait_longer_than_the_patience_is_not_begun(
    target: SegmentSimulator, clock: HurriedClock
) -> None:
    """Waiting less than was asked for would only be refused again."""
    target.faults.append(Fault(status=429, headers={"Retry-After": "250"}))
    with pytest.raises(DeliveryIncomplete, match="asks to wait 250 s"):
        deliver(target, plan(1), retry_seconds_max=100)
    assert (1, 0) == (len(target.requests), clock.slept_seconds)


def test_an_unreachable_server_is_reported_soon(
    target: SegmentSimulator, clock: HurriedClock
) -> None:
    """A host that never answered is not waited for as long as one that is down."""
    target.close()
    with pytest.raises(Unreachable, match="connection refused") as caught:
        deliver(target, plan(10))
    assert clock.slept_seconds < 30
    assert "destination.segment.host" in caught.value.hint


def test_retry_after_pauses_every_request_once() -> None:
    """Four requests in flight are all refused: each is sent once more, after the same pause."""
    with SegmentSimulator() as target:
        target.faults.append(
            Fault(status=429, headers={"Retry-After": "1"}, delay_seconds=0.1, times=4)
        )
        planned = plan(1_000)
        deliver(target, planned)
        statuses = [exchange.status for exchange in target.requests]
    assert 4 == statuses.count(429)
    assert 10 == statuses.count(200)
    assert ids(planned) == target.inbox.ids()


def test_what_was_put_off_stays_at_the_head() -> None:
    """One request at a time: what arrives has the order of the plan, whatever had to wait."""
    with SegmentSimulator() as target:
        target.faults.append(Fault(status=429, headers={"Retry-After": "1"}, nth=2))
        target.faults.append(Fault(status=503, nth=4))
        planned = plan(1_000)
        deliver(target, planned, requests_in_flight_max=1)
    arrived = [event["messageId"] for event in target.received]
    assert [message.message_id for member in planned for message in member.messages] == arrived


class Watcher(SegmentSimulator):
    """Notes how many requests are inside at once, and which users they share."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.most = 0
        self.shared: set[str] = set()
        self.inside: dict[int, set[str]] = {}
        self.watch = threading.Lock()

    def answer(self, request: Request) -> Response:
        users = {str(event["userId"]) for event in self.events_of(request)}
        with self.watch:
            for others in self.inside.values():
                self.shared |= users & others
            self.inside[id(request)] = users
            self.most = max(self.most, len(self.inside))
        time.sleep(0.01)
        answer = super().answer(request)
        with self.watch:
            del self.inside[id(request)]
        return answer


@pytest.mark.parametrize("in_flight", [1, 4, 8])
def test_requests_in_flight_are_bounded(in_flight: int) -> None:
    """As many as configured, and no more."""
    with Watcher() as target:
        deliver(target, plan(2_000), requests_in_flight_max=in_flight)
        assert target.most <= in_flight
        assert in_flight == 1 or target.most > 1


def test_the_window_is_as_wide_as_the_settings_let_it_grow() -> None:
    """By default up to eight, after some good answers: far from Segment, that is the pace."""
    with Watcher() as target:
        deliver(target, plan(4_000), batch_events_max=80)
        assert target.most == SegmentSettings(write_key="").requests_in_flight_max == 8


@pytest.mark.parametrize("order", ["by user", "shuffled"])
def test_a_user_is_never_in_flight_twice(order: str) -> None:
    """Users larger than a batch, in whatever order: their batches wait for each other."""
    users = [f"u{number // 250}" for number in range(2_000)]
    if order == "shuffled":
        random.Random(3).shuffle(users)
    rows = [member(seq, user=user) for seq, user in enumerate(users)]
    with Watcher() as target:
        target.faults.append(Fault(status=500, nth=3, times=2))
        verdicts = deliver(target, rows, requests_in_flight_max=8)
        assert set() == target.shared
        assert ids(rows) == target.inbox.ids()
        assert sent_seqs(verdicts) >= {row.seq for row in rows}


def test_rows_without_calls_do_not_slow_the_others_down() -> None:
    """Rows without a user are in every batch, and the batches are in flight at the same time."""
    rows = [
        MemberMessages(seq=seq, user="", messages=()) if seq % 2 else member(seq)
        for seq in range(1_500)
    ]
    with Watcher() as target:
        assert sent_seqs(deliver(target, rows)) == set(range(1_500))
        assert target.most > 1


def test_a_user_s_identify_stands_before_the_track(target: SegmentSimulator) -> None:
    """In whatever request they arrive, a row's calls arrive in their order."""
    target.faults.append(Fault(status=500, nth=2, times=2))
    target.faults.append(Fault(poison={"properties.seq": 150}, status=400))
    deliver(target, plan(400))
    seen: set[int] = set()
    for event in target.events:
        if event["type"] == "identify":
            seen.add(event["traits"]["seq"])
        else:
            assert event["properties"]["seq"] in seen


def test_batches_are_pulled_as_they_are_sent(target: SegmentSimulator) -> None:
    """The stream is read a window ahead, and verdicts come while it is read."""
    pulled = 0

    def stream() -> Iterator[MemberMessages]:
        nonlocal pulled
        for row in plan(5_000):
            pulled += 1
            yield row

    with sender(target) as segment:
        for number, _ in enumerate(segment.deliver(segment.batches(stream())), 1):
            assert pulled <= (number + 8 + PREPARED_BATCHES_MAX) * 101


def test_a_failing_source_loses_no_verdict(target: SegmentSimulator) -> None:
    """When the warehouse breaks off, what is in flight is still told, then the failure."""

    def stream() -> Iterator[MemberMessages]:
        yield from plan(350)
        raise RuntimeError("the warehouse broke off")

    verdicts: list[Verdict] = []
    with sender(target) as segment, pytest.raises(RuntimeError, match="broke off"):
        for verdict in segment.deliver(segment.batches(stream())):
            verdicts.append(verdict)
    assert sent_seqs(verdicts) == set(range(1, 301))
    assert len(target.inbox.ids()) == 600


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
@pytest.mark.timeout(60)
def test_ctrl_c_does_not_wait_for_a_pause_to_end() -> None:
    """The server asks for pauses of 100 s; an interrupt ends the delivery during the first one."""
    with SegmentSimulator() as target:
        target.faults.append(Fault(status=503, headers={"Retry-After": "100"}, nth=4, times=100))
        verdicts: list[Verdict] = []
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
        try:
            timer.start()
            with sender(target) as segment, pytest.raises(KeyboardInterrupt):
                for verdict in segment.deliver(segment.batches(plan(2_000))):
                    verdicts.append(verdict)
        finally:
            timer.cancel()
            signal.signal(signal.SIGINT, before)
        assert sent_seqs(verdicts) == {int(i.partition("-")[2]) for i in target.inbox.ids()}


def test_an_abandoned_delivery_sends_no_more(target: SegmentSimulator) -> None:
    """Sending stops when the caller stops reading verdicts."""
    with sender(target) as segment:
        delivery = segment.deliver(segment.batches(plan(20_000)))
        next(delivery)
        delivery.close()  # type: ignore[attr-defined]
        time.sleep(0.2)
        count = len(target.requests)
        time.sleep(0.2)
        assert len(target.requests) == count < 20


def test_a_delivery_that_ends_early_closes_what_it_reads_from() -> None:
    """A cursor that is open until the interpreter ends is reported on stderr, after the error."""
    closed: list[bool] = []

    def stream() -> Iterator[MemberMessages]:
        try:
            yield from plan(5_000)
        finally:
            closed.append(True)

    settings = SegmentSettings(host="http://127.0.0.1:9", write_key="k")
    client = SegmentClient(settings, clock=SystemClock())
    with Sender(client, replace(settings.send_limits(), retry_seconds_max=0.0)) as sender:
        # The error's traceback holds the batches, as this name does.
        batches = sender.batches(stream())
        flow = sender.flow(batches)
        with pytest.raises(Unreachable):
            list(flow)
        flow.cancel()
        assert closed == [True]
        assert [] == list(batches)


def test_deliveries_follow_each_other(target: SegmentSimulator) -> None:
    """One sender serves many audiences, also after one of them failed."""
    with sender(target, retry_seconds_max=1) as segment:
        list(segment.deliver(segment.batches(plan(100))))
        target.faults.append(Fault(status=500, times=10))
        with pytest.raises(DeliveryIncomplete):
            list(segment.deliver(segment.batches(plan(100))))
        target.faults.clear()
        assert sent_seqs(segment.deliver(segment.batches(plan(500)))) == set(range(1, 501))


def test_the_throttle_holds(target: SegmentSimulator, clock: HurriedClock) -> None:
    """1,000 events a second: 10,000 take ten, in batches of no more than a second's worth."""
    started = clock.monotonic()
    with sender(target, events_per_second_max=1_000, batch_events_max=2_500) as segment:
        batches: list[Batch] = []

        def noted() -> Iterator[Batch]:
            for batch in segment.batches(plan(5_000)):
                batches.append(batch)
                yield batch

        list(segment.deliver(noted()))
    assert max(batch.messages for batch in batches) <= 1_000
    assert 9 <= clock.monotonic() - started < 14


def test_batches_are_filled(target: SegmentSimulator) -> None:
    """The bodies that arrive are at least 90 % full, and never over the limit."""
    rows = [member(seq, size=300) for seq in range(3_000)]
    deliver(target, rows, batch_events_max=2_500)
    sizes = sorted(len(each.request.content()) for each in target.requests)
    assert sizes[-1] <= 490_000
    # One of them is what was left over.
    assert sizes[1] >= 0.9 * 490_000


def test_sent_rows_are_let_go(target: SegmentSimulator) -> None:
    """While rows are sent, only those of a few batches are in memory, whatever the total."""
    limits = {"batch_events_max": 200, "requests_in_flight_max": 4}
    in_memory = []

    def stream() -> Iterator[MemberMessages]:
        for seq in range(1, 10_001):
            yield MemberMessages(seq=-seq, user=f"u{seq}", messages=(message("track", seq, "u"),))
            if not seq % 1_000:
                objects = gc.get_objects()
                in_memory.append(
                    sum(isinstance(row, MemberMessages) and row.seq < 0 for row in objects)
                )
                del objects

    with sender(target, **limits) as segment:
        for _ in segment.deliver(segment.batches(stream())):
            pass
    # A worker holds its last batch until it takes the next one; one is cut, and one waits.
    batches = 2 * limits["requests_in_flight_max"] + PREPARED_BATCHES_MAX + 2
    assert len(in_memory) == 10
    assert 0 < max(in_memory) <= batches * limits["batch_events_max"]


def test_the_engine_s_own_clock_is_the_default() -> None:
    """Nothing but settings is needed."""
    with SegmentSimulator() as target:
        settings = SegmentSettings(host=target.url, write_key=target.write_key)
        client = SegmentClient(settings, clock=SystemClock())
        with Sender(client, settings.send_limits()) as sender:
            flow = sender.flow(sender.batches(plan(1)))
            assert sent_seqs(verdict for verdict in flow if verdict is not None) == {1}
    assert isinstance(target.clock, SystemClock)
