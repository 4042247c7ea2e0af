"""From a transition to client-ready calls."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from destinations.segment.payload_cases import (
    NAMESPACE,
    PAYLOADS,
    PLANNED_AT,
    broken_rules,
    read_case,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.audience.audience import Audience, Consent, Field, Group, Identify, Track
from tailrace.destinations.messages import Transition
from tailrace.destinations.protocol import TransitionFacts
from tailrace.destinations.segment.mapper import Mapper
from tailrace.encoding.values import equal_when_sent, same
from tailrace.errors import HeaderInvalid

GOLDEN = sorted(PAYLOADS.glob("*.yaml"))
ANN = {"id": "003", "ltv": 1, "email": "ann@example.com", "account": "001"}
VIP = Audience(
    name="vip",
    key=("id",),
    user_id="id",
    track=Track(
        entered="Segment Entered",
        changed="VIP Changed",
        exited="Segment Exited",
        properties={"ltv": Field(column="ltv")},
    ),
    identify=Identify(traits={"email": Field(column="email")}, membership_trait="vip"),
    group=Group(group_id="account"),
)


def mapper(audience: Audience = VIP, **changes: Any) -> Mapper:
    return Mapper(audience, **{"namespace": NAMESPACE, "planned_at": PLANNED_AT, **changes})


def transition(op: Any = "entered", **changes: Any) -> Transition:
    made = Transition(
        seq=1,
        op=op,
        reason="data",
        base_v=1,
        key=("003",),
        new=ANN,
        old=ANN if op == "changed" else {},
    )
    return made._replace(**changes)


def bodies(made: Mapper, moved: Transition) -> list[dict[str, Any]]:
    calls, refusals, _ = made.messages(moved)
    assert [] == refusals
    return [orjson.loads(call.body) for call in calls]


def message_ids(moved: Transition, audience: Audience = VIP, **changes: Any) -> list[str]:
    calls, _, _ = mapper(audience, **changes).messages(moved)
    return [call.message_id for call in calls]


# What is sent: golden files


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    """A transition under tests/payloads makes the calls, or the refusals, that stand below it."""
    case = read_case(path)
    calls, refusals, _ = case.mapper.messages(case.transition)
    assert case.refusals == [
        {"kind": each.kind, "rule": each.rule, "path": each.path} for each in refusals
    ]
    assert case.calls == [orjson.loads(call.body) for call in calls]
    assert [(m["type"], m["messageId"]) for m in case.calls] == [
        (call.kind, call.message_id) for call in calls
    ]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_payloads_hold_to_the_spec(path: Path) -> None:
    """The rule set written from Segment's documentation finds nothing in the golden payloads."""
    assert [] == [rule for message in read_case(path).calls for rule in broken_rules(message)]


def test_the_rule_set_is_not_blind() -> None:
    """What Segment documents as wrong is found by the rule set."""
    good = bodies(mapper(), transition())[2]
    for wrong in (
        {"userId": 7},
        {"userId": ""},
        {"event": ""},
        {"properties": []},
        {"properties": {}},
        {"messageId": "x" * 100},
        {"timestamp": "2026-11-22T05:00:00"},
        {"context": {"consent": {"categoryPreferences": {}}}},
        {"context": {"consent": {"categoryPreferences": {"ads": "yes"}}}},
        {"context": {"externalIds": [{"id": "1", "type": "Braze_Id"}]}},
        {"integrations": {"All": "no"}},
        {"event": "Segment Consent Preference Updated"},
    ):
        assert broken_rules({**good, **wrong}), wrong
    assert broken_rules({name: good[name] for name in good if name != "userId"})


def test_the_bytes_are_these() -> None:
    """One message, letter by letter: UTF-8, no blanks, the id first."""
    audience = replace(VIP, identify=None, group=None)
    calls, _, user = mapper(audience).messages(transition(new={**ANN, "ltv": "Zoë"}))
    assert "003" == user
    assert (
        '{"messageId":"tr1-1bdd84f3bc213450995d4f8018c46f3c04957c33",'
        '"timestamp":"2026-11-22T05:00:00.000000Z","userId":"003",'
        '"event":"Segment Entered","integrations":{"Salesforce":false},"type":"track",'
        '"properties":{"audience_key":"vip","ltv":"Zoë"}}'
    ) == calls[0].body.decode()


