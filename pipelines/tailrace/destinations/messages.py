"""The data that passes through every destination: transitions in, messages and refusals out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

Op = Literal["entered", "changed", "exited"]
OPS: tuple[Op, ...] = ("entered", "changed", "exited")


class Transition(NamedTuple):
    """A member that entered, changed or exited, with the values that decide what is sent.

    Attributes:
        seq: Its number in the outbox of its run, from 1.
        base_v: The member's version in the snapshot before this transition.
        new: The current values; for an exit, the last known ones.
        old: The values before a change. Empty if the last delivery is unconfirmed; then every
            message of the member is sent, without previous values.
        stays: An exit of a user who remains a member through another row.
        at: The planning time of an earlier attempt that is repeated byte for byte.
    """

    seq: int
    op: Op
    reason: str
    base_v: int
    key: tuple[Any, ...]
    new: Mapping[str, Any]
    old: Mapping[str, Any]
    stays: bool = False
    at: datetime | None = None


class Message(NamedTuple):
    """One encoded message.

    Attributes:
        kind: The destination's name for it, for example `track`.
        body: The JSON as it is sent, without a trailing newline.
        event: The event name, for messages that have one.
        route: Where and how it is sent. Messages of different routes are never in one request.
    """

    kind: str
    message_id: str
    body: bytes
    event: str = ""
    route: str = ""


class MemberMessages(NamedTuple):
    """All messages of one transition, in the order in which they must arrive.

    `user` identifies the receiver: two requests with messages of one user are never in flight
    together. A transition without messages is acknowledged without a request.
    """

    seq: int
    user: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a transition is not sent: a rule and a path in the message, never a value.

    `body` is the message, if it could be built.
    """

    kind: str
    rule: str
    path: str
    message_id: str | None = None
    body: bytes = field(default=b"", compare=False, repr=False)
