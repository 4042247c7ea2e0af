"""The request is the library's own, and no answer is believed to say more than it does."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from segment.analytics import request as library
from segment.analytics.oauth_manager import OauthManager

from tailrace.clock import SystemClock
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.messages import Message
from tailrace.destinations.outcome import without_values
from tailrace.destinations.segment.http import SegmentClient
from tailrace.destinations.segment.oauth import Tokens
from tailrace.errors import CredentialRefused, InvalidConfigValue, ServiceFailed, Unreachable
from tailrace.testing import Fault, SegmentSimulator

MESSAGES = [
    {
        "type": "track",
        "userId": "u1",
        "event": "E",
        "messageId": "m1",
        "properties": {"a": "ä\u2028"},
    },
    {"type": "identify", "userId": "u1", "messageId": "m2", "traits": {"n": None, "x": 1.5}},
]
BODIES = [
    Message("track", str(content["messageId"]), json.dumps(content).encode())
    for content in MESSAGES
]


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def guarded() -> Iterator[SegmentSimulator]:
    with SegmentSimulator(oauth=True) as simulator:
        yield simulator


def settings(segment: SegmentSimulator, **more: Any) -> SegmentSettings:
    return SegmentSettings(host=segment.url, write_key=segment.write_key, **more)


def oauth_settings(segment: SegmentSimulator) -> SegmentSettings:
    app = segment.authorization
    assert app
    return settings(
        segment,
        oauth_client_id=app.client_id,
        oauth_client_key=app.client_key,
        oauth_key_id=app.key_id,
        oauth_auth_server=segment.url,
    )


def client(settings: SegmentSettings) -> SegmentClient:
    return SegmentClient(settings, clock=SystemClock())


def sent(segment: SegmentSimulator) -> tuple[dict[str, str], dict[str, Any]]:
    """The last request: its headers, but for its length, and its body."""
    last = segment.requests[-1].request
    headers = {name: value for name, value in last.headers.items() if name != "content-length"}
    return headers, json.loads(last.content())


@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("key", ["sandbox-write-key", 'k"ü'])
def test_the_wire_is_the_library_s(segment: SegmentSimulator, retries: int, key: str) -> None:
    """Header by header and key by key, our request is what the library's `post` sends."""
    own = client(replace(settings(segment), write_key=key))
    own.send(BODIES, retries=retries)
    ours, our_body = sent(segment)
    batch = [dict(message) for message in MESSAGES]
    library.post(key, segment.url, gzip=True, retry_count=retries, batch=batch)
    theirs, their_body = sent(segment)
    assert theirs == ours
    assert list(their_body) == list(our_body)
    datetime.fromisoformat(our_body.pop("sentAt"))
    their_body.pop("sentAt")
    assert their_body == our_body
    assert segment.requests[0].request.target == segment.requests[1].request.target


def test_the_wire_with_oauth_is_the_library_s(guarded: SegmentSimulator) -> None:
    """With OAuth both send the bearer token, and the write key in the body."""
    own = client(oauth_settings(guarded))
    assert own.send(BODIES, retries=0).outcome == "accepted"
    ours, our_body = sent(guarded)
    app = guarded.authorization
    assert app
    manager = OauthManager(app.client_id, app.client_key, app.key_id, auth_server=guarded.url)
    batch = [dict(message) for message in MESSAGES]
    library.post(guarded.write_key, guarded.url, gzip=True, oauth_manager=manager, batch=batch)
    theirs, their_body = sent(guarded)
    assert theirs.pop("authorization").startswith("Bearer ")
    assert ours.pop("authorization").startswith("Bearer ")
    assert theirs == ours
    assert their_body["writeKey"] == our_body["writeKey"] == guarded.write_key
    own.close()
    manager.thread.cancel()


def test_sent_at_is_the_time_of_the_attempt(segment: SegmentSimulator) -> None:
    """Each attempt carries its own sentAt; the messages stay what they were."""
    own = client(settings(segment))
    bodies = []
    for retries in (0, 1):
        own.send(BODIES, retries=retries)
        bodies.append(sent(segment)[1])
    assert bodies[0].pop("sentAt") < bodies[1].pop("sentAt")
    assert bodies[0] == bodies[1]
    assert segment.inbox.complaints == []