def test_a_header_in_another_order_gives_the_same_bytes() -> None:
    """The order of names in a header, or of columns in a row, is not content."""
    fields = {"b": Field(column="ltv"), "a.y": Field(column="email"), "a.x": Field(value=1)}
    for audience in (VIP, replace(VIP, payload="engage")):
        assert audience.track is not None
        one = replace(audience, track=replace(audience.track, properties=fields))
        backwards = dict(reversed(fields.items()))
        other = replace(audience, track=replace(audience.track, properties=backwards))
        row = dict(reversed(ANN.items()))
        assert mapper(one).messages(transition()) == mapper(other).messages(transition(new=row))


def test_salesforce_is_left_out_unless_the_header_says_otherwise() -> None:
    """What came from Salesforce does not loop back."""
    loud = replace(VIP, integrations={"All": True, "Salesforce": True})
    assert {"Salesforce": False} == bodies(mapper(), transition())[0]["integrations"]
    assert {"All": True, "Salesforce": True} == bodies(mapper(loud), transition())[0][
        "integrations"
    ]


def test_an_empty_consent_object_never_leaves() -> None:
    """Segment reads one as a withdrawal from everything."""
    empty = replace(VIP, context={"consent": {"categoryPreferences": {}}, "active": False})
    assert [{"active": False}] * 3 == [m["context"] for m in bodies(mapper(empty), transition())]
    assert all(
        "context" not in m for m in bodies(mapper(replace(VIP, consent=Consent())), transition())
    )


def test_consent_rides_on_every_call() -> None:
    """A call without it would not be held back anywhere."""
    asked = replace(VIP, consent=Consent(categories={"ads": "ads"}))
    for op in ("entered", "exited"):
        for message in bodies(mapper(asked), transition(op, new={**ANN, "ads": True})):
            assert {"ads": True} == message["context"]["consent"]["categoryPreferences"]


def test_a_name_is_a_value_or_an_object() -> None:
    """`address` and `address.city` cannot both be mapped."""
    fields = {"address": Field(column="ltv"), "address.city": Field(column="email")}
    with pytest.raises(HeaderInvalid, match="address"):
        mapper(replace(VIP, identify=Identify(traits=fields)))


def test_a_digest_that_stays_is_not_a_previous_value() -> None:
    """The same address in other letters gives the same digest: nothing that was sent moved."""
    hashed = {"email": Field(column="email", hash="sha256"), "ltv": Field(column="ltv")}
    assert VIP.track is not None
    audience = replace(VIP, track=replace(VIP.track, properties=hashed))
    moved = transition("changed", new={**ANN, "email": "ANN@example.com ", "ltv": 2})
    assert {"ltv": 1} == bodies(mapper(audience), moved)[-1]["properties"]["previous"]


def test_values_that_cannot_travel_unchanged_are_counted() -> None:
    """NaN and infinity are null; the mapper knows how many there were."""
    made = mapper()
    assert None is bodies(made, transition(new={**ANN, "ltv": math.nan}))[2]["properties"]["ltv"]
    assert 1 == made.encoder.nulled


NULL_AND_NAN = [(None, math.nan), (math.nan, None), (math.inf, None), (1, Decimal("1.0"))]


@pytest.mark.parametrize(("before", "after"), NULL_AND_NAN)
def test_values_sent_as_the_same_json_are_no_change(before: Any, after: Any) -> None:
    """NULL and NaN are both null in JSON: no event, and no empty `previous`."""
    moved = transition("changed", new={**ANN, "ltv": after}, old={**ANN, "ltv": before})
    assert [] == bodies(mapper(), moved)
    both = moved._replace(new={**moved.new, "email": "b@example.com"})
    assert ["identify"] == [message["type"] for message in bodies(mapper(), both)]


