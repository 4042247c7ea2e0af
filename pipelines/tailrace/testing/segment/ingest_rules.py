"""Ingest rules of Segment by their official names, and limits that it enforces without an error.

Segment applies both after it has answered 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BODY_BYTES_MAX = 500_000
EVENT_BYTES_MAX = 32_768
BATCH_EVENTS_MAX = 2_500
MESSAGE_ID_CHARS_MAX = 100
PROPERTIES_MAX = 10_000
KINDS = ("track", "identify", "group", "page", "screen", "alias")
CONSENT_EVENT = "Segment Consent Preference Updated"


def broken_rule(message: Mapping[str, Any]) -> str | None:
    """The first ingest rule that a message breaks; None if it is accepted."""
    kind = message.get("type")
    if kind not in KINDS:
        return "invalid_type"
    return (
        _identity(message, str(kind))
        or _shape(message, str(kind))
        or _consent(message)
        or _silent_limit(message)
    )


def _identity(message: Mapping[str, Any], kind: str) -> str | None:
    identified = False
    for name in ("userId", "anonymousId"):
        value = message.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            return "id_not_string"
        identified = True
    if not identified:
        return "no_user_anon_id"
    needed = {"group": "groupId", "alias": "previousId"}.get(kind)
    if needed is None:
        return None
    value = message.get(needed)
    if value is None:
        return "id_required"
    return None if isinstance(value, str) and value else "id_not_string"


def _shape(message: Mapping[str, Any], kind: str) -> str | None:
    if kind == "track":
        event = message.get("event")
        if event is None or event == "":
            return "event_not_defined"
        if not isinstance(event, str):
            return "event_not_string"
    for name in ("properties", "traits"):
        value = message.get(name)
        if value is not None and not isinstance(value, Mapping):
            return f"{name}_not_object"
    if kind in ("page", "screen"):
        for name in ("name", "category"):
            value = message.get(name)
            if value is not None and not isinstance(value, str):
                return f"{name}_not_string"
    return None


def _consent(message: Mapping[str, Any]) -> str | None:
    if message.get("event") != CONSENT_EVENT:
        return None
    context = message.get("context")
    consent = context.get("consent") if isinstance(context, Mapping) else None
    if not isinstance(consent, Mapping) or "categoryPreferences" not in consent:
        return "consent_categorypreferences_should_exist"
    preferences = consent["categoryPreferences"]
    if not isinstance(preferences, Mapping):
        return "consent_categorypreferences_fields_should_be_object"
    if not all(isinstance(value, bool) for value in preferences.values()):
        return "consent_categorypreferences_fields_should_be_bool"
    return None


def _silent_limit(message: Mapping[str, Any]) -> str | None:
    """Documented limits without a named rule."""
    message_id = message.get("messageId")
    if message_id is not None and not isinstance(message_id, str):
        return "message_id_not_string"
    if message_id is not None and len(message_id) >= MESSAGE_ID_CHARS_MAX:
        return "message_id_too_long"
    properties = message.get("properties")
    if isinstance(properties, Mapping) and len(properties) > PROPERTIES_MAX:
        return "too_many_properties"
    return None
