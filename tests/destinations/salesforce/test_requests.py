"""The bytes of each kind of request, as they are committed in `requests/`.

A file has the header block, the members of two runs, and the requests that the second run made.
`WRITE_REQUESTS=1 pytest …` writes what is sent now.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from salesforce_org import served_org
from write_back import WriteBackShop

from tailrace.testing import SalesforceSimulator
from tailrace.testing.http.messages import Request

FOLDER = Path(__file__).parent / "requests"
FILES = sorted(FOLDER.glob("*.yaml"))
HEADERS = ("content-type", "sforce-auto-assign", "sforce-duplicate-rule-header",
           "sforce-call-options")  # fmt: skip


@pytest.fixture(scope="module")
def simulator() -> Iterator[SalesforceSimulator]:
    with served_org() as running:
        yield running


def written(request: Request) -> dict[str, Any]:
    """A request as a file shows it."""
    path = request.target.partition("/v64.0/")[2]
    shown: dict[str, Any] = {"request": f"{request.method} {path}"}
    headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
    if headers and request.method != "GET":
        shown["headers"] = headers
    if request.body:
        shown["body"] = request.content().decode()
    return shown


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_bytes_that_are_sent(
    file: Path, simulator: SalesforceSimulator, tmp_path: Path
) -> None:
    case = yaml.safe_load(file.read_text(encoding="utf-8"))
    shop = WriteBackShop(tmp_path / "shop", simulator)
    shop.header(case["block"])
    ids = {
        f"<{sobject} {place}>": record_id
        for sobject in ("Contact", "Campaign", "Account")
        for place, record_id in enumerate(simulator.org.rows(sobject).ids(), start=1)
    }

    def members(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{name: ids.get(value, value) for name, value in row.items()} for row in rows]

    shop.people(members(case["before"]))
    assert shop.sync().exit_code == 0
    shop.people(members(case["after"]))
    simulator.requests.clear()
    assert shop.sync().exit_code == 0
    requests = [
        written(entry.request) for entry in simulator.requests if "/v64.0/" in entry.request.target
    ]
    text = json.dumps(requests)
    for name, record_id in ids.items():
        text = text.replace(record_id, name)
    for job_id in simulator.ingest.jobs:
        text = text.replace(job_id, "<job>")
    found = json.loads(text)
    if os.environ.get("WRITE_REQUESTS"):
        case["requests"] = found
        file.write_text(
            yaml.safe_dump(case, sort_keys=False, allow_unicode=True, width=100), encoding="utf-8"
        )
    assert found == case["requests"]


def test_each_kind_has_a_file() -> None:
    wanted = {"upsert", "update", "update_by_id", "clear", "set", "delete", "member", "publish",
              "publish_exit", "parent", "bulk", "allowed_rules"}  # fmt: skip
    assert {file.stem for file in FILES} == wanted