def test_netrc_does_not_replace_the_key(
    segment: SegmentSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry for the host in ~/.netrc is left alone."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert client(settings(segment)).send(BODIES, retries=0).outcome == "accepted"
    basic = base64.b64encode(f"{segment.write_key}:".encode()).decode()
    assert sent(segment)[0]["authorization"] == f"Basic {basic}"


def test_host_may_end_in_v1(segment: SegmentSimulator) -> None:
    """A host written as the documents write it, with /v1/, is the same host."""
    own = client(replace(settings(segment), host=segment.url + "/v1/"))
    assert own.send(BODIES, retries=0).outcome == "accepted"
    assert segment.requests[0].request.path == "/v1/batch"


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize(
    "body", [b"", "OK", {"success": True}, {"ok": True}, {}, b'\xef\xbb\xbf{"success": true}']
)
def test_what_counts_as_accepted(segment: SegmentSimulator, status: int, body: Any) -> None:
    """The answers of Segment, RudderStack and Jitsu; an empty one has only its status."""
    segment.faults.append(Fault(status=status, body=body if status != 204 else b""))
    assert client(settings(segment)).send(BODIES, retries=0).outcome == "accepted"


@pytest.mark.parametrize(
    "body",
    [{"success": False, "message": "quota"}, {"ok": False, "errors": ["Message ID: m1: no"]}],
)
def test_a_no_in_a_success_is_a_no(segment: SegmentSimulator, body: Any) -> None:
    """`success: false` or `ok: false` under a 200 is a refusal."""
    segment.faults.append(Fault(status=200, body=body))
    assert client(settings(segment)).send(BODIES, retries=0).outcome == "refused"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("<!DOCTYPE html><title>Log in</title>", {}),
        ("\n <html>", {}),
        ("please log in", {"Content-Type": "text/html; charset=utf-8"}),
    ],
)
def test_a_login_page_is_no_success(
    segment: SegmentSimulator, body: str, headers: dict[str, str]
) -> None:
    """A proxy's page with status 200 delivered nothing."""
    segment.faults.append(Fault(status=200, body=body, headers=headers))
    answer = client(settings(segment)).send(BODIES, retries=0)
    assert (answer.outcome, type(answer.error)) == ("fatal", ServiceFailed)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304, 300])
def test_a_redirect_is_not_followed(segment: SegmentSimulator, status: int) -> None:
    """The library would turn the POST into a GET, and call the page it gets a success."""
    location = f"{segment.url}/login?token=secret"
    segment.faults.append(Fault(path="/v1/batch", status=status, headers={"Location": location}))
    answer = client(settings(segment)).send(BODIES, retries=0)
    assert (answer.outcome, type(answer.error)) == ("fatal", ServiceFailed)
    assert len(segment.requests) == 1
    assert "127.0.0.1" in answer.reason
    assert "secret" not in answer.reason


@pytest.mark.parametrize(
    ("status", "outcome", "unconfirmed"),
    [
        (400, "refused", False),
        (413, "refused", False),
        (422, "refused", False),
        (408, "retry", True),
        (410, "retry", False),
        (429, "retry", False),
        (460, "retry", False),
        (500, "retry", True),
        (502, "retry", True),
        (503, "retry", True),
        (599, "retry", True),
        (404, "fatal", False),
        (405, "fatal", False),
        (501, "fatal", False),
        (505, "fatal", False),
        (511, "fatal", False),
    ],
)
def test_what_a_status_means(
    segment: SegmentSimulator, status: int, outcome: str, unconfirmed: bool
) -> None:
    """Split, try again, or give up; and whether the batch may have been taken."""
    segment.faults.append(Fault(status=status))
    answer = client(settings(segment)).send(BODIES, retries=0)
    assert (outcome, status, unconfirmed) == (answer.outcome, answer.status, answer.unconfirmed)


def test_a_key_that_the_answer_repeats_is_not_shown(segment: SegmentSimulator) -> None:
    segment.faults.append(Fault(status=400, body={"message": f"not {segment.write_key}!"}))
    assert "not ***!" == client(settings(segment)).send(BODIES, retries=0).reason


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential(segment: SegmentSimulator, status: int) -> None:
    """Nothing that is tried again, and no row's fault."""
    segment.faults.append(Fault(status=status))
    answer = client(settings(segment)).send(BODIES, retries=0)
    assert isinstance(answer.error, CredentialRefused)
    assert len(segment.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"X-RateLimit-Reset": "9"}, 9),
        ({"Retry-After": "7", "X-RateLimit-Reset": "9"}, 7),
        ({"Retry-After": "99999"}, 300),
        ({"X-RateLimit-Reset": "1e99"}, 300),
        ({"Retry-After": "0"}, None),
        ({"Retry-After": "soon", "X-RateLimit-Reset": "nan"}, None),
        ({}, None),
    ],
)
def test_how_long_the_service_asks_to_wait(
    segment: SegmentSimulator, headers: dict[str, str], seconds: float | None
) -> None:
    """Retry-After, else X-RateLimit-Reset; a nonsense value is no value."""
    segment.faults.append(Fault(status=429, headers=headers))
    assert client(settings(segment)).send(BODIES, retries=0).wait_seconds == seconds


