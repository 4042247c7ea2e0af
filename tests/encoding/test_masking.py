"""What the ledger keeps of a refused message."""

from __future__ import annotations

import json

import orjson

from tailrace.audience.audience import Audience, Field, Track
from tailrace.encoding.masking import PAYLOAD_BYTES_MAX, Masker

AUDIENCE = Audience(
    name="vips",
    key=("id",),
    user_id="id",
    external_ids={"salesforce_contact_id": "id"},
    track=Track(
        entered="VIP Entered",
        exited=None,
        properties={"address.city": Field(column="city"), "plan": Field(value="gold")},
    ),
)


def masked(message: dict[str, object]) -> dict[str, object]:
    told: dict[str, object] = json.loads(Masker(AUDIENCE).message(orjson.dumps(message)))
    return told


def test_names_of_the_header_stay_and_every_value_goes() -> None:
    told = masked(
        {
            "type": "track",
            "event": "VIP Entered",
            "userId": "003AbCdEfGhAX2zQAB",
            "properties": {"address": {"city": "Oslo"}, "plan": "gold", "audience_key": None},
        }
    )
    assert {
        "type": "track",
        "event": "VIP Entered",
        "userId": "003***AX2z",
        "properties": {"address": {"city": "O***"}, "plan": "g***", "audience_key": None},
    } == told


def test_a_name_that_came_from_the_data_is_a_value() -> None:
    """The keys of a map may be addresses of people."""
    told = masked({"type": "track", "properties": {"plan": {"ada@example.com": 3}}})
    assert {"plan": {"a***@***": "<int>"}} == told["properties"]


def test_a_list_is_cut_short_and_says_so() -> None:
    told = masked({"type": "track", "properties": {"plan": ["abc"] * 50}})
    assert {"plan": ["a***", "a***", "a***", "… 47 more"]} == told["properties"]


def test_what_is_too_large_keeps_its_size_only() -> None:
    large = {f"plan{n}": {"plan": ["x" * 99] * 9} for n in range(2_000)}
    wide = {"type": "track", "event": "E", "properties": {str(n): large for n in range(90)}}
    text = Masker(AUDIENCE).message(orjson.dumps(wide))
    assert len(text) < PAYLOAD_BYTES_MAX
    assert {"type", "event"} <= json.loads(text).keys()


def test_a_row_stands_for_the_message_that_could_not_be_made() -> None:
    told = json.loads(Masker(AUDIENCE).row("track", {"id": b"\x00", "city": "Oslo"}))
    assert {"type": "track", "row": {"city": "O***", "id": "<bytes>"}} == told