@pytest.mark.parametrize("change", [{"hash": "sha256"}, {"normalize": "email"}])
def test_a_changed_spelling_that_is_sent_the_same_is_no_change(change: dict[str, Any]) -> None:
    """The hash of a trimmed and lower-cased address stays: neither an event nor an identify."""
    assert VIP.track is not None
    email = {"email": Field(column="email", **change)}
    audience = replace(
        VIP, track=replace(VIP.track, properties=email), identify=Identify(traits=email)
    )
    moved = transition("changed", new={**ANN, "email": "ANN@example.com "})
    assert [] == bodies(mapper(audience), moved)
    other = transition("changed", new={**ANN, "email": "eve@example.com"})
    assert ["identify", "track"] == [message["type"] for message in bodies(mapper(audience), other)]


@pytest.mark.parametrize(
    ("long", "kept"),
    [
        ("x" * 17_000, "x" * 200 + "…"),
        ([1] * 9_000, None),
        ({"deep": "x" * 17_000}, {"deep": "x" * 200 + "…"}),
    ],
)
def test_previous_is_shortened_where_the_event_would_be_too_large(long: Any, kept: Any) -> None:
    """A long value that changes is sent; its previous value is cut, or left out if it is a list."""
    new = ["y"] * 4_000 if isinstance(long, list) else "y" * 17_000
    made = mapper(replace(VIP, group=None, identify=None))
    (event,) = bodies(
        made, transition("changed", new={**ANN, "ltv": new}, old={**ANN, "ltv": long})
    )
    assert ({} if kept is None else {"ltv": kept}) == event["properties"]["previous"]
    assert 1 == made.shortened
    (warning,) = made.value_warnings()
    assert warning.message.startswith("1 changes sent with shortened")


def test_previous_is_left_out_where_its_short_form_is_too_large() -> None:
    """Many shortened values can still be too much; the event goes without any."""
    names = [f"n{number}" for number in range(60)]
    assert VIP.track is not None
    track = replace(VIP.track, properties={name: Field(column=name) for name in names})
    made = mapper(replace(VIP, group=None, identify=None, track=track))
    new = {**ANN, **dict.fromkeys(names, "y" * 450)}
    old = {**ANN, **dict.fromkeys(names, "x" * 450)}
    (event,) = bodies(made, transition("changed", new=new, old=old))
    assert "previous" not in event["properties"]
    assert 1 == made.shortened
    # A value that is too large by itself is still refused, with the whole message as evidence.
    huge = {**ANN, **dict.fromkeys(names, "y" * 600)}
    assert "event_over_32_kb" == made.messages(transition("changed", new=huge, old=old))[1][0].rule


# Who is meant


@pytest.mark.parametrize(
    ("before", "after", "users"),
    [
        (("u1", "a1"), ("u2", "a1"), {"u1", "u2"}),
        (("u1", None), (None, "a1"), {"u1", "a1"}),
        ((None, "a1"), (None, "a2"), {"a1", "a2"}),
        ((None, "a1"), ("u1", "a1"), set()),
        (("u1", "a1"), (None, "a1"), set()),
        (("u1", "a1"), ("u1", "a2"), {"u1"}),
    ],
)
def test_who_is_another_user(
    before: tuple[str | None, str | None], after: tuple[str | None, str | None], users: set[str]
) -> None:
    """Only ids without anything in common are two people; one of them never exits itself."""
    audience = replace(VIP, user_id="user", anonymous_id="anon", group=None)
    old = {**ANN, "user": before[0], "anon": before[1]}
    new = {**ANN, "user": after[0], "anon": after[1]}
    sent = bodies(mapper(audience), transition("changed", new=new, old=old))
    left = {
        m.get("userId", m.get("anonymousId")) for m in sent if m.get("event") == "Segment Exited"
    }
    came = {
        m.get("userId", m.get("anonymousId")) for m in sent if m.get("event") == "Segment Entered"
    }
    if len(users) == 2:
        assert users == left | came and not left & came
    else:
        assert set() == left | came
        assert ["identify", "track"] == [m["type"] for m in sent]


def test_a_user_that_appears_only_enters() -> None:
    """Without an earlier id, no user exits."""
    audience = replace(VIP, user_id="user")
    moved = transition("changed", new={**ANN, "user": "u1"}, old={**ANN, "user": None})
    assert ["identify", "group", "track"] == [m["type"] for m in bodies(mapper(audience), moved)]