def test_a_token_that_died_is_replaced_once(guarded: SegmentSimulator) -> None:
    """401 with OAuth asks for another token; a second 401 is the end."""
    own = client(oauth_settings(guarded))
    own.check_token()
    guarded.faults.append(Fault(path="/v1/batch", expire_token=True, times=1))
    assert own.send(BODIES, retries=0).outcome == "accepted"
    guarded.faults.append(Fault(path="/v1/batch", status=401))
    before = len(guarded.requests)
    assert isinstance(own.send(BODIES, retries=0).error, CredentialRefused)
    batches = [e for e in guarded.requests[before:] if e.request.path == "/v1/batch"]
    assert len(batches) == 2
    guarded.faults.clear()
    own.close()


def test_a_refused_token_is_dropped_once(guarded: SegmentSimulator) -> None:
    """Two requests in flight report the same token; the second report keeps the new one."""
    tokens = Tokens(oauth_settings(guarded), section="destination.segment")
    before = len(guarded.requests)
    refused = tokens.current()
    tokens.forget(refused)
    renewed = tokens.current()
    tokens.forget(refused)
    assert refused != renewed == tokens.current()
    assert 2 == len(guarded.requests) - before
    tokens.close()


def test_a_wait_for_a_token_ends(guarded: SegmentSimulator) -> None:
    """An authorization server that asks to wait for an hour; the batch was not sent."""
    guarded.faults.append(Fault(path="/token", status=429, headers={"X-RateLimit-Reset": "3600"}))
    own = client(replace(oauth_settings(guarded), answer_seconds_max=0.2))
    for _ in range(2):
        answer = own.send(BODIES, retries=0)
        assert ("retry", False, False) == (answer.outcome, answer.unconfirmed, answer.contacted)
    guarded.faults.clear()
    # On a busy machine, an answer may take longer than the limit of this test.
    assert any(own.send(BODIES, retries=0).outcome == "accepted" for _ in range(50))
    own.close()


def test_an_unknown_oauth_client(guarded: SegmentSimulator) -> None:
    """The authorization server's No names the settings to look at."""
    own = client(replace(oauth_settings(guarded), oauth_client_id="somebody"))
    with pytest.raises(CredentialRefused, match="refused the OAuth client"):
        own.check_token()
    assert isinstance(own.send(BODIES, retries=0).error, CredentialRefused)
    with pytest.raises(InvalidConfigValue, match="PEM"):
        client(replace(oauth_settings(guarded), oauth_client_key="no key"))
    with pytest.raises(InvalidConfigValue, match="oauth_client_key"):
        client(replace(oauth_settings(guarded), oauth_client_key=None))


def test_an_authorization_server_that_is_down(guarded: SegmentSimulator) -> None:
    """No token for the moment: the batch was not sent, and may be later."""
    nobody = f"http://127.0.0.1:{closed_port()}"
    own = client(replace(oauth_settings(guarded), oauth_auth_server=nobody))
    answer = own.send(BODIES, retries=0)
    assert ("retry", False, False) == (answer.outcome, answer.unconfirmed, answer.contacted)
    with pytest.raises(Unreachable):
        own.check_token()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_server_listens(segment: SegmentSimulator) -> None:
    """A refused connection or a name that does not resolve: certainly not delivered."""
    for host in (f"http://127.0.0.1:{closed_port()}", "https://no-such-host.invalid"):
        answer = client(replace(settings(segment), host=host)).send(BODIES, retries=0)
        assert ("retry", False, False) == (answer.outcome, answer.unconfirmed, answer.contacted)


@pytest.mark.parametrize("cut", ["before", "after", "middle"])
def test_a_broken_connection_leaves_an_unconfirmed_outcome(
    segment: SegmentSimulator, cut: Any
) -> None:
    """After the request is sent, its outcome is unknown."""
    segment.faults.append(Fault(cut=cut))
    answer = client(settings(segment)).send(BODIES, retries=0)
    assert ("retry", True, True) == (answer.outcome, answer.unconfirmed, answer.contacted)


def test_no_answer_in_time(segment: SegmentSimulator) -> None:
    """A timeout leaves doubt, and asks for less."""
    segment.faults.append(Fault(delay_seconds=5))
    answer = client(settings(segment, timeout_seconds=0.1)).send(BODIES, retries=0)
    assert ("retry", True, True) == (answer.outcome, answer.unconfirmed, answer.overloaded)


