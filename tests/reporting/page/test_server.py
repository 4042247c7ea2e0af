"""The live page: who is answered, what it says about one person, and how it follows a run."""

from __future__ import annotations

import html
import http.client
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from browser import chromium
from sending_run import sending, wait_until
from shop import PEOPLE, Shop

from tailrace.clock import SystemClock
from tailrace.errors import ConfigurationError
from tailrace.reporting.page.server import PageServer
from tailrace.testing.segment.simulator import SegmentSimulator

EXTERNAL = PEOPLE.replace("user_id: id", "user_id: id\nexternal_ids: {crm_id: email}")
ROWS = [
    {"id": f"c{number:02}", "email": f"ada{number}@example.com", "city": "Bergen"}
    for number in range(40)
]


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture
def shop(tmp_path: Path, segment: SegmentSimulator) -> Shop:
    shop = Shop(tmp_path / "shop", segment)
    shop.audience(EXTERNAL)
    shop.land(ROWS)
    return shop


@contextmanager
def serving(shop: Shop) -> Iterator[PageServer]:
    with PageServer(shop.project, clock=SystemClock()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join()


def request(
    server: PageServer, path: str, *, method: str = "GET", **headers: str
) -> tuple[int, str, dict[str, str]]:
    """The status, the text and the headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(
            method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        response = connection.getresponse()
        text = html.unescape(response.read().decode())
        return response.status, text, {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


def page(server: PageServer, path: str) -> str:
    status, text, _ = request(server, server.links.root + path)
    assert 200 == status, text
    return text


def test_only_a_request_with_the_token_and_the_right_host_is_answered(shop: Shop) -> None:
    shop.sync()
    with serving(shop) as server:
        root = server.links.root
        assert 200 == request(server, root)[0]
        for path in ("/", "/wrong/", f"/{server.token}", f"/x{root}", f"{root[:-2]}/", "//"):
            assert 403 == request(server, path)[0], path
        for host in ("evil.example", f"127.0.0.1:{server.port + 1}", "127.0.0.1", ""):
            assert 403 == request(server, root, Host=host)[0], host
        assert 200 == request(server, root, Host=f"localhost:{server.port}")[0]
        for site in ("cross-site", "same-site"):
            assert 403 == request(server, root, Sec_Fetch_Site=site)[0]
        assert 404 == request(server, f"{root}absent")[0]
        assert 404 == request(server, f"{root}audience?name=absent")[0]
        assert 404 == request(server, f"{root}run?id=absent")[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_writes_nothing_and_allows_no_other_origin(shop: Shop, method: str) -> None:
    shop.sync()
    before = shop.file.read_bytes()
    with serving(shop) as server:
        status, _, headers = request(
            server, server.links.root, method=method, Origin="https://evil.example"
        )
        assert 405 == status
        assert [] == [name for name in headers if name.startswith("access-control")]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "no-store" == headers["cache-control"]
        page(server, "")
    assert before == shop.file.read_bytes()


def test_every_page_of_the_runs_and_audiences_is_reached_by_links(shop: Shop) -> None:
    shop.sync()
    with serving(shop) as server:
        seen, found = set(), {server.links.root}
        while found - seen:
            path = sorted(found - seen)[0]
            seen.add(path)
            found |= set(
                re.findall(r'href="(/[^"]+)"', page(server, path.removeprefix(server.links.root)))
            )
        names = {re.sub(r"\?.*", "", path).removeprefix(server.links.root) for path in seen}
        assert {"", "runs", "run", "audience", "person"} == names


@pytest.mark.parametrize(
    "person", ["c03", "ada3@example.com"], ids=["key and user id", "external id"]
)
def test_a_person_is_found_and_explained(shop: Shop, person: str) -> None:
    shop.sync()
    shop.land([{**row, "is_deleted": row["id"] == "c03"} for row in ROWS])
    shop.sync()
    with serving(shop) as server:
        text = page(server, f"person?q={person}")
        assert re.search(
            r"left</span> at \d{4}-\d\d-\d\d \d\d:\d\d: not in the model's result", text
        )
        for word in ("entered", "exited", "initial", "delivered"):
            assert f"<td>{word}</td>" in text
        (sent,) = [
            message["messageId"]
            for message in shop.arrived()
            if message.get("event") == "Segment Exited"
        ]
        assert f"<code>{sent}</code>" in text
        assert "No landed object, no model and no audience" in page(server, "person?q=unknown")


def test_values_are_shown_only_when_asked_for(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sync()
    with serving(shop) as server:
        masked = page(server, "person?q=c03")
        assert "ada3" not in masked and "Bergen" not in masked
        assert '"ada3@example.com"' in page(server, "person?q=c03&values=1")
        for path in ("", "runs", "audience?name=people"):
            assert "ada" not in page(server, path) and "Bergen" not in page(server, path)
    assert ("", "") == capsys.readouterr()


def test_a_changed_warehouse_is_read_again_and_an_unchanged_one_is_not(shop: Shop) -> None:
    shop.sync()
    with serving(shop) as server:
        first = server.snapshot.facts()
        again = server.snapshot.facts()
        assert again.value is first.value
        assert again.read_at >= first.read_at
        shop.land(ROWS[:30])
        shop.sync()
        assert 2 == len(server.snapshot.facts().value.runs)


def test_without_a_warehouse_it_says_how_to_start(tmp_path: Path) -> None:
    with serving(Shop(tmp_path / "empty")) as server:
        assert "tailrace run" in page(server, "")


def test_a_run_that_sends_is_followed(shop: Shop, segment: SegmentSimulator) -> None:
    """The page and its events are read from the run, and say so."""
    shop.environ |= {
        "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": "20",
        "DESTINATION__SEGMENT__REQUESTS_IN_FLIGHT_MAX": "1",
    }
    with serving(shop) as server:
        with sending(shop, segment):
            text = page(server, "")
            assert "what it had committed so far" in text
            assert re.search(r"people: \d+ of 40 members", text)
            assert "running" in text
            event = next(events(server))
            assert event["sending"][0]["planned"] == 40
            assert 0 < event["sending"][0]["sent"] < 40
            assert event["running"] and not event["late"]
            assert "not yet delivered" in page(server, "person?q=c39")
        wait_until(lambda: not server.event()["running"])
        assert "Healthy" in page(server, "")


def events(server: PageServer) -> Iterator[dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", f"{server.links.root}events")
        response = connection.getresponse()
        assert "text/event-stream" == response.getheader("Content-Type")
        while line := response.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    finally:
        connection.close()


def test_the_command_prints_its_address_and_ends_with_a_signal(shop: Shop) -> None:
    shop.sync()
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "ui", "--json", "--project-dir", str(shop.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    url = json.loads(text)["url"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", url)
    port, path = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/.+)", url).groups()  # type: ignore[union-attr]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    connection.request("GET", path)
    assert 200 == connection.getresponse().status
    connection.close()
    # A page is open that follows runs. DuckDB reports what its thread holds at the end.
    connection.request("GET", f"{path}events")
    assert 200 == connection.getresponse().status
    process.terminate()
    output, errors = process.communicate(timeout=60)
    connection.close()
    assert (0, "", "") == (process.returncode, output, errors)


def synced_beside(shop: Shop, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows could land and a run could open the file, which a page may be reading.

    The page is in this process here, which opens a file with one configuration at a time.
    """
    try:
        shop.land(rows)
        shop.sync()
    except (duckdb.ConnectionException, ConfigurationError) as error:
        if "different configuration" not in str(error):
            raise
        return False
    return True


def test_the_live_page_in_a_browser(shop: Shop) -> None:
    shop.sync()
    with serving(shop) as server, chromium() as browser:
        for path in ("", "runs", "audience?name=people", "person?q=c03", "person?q=c03&values=1"):
            browser.open(server.url + path)
            assert [] == browser.messages(), path
            assert all(address.startswith((server.url, "data:")) for address in browser.requests())
            assert [] == browser.problems(), path
        browser.open(server.url)
        field = browser.driver.find_element("id", "q")
        field.send_keys("c03\n")
        wait_until(lambda: "since" in browser.driver.page_source)
        assert "ada3" not in browser.driver.page_source
        browser.driver.find_element("name", "values").click()
        wait_until(lambda: "ada3@example.com" in browser.driver.page_source)
        # A run that ends while the page is open makes it load again.
        browser.open(server.url)
        wait_until(lambda: synced_beside(shop, ROWS[:30]))
        wait_until(lambda: "10 exited" in browser.driver.page_source)