def test_a_change_without_old_values_sends_everything() -> None:
    """Where the last delivery has no known outcome, each call is made, without `previous`."""
    calls = bodies(mapper(), transition("changed", old={}))
    assert ["identify", "group", "track"] == [m["type"] for m in calls]
    assert {"audience_key": "vip", "ltv": 1} == calls[2]["properties"]
    assert "VIP Changed" == calls[2]["event"]


def test_a_refused_transition_makes_no_call() -> None:
    """The exit of the old user waits with the rest, and is not sent again with each run."""
    audience = replace(VIP, user_id="user")
    moved = transition("changed", new={**ANN, "user": None}, old={**ANN, "user": "u1"})
    calls, refusals, _ = mapper(audience).messages(moved)
    assert ([], ["no_user_anon_id"]) == (calls, [each.rule for each in refusals])


# What is refused


@pytest.mark.parametrize(
    ("changes", "rule", "path"),
    [
        ({"id": ["a"]}, "id_not_string", "userId"),
        ({"ltv": object()}, "value_not_supported", "ltv"),
        ({"ltv": {"deep": [object()]}}, "value_not_supported", "ltv"),
        ({"ltv": "x" * 32_768}, "event_over_32_kb", ""),
        ({"account": {"a": 1}}, "id_not_string", "groupId"),
    ],
)
def test_a_refusal_names_the_rule_and_the_place(
    changes: Mapping[str, Any], rule: str, path: str
) -> None:
    """A refusal says which rule and where, and shows nothing of the person."""
    calls, refusals, _ = mapper().messages(transition(new={**ANN, **changes}))
    assert [] == calls
    assert [(rule, path)] == [(each.rule, each.path) for each in refusals]
    assert "ann@example.com" not in repr(refusals)


def test_the_largest_message_that_segment_takes_is_sent() -> None:
    """Below 32 KB is below: 32,767 bytes go, 32,768 do not."""
    empty = mapper().messages(transition(new={**ANN, "ltv": ""}))[0][2].body
    room = 32_767 - len(empty)
    calls, _, _ = mapper().messages(transition(new={**ANN, "ltv": "x" * room}))
    assert 32_767 == len(calls[2].body)
    assert [] == mapper().messages(transition(new={**ANN, "ltv": "x" * (room + 1)}))[0]


@pytest.mark.parametrize(("name", "rule"), [(" ", "event_not_defined"), (7, "event_not_string")])
def test_an_event_needs_a_name(name: Any, rule: str) -> None:
    """An audience restored from elsewhere may hold what no header would."""
    audience = replace(VIP, track=Track(entered=name, exited=None))
    _, refusals, _ = mapper(audience).messages(transition())
    assert [(rule, "event")] == [(each.rule, each.path) for each in refusals]


# What stays here

SECRET = "0b1f-Ännë secret@example.com"


@pytest.mark.parametrize("op", ["entered", "changed", "exited"])
@pytest.mark.parametrize("payload", ["plain", "engage"])
def test_nothing_leaves_that_is_not_mapped(op: str, payload: Any) -> None:
    """A column of the row that the header does not name is in no call."""
    row = {**ANN, "unmapped": SECRET}
    old = {**row, "ltv": 2, "unmapped": SECRET[::-1]} if op == "changed" else {}
    calls, _, _ = mapper(replace(VIP, payload=payload)).messages(transition(op, new=row, old=old))
    assert calls
    assert all(b"secret" not in call.body and b"terces" not in call.body for call in calls)


@pytest.mark.parametrize("change", [{"hash": "sha256"}, {"mask": True}])
@pytest.mark.parametrize("payload", ["plain", "engage"])
@pytest.mark.parametrize("op", ["entered", "changed", "exited"])
def test_what_is_hashed_or_masked_is_so_everywhere(
    op: str, payload: Any, change: dict[str, Any]
) -> None:
    """In properties, traits, `previous`, last-known values and the context alike."""
    email = {"email": Field(column="email", **change)}
    audience = replace(
        VIP,
        payload=payload,
        track=Track(entered="A B", changed="A C", exited="A D", properties=email),
        identify=Identify(traits=email),
        group=Group(group_id="account", traits=email),
    )
    row = {**ANN, "email": SECRET}
    old = {**row, "email": "old.secret@example.com"} if op == "changed" else {}
    calls, _, _ = mapper(audience).messages(transition(op, new=row, old=old))
    assert calls
    assert all(b"secret" not in call.body for call in calls)


