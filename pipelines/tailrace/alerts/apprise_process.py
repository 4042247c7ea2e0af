"""The process that sends alerts: the only module that imports apprise.

A process of its own can be ended at the time limit, and keeps the logs of apprise, which quote
tokens, away from the logs of the run. It reads one JSON object from standard input:
`{"messages": [{"url": …, "title": …, "body": …, "kind": …}], "check": false}`, and writes one line
a message when it is done: `{"index": 0, "status": "sent"}`. The status is `sent`, `refused` or
`invalid`; with `check`, nothing is sent and the status of a usable URL is `valid`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping
from typing import Any


def main() -> None:
    """Send the messages of standard input, each in a thread of its own."""
    import apprise

    logging.disable(logging.CRITICAL)
    request = json.load(sys.stdin)
    asset = apprise.AppriseAsset(
        app_id="Tailrace",
        app_desc="Tailrace",
        app_url="",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        secure_logging=True,
    )
    written = threading.Lock()

    def carry_out(index: int, message: Mapping[str, Any]) -> None:
        status = _status(apprise, asset, message, check=bool(request["check"]))
        with written:
            sys.stdout.write(json.dumps({"index": index, "status": status}) + "\n")
            sys.stdout.flush()

    threads = [
        threading.Thread(target=carry_out, args=(index, message), daemon=True)
        for index, message in enumerate(request["messages"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _status(apprise: Any, asset: Any, message: Mapping[str, Any], *, check: bool) -> str:
    service = apprise.Apprise.instantiate(message["url"], asset=asset, suppress_exceptions=True)
    if service is None:
        return "invalid"
    if check:
        return "valid"
    try:
        accepted = service.notify(
            title=message["title"],
            body=message["body"],
            notify_type=apprise.NotifyType(message["kind"]),
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception:
        # A service of apprise that fails in an unexpected way; its message may quote the URL.
        return "refused"
    return "sent" if accepted else "refused"


if __name__ == "__main__":
    main()
