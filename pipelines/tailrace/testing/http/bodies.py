"""Response bodies that no client expects from a JSON or CSV API, by name."""

from __future__ import annotations

DEEP_JSON_LEVELS = 100_000

_HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Down.</body></html>"

# name -> (Content-Type, body)
UNEXPECTED_BODIES: dict[str, tuple[str, bytes]] = {
    "html": ("text/html;charset=UTF-8", _HTML),
    "html_with_bom": ("text/html;charset=UTF-8", b"\xef\xbb\xbf" + _HTML),
    "html_as_json": ("application/json;charset=UTF-8", _HTML),
    "empty": ("application/json;charset=UTF-8", b""),
    "spaces": ("application/json;charset=UTF-8", b" \r\n "),
    "garbage": ("text/plain", b"%%%% not an answer %%%%"),
    "binary": ("application/octet-stream", bytes(range(256))),
    "not_utf8": ("application/json;charset=UTF-8", b'{"success": "\xff\xfe"}'),
    "cut_json": ("application/json;charset=UTF-8", b'{"success": tr'),
    "deep_json": (
        "application/json;charset=UTF-8",
        b"[" * DEEP_JSON_LEVELS + b"]" * DEEP_JSON_LEVELS,
    ),
    "json_list": ("application/json;charset=UTF-8", b"[]"),
    "json_list_of_numbers": ("application/json;charset=UTF-8", b"[1, 2, 3]"),
    "json_object": ("application/json;charset=UTF-8", b"{}"),
    "json_error": ("application/json;charset=UTF-8", b'{"error": "overloaded"}'),
    "json_failure": ("application/json;charset=UTF-8", b'{"success": false}'),
    "json_string": ("application/json;charset=UTF-8", b'"ok"'),
    "json_number": ("application/json;charset=UTF-8", b"200"),
    "json_null": ("application/json;charset=UTF-8", b"null"),
    "json_true": ("application/json;charset=UTF-8", b"true"),
}