# messageId


def test_ids_are_the_same_in_another_process() -> None:
    """Nothing of a process, its hash seed or its clock goes into an id."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from destinations.segment.test_mapper import message_ids, transition\n"
        "print(*message_ids(transition()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert message_ids(transition()) == printed.stdout.split()


def test_an_id_is_short_and_plain() -> None:
    """Fit for Segment (below 100 characters) and for those who cut at 64."""
    for each in message_ids(transition()):
        assert each.startswith("tr1-")
        assert 44 == len(each)
        assert each[4:] == each[4:].lower() and int(each[4:], 16)


def test_planning_again_keeps_the_ids() -> None:
    """The time of planning is not part of an id."""
    later = PLANNED_AT + timedelta(days=1)
    assert message_ids(transition()) == message_ids(transition(), planned_at=later)
    assert message_ids(transition()) == message_ids(transition(seq=9, reason="definition"))


def test_going_there_and_back_again_gives_new_ids() -> None:
    """A→B→A→B: four different ids, since each starts from another version."""
    a, b = {**ANN, "ltv": 1}, {**ANN, "ltv": 2}
    steps = [(1, b, a), (2, a, b), (3, b, a), (4, a, b)]
    ids = [message_ids(transition("changed", base_v=v, new=n, old=o))[0] for v, n, o in steps]
    assert 4 == len(set(ids))


def test_whatever_is_said_differently_has_another_id() -> None:
    """Namespace, audience, key, version, op and content each make another id."""
    hers = transition()
    told = [
        message_ids(hers),
        message_ids(hers, namespace="another"),
        message_ids(hers, replace(VIP, name="vip2")),
        message_ids(transition(key=("004",))),
        message_ids(transition(base_v=2)),
        message_ids(transition(base_v=-2)),
        message_ids(transition("exited")),
        message_ids(hers, replace(VIP, integrations={"All": False})),
    ]
    flat = [each for ids in told for each in ids]
    assert len(flat) == len(set(flat))


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
keys = st.lists(names | st.integers(-99, 99), min_size=1, max_size=3).map(tuple)


@given(st.lists(st.tuples(names, names, keys, st.integers(-9, 99)), min_size=2, max_size=6))
def test_no_part_of_an_id_runs_into_the_next(parts: list[tuple[str, str, Any, int]]) -> None:
    """Different namespaces, names, keys and versions never meet in one id."""
    ids = {
        message_ids(transition(key=key, base_v=v), replace(VIP, name=f"n{name}"), namespace=space)[
            2
        ]
        for space, name, key, v in parts
    }
    assert len(set(parts)) == len(ids)


def test_a_key_that_is_mapped_need_not_be_given_twice() -> None:
    """The key's columns are found in the key where the row does not repeat them."""
    row = {name: value for name, value in ANN.items() if name != "id"}
    assert mapper().messages(transition()) == mapper().messages(transition(new=row))


# Any audience, any row