def test_a_proxy_is_used_and_may_be_down(segment: SegmentSimulator) -> None:
    """A configured proxy carries the request; one that is not there is not a delivery."""
    own = client(replace(settings(segment), host="http://127.0.0.2:9", proxy=segment.url))
    assert own.send(BODIES, retries=0).outcome == "accepted"
    assert segment.requests[0].request.target == "http://127.0.0.2:9/v1/batch"
    down = client(settings(segment, proxy=f"http://127.0.0.1:{closed_port()}"))
    answer = down.send(BODIES, retries=0)
    assert ("retry", False, False) == (answer.outcome, answer.unconfirmed, answer.contacted)


def test_the_environment_s_proxy_is_not_for_this_machine(
    segment: SegmentSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY is honoured for other hosts; the sandbox works behind it."""
    monkeypatch.setenv("HTTP_PROXY", segment.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert client(settings(segment)).send(BODIES, retries=0).outcome == "accepted"
    away = client(replace(settings(segment), host="http://192.0.2.1"))
    assert away.send(BODIES, retries=0).outcome == "accepted"
    assert ["/v1/batch", "http://192.0.2.1/v1/batch"] == [
        each.request.target for each in segment.requests
    ]


def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    """Trying again would not help: the error says what would."""
    import ssl

    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=shake_hands, args=(listener, context), daemon=True).start()
        host = f"https://localhost:{listener.getsockname()[1]}"
        answer = client(SegmentSettings(host=host, write_key="k")).send(BODIES, retries=0)
    assert isinstance(answer.error, Unreachable)
    assert "REQUESTS_CA_BUNDLE" in answer.error.hint


def shake_hands(listener: socket.socket, context: Any) -> None:
    try:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(1)
    except OSError:
        return


def self_signed(folder: Path) -> tuple[Path, Path]:
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = SystemClock().now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


def test_each_destination_has_its_own_session(
    segment: SegmentSimulator, guarded: SegmentSimulator
) -> None:
    """Closing or failing one connection leaves the pools and proxies of the others alone."""
    one = client(settings(segment, requests_in_flight_max=16))
    other = client(settings(segment, proxy="http://127.0.0.1:1"))
    assert one._session is not other._session
    assert one._session is not library._session
    adapter: Any = one._session.get_adapter(segment.url)
    assert adapter._pool_maxsize == 16
    one.send(BODIES, retries=0)
    assert 1 == len(adapter.poolmanager.pools)
    assert "retry" == other.send(BODIES, retries=0).outcome
    other.close()
    assert 1 == len(adapter.poolmanager.pools)
    direct = client(oauth_settings(guarded))
    proxied = client(replace(oauth_settings(guarded), proxy="http://127.0.0.1:1"))
    assert "accepted" == direct.send(BODIES, retries=0).outcome
    with pytest.raises(Unreachable):
        proxied.check_token()
    direct.close()
    proxied.close()


def test_nothing_personal_is_logged(
    segment: SegmentSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    """At the chattiest level, neither payload nor key is in the log, whatever happens."""
    with caplog.at_level(logging.DEBUG):
        own = client(settings(segment))
        own.send(BODIES, retries=0)
        segment.faults.append(Fault(status=400, body={"message": "no ada@example.com"}, times=1))
        own.send([Message("track", "m1", b'{"email":"ada@example.com"}')], retries=0)
        segment.faults.append(Fault(cut="after", times=1))
        own.send(BODIES, retries=0)
    for secret in ("ada@example.com", segment.write_key, "m1", "u1"):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Exceed payload limit", "Exceed payload limit"),
        ("bad value 'ada' for +491701234567", "bad value … for …"),
        ("Message ID: tr1-0123456789abcdef0123: no", "Message ID: … no"),
        ("x" * 200, "x" * 160),
    ],
)
def test_a_reason_does_not_quote_the_payload(said: str, kept: str) -> None:
    """What a service says about a row is kept without what it quotes of it."""
    assert kept == without_values(said)


def test_a_reason_comes_from_json_or_text(segment: SegmentSimulator) -> None:
    """A JSON error's code and message, or the plain words of the body."""
    said = []
    for body in ({"code": "invalid", "message": "no good"}, "plain words", "<html>", b""):
        segment.faults.clear()
        segment.faults.append(Fault(status=400, body=body))
        said.append(client(settings(segment)).send(BODIES, retries=0).reason)
    assert ["invalid: no good", "plain words", "Bad Request", ""] == said


def test_the_body_is_gzipped_once(segment: SegmentSimulator) -> None:
    """One gzip member that any reader understands."""
    client(settings(segment)).send(BODIES, retries=0)
    body = segment.requests[0].request.body
    assert json.loads(gzip.decompress(body))["batch"] == MESSAGES