COLUMNS = ("c1", "c2", "c3", "c4")
values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals(allow_nan=False, places=2, min_value=-(10**6), max_value=10**6)
    | st.text(st.characters(exclude_categories=()), max_size=8)
    | st.datetimes()
    | st.lists(st.integers(), max_size=2)
)
ids = st.none() | st.integers(0, 3) | st.sampled_from(["u1", "u2", "", " "])
rows = st.fixed_dictionaries(
    {
        **dict.fromkeys(COLUMNS, values),
        "user": ids,
        "anon": ids,
        "ext": ids,
        "grp": ids,
        "ok": st.none() | st.booleans(),
        "at": st.none() | st.datetimes(),
        "mid": st.none() | st.text(min_size=1, max_size=20),
    }
)
fields = st.builds(
    Field,
    column=st.sampled_from(COLUMNS),
    hash=st.none(),
    drop_if_null=st.booleans(),
) | st.builds(Field, value=st.integers() | st.booleans())
mappings = st.dictionaries(
    st.sampled_from(["ltv", "tier", "place.city", "place.zip", "since"]), fields, max_size=4
)
events = st.none() | st.sampled_from(["Segment Entered", "Order Won"])
audiences = st.builds(
    Audience,
    name=st.just("vip"),
    key=st.just(("id",)),
    user_id=st.just("user"),
    anonymous_id=st.none() | st.just("anon"),
    external_ids=st.just({}) | st.just({"salesforce_id": "ext"}),
    track=st.none()
    | st.builds(
        Track,
        entered=events,
        changed=events,
        exited=events,
        properties=mappings,
        timestamp=st.none() | st.just("at"),
        message_id=st.none() | st.just("mid"),
        initial=st.sampled_from(["send", "skip"]),
    ),
    identify=st.none()
    | st.builds(Identify, traits=mappings, membership_trait=st.none() | st.just("is_vip")),
    group=st.none() | st.builds(Group, group_id=st.just("grp"), traits=mappings),
    payload=st.sampled_from(["plain", "engage"]),
    context=st.just({}) | st.just({"active": False}),
    consent=st.none() | st.just(Consent(categories={"ads": "ok"})),
)


@settings(max_examples=300)
@given(audiences, st.sampled_from(["entered", "changed", "exited"]), rows, rows, st.booleans())
def test_any_payload_holds_to_the_spec_and_is_counted_beforehand(
    audience: Audience, op: str, new: dict[str, Any], other: dict[str, Any], first: bool
) -> None:
    """Whatever is made passes the documentation's rules; `message_counts` knows how much it is."""
    made = mapper(audience)
    old = {**new, **dict(list(other.items())[::2])} if op == "changed" else {}
    reason = "initial" if first and op == "entered" else "data"
    moved = transition(op, new=new, old=old, reason=reason)
    calls, refusals, user = made.messages(moved)
    assert (calls, refusals, user) == mapper(audience).messages(moved)
    messages = [orjson.loads(call.body) for call in calls]
    assert [] == [rule for message in messages for rule in broken_rules(message)]
    assert [message["type"] for message in messages] == [call.kind for call in calls]
    if refusals:
        assert {"no_user_anon_id"} == {each.rule for each in refusals}
        return
    assert user
    before = made.read_ids(old) if old else (None, None)
    if op == "changed" and not any(before):
        return
    counted = made.message_counts(facts(op, reason, audience, made, new, old))
    assert +Counter(counted) == Counter(call.kind for call in calls)


def facts(
    op: str,
    reason: str,
    audience: Audience,
    made: Mapper,
    new: dict[str, Any],
    old: dict[str, Any],
) -> TransitionFacts:
    """What changed between two rows; values that are sent as the same JSON are equal."""

    def moved(columns: tuple[str, ...]) -> bool:
        return bool(old) and any(
            not same(new[name], old[name]) and not equal_when_sent(new[name], old[name])
            for name in columns
        )

    one, other = (made.read_ids(old) if old else (None, None)), made.read_ids(new)
    together = one[0] == other[0] if one[0] and other[0] else one[1] and one[1] == other[1]
    groups = audience.column_groups.items()
    return TransitionFacts(
        op=op,
        reason=reason,
        changed=frozenset(name for name, columns in groups if moved(columns)),
        moved=bool(old) and not together,
        complete=bool(str(new["grp"]).strip()) and new["grp"] is not None,
    )


def test_a_decimal_and_its_float_are_no_change() -> None:
    """A column that was widened repeats nothing."""
    moved = transition("changed", new={**ANN, "ltv": 1.5}, old={**ANN, "ltv": Decimal("1.50")})
    assert [] == bodies(mapper(), moved)


def test_a_naive_time_of_planning_is_utc() -> None:
    """The clock hands out UTC; a naive one is read as that."""
    naive = datetime(2026, 11, 22, 5)
    assert PLANNED_AT == naive.replace(tzinfo=UTC)
    sent = bodies(mapper(planned_at=naive), transition())
    assert "2026-11-22T05:00:00.000000Z" == sent[0]["timestamp"]
