"""HTTP for all destinations: one session per connection, with bounds on every answer.

An answer is limited in its bytes and in the seconds until its last byte, besides the read timeout
between two bytes. Redirects are never followed: a POST would become a GET, and its answer would
count as a delivery. Entries of ~/.netrc are ignored: they would replace the credentials.
"""

from __future__ import annotations

import codecs
import logging
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from pathlib import Path
from queue import Empty, Full
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH, check_header_validity
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util import parse_url

from tailrace.clock import Clock
from tailrace.config.urls import is_loopback
from tailrace.destinations.open_connection import (
    Answer,
    OpenRequest,
    TimedResponse,
    answer_over,
    request_head,
)
from tailrace.destinations.outcome import SendOutcome, fatal
from tailrace.errors import InvalidConfigValue, Unreachable

ANSWER_BYTES_MAX = 1_000_000
_CHUNK_BYTES = 16_384
# The settings of a request that needs nothing of its session but the adapter and the headers.
_PLAIN = frozenset({"data", "headers", "timeout", "verify", "proxies"})


# Raises if a host may not be connected to at this address, both as text.
AddressCheck = Callable[[str, str], None]


def new_session(
    *, in_flight_max: int, answer_seconds_max: float, check_address: AddressCheck | None = None
) -> Session:
    """A session of its own for one connection.

    Args:
        in_flight_max: Connections that are kept open.
        answer_seconds_max: Time from the request to the last byte of the answer.
        check_address: Called with the host and each of its addresses before a connection is
            opened. The connection goes to a checked address, so that the name cannot resolve to
            another one in between. Not called for a proxy, which resolves names itself.
    """
    session = Session(answer_seconds_max)
    session.trust_env = False
    adapter = _Adapter(
        in_flight_max=in_flight_max,
        answer_seconds_max=answer_seconds_max,
        check_address=check_address,
    )
    for prefix in ("https://", "http://"):
        session.mount(prefix, adapter)
    # It logs the URLs of requests, and a URL may hold a key.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return session


def exchange(
    session: Session,
    method: str,
    url: str,
    *,
    bytes_max: int = ANSWER_BYTES_MAX,
    **more: Any,
) -> Answer:
    """Send a request and read its whole answer.

    A session merges its settings into each request and checks them, which takes as long as sending
    it. A request that needs nothing of its session but the headers goes over an open connection
    at once, or to the adapter for a new one, with the bytes that the session would send.

    Raises:
        requests.RequestException: There is no answer, or it breaks off.
    """
    headers, data = more.get("headers"), more.get("data")
    # A login in the URL becomes a header.
    plain = _PLAIN.issuperset(more) and data.__class__ is bytes and "@" not in url
    if not (plain and data and headers) or session.cookies:
        response = session.request(method, url, stream=True, allow_redirects=False, **more)
        return session.read(response, bytes_max)
    options = {name: more[name] for name in more if name not in ("data", "headers")}
    merged = _merged(session, headers, data)
    answer = session.answer_over_open(_prepared(method, url), merged, data, bytes_max, **options)
    if answer is not None:
        return answer
    request = _prepared(method, url).copy()
    request.headers = CaseInsensitiveDict(merged)
    request.body = data
    adapter = session.get_adapter(url)
    return session.read(adapter.send(request, stream=True, cert=session.cert, **options), bytes_max)


def _merged(session: requests.Session, headers: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """The headers of a request in their order: those of the session, its own, and the length.

    Raises:
        requests.exceptions.InvalidHeader: A header has a line break.
    """
    merged: dict[str, tuple[str, Any]] = {
        name.lower(): (name, value) for name, value in session.headers.items()
    }
    for header in headers.items():
        check_header_validity(header)
        merged[header[0].lower()] = header
    merged["content-length"] = ("Content-Length", str(len(data)))
    return dict(merged.values())


@lru_cache(maxsize=64)
def _prepared(method: str, url: str) -> requests.PreparedRequest:
    """A request without headers and body, whose URL is checked and quoted."""
    return requests.Request(method, url, headers={}).prepare()


@lru_cache(maxsize=64)
def _target(url: str) -> str:
    """The path and the query of a URL, as urllib3 sends them."""
    return parse_url(url).request_uri


def json_object(content: bytes) -> dict[str, Any]:
    """A body as a JSON object, with or without a byte order mark.

    Raises:
        ValueError: It is anything else, or nested too deeply.
    """
    document = orjson.loads(content.removeprefix(codecs.BOM_UTF8))
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def environment_of(url: str, proxy: str | None) -> dict[str, Any]:
    """Proxies and certificates from the environment or the settings, without netrc.

    A proxy from the environment is not used for hosts on this machine.
    """
    with requests.Session() as session:
        environment = session.merge_environment_settings(url, {}, None, None, None)
    if is_loopback(url):
        environment["proxies"] = {}
    if proxy:
        environment["proxies"] = {"http": proxy, "https": proxy}
    return {"proxies": dict(environment["proxies"]), "verify": environment["verify"]}


def host_of(url: str) -> str:
    """The host of a URL, for messages.

    >>> host_of("https://api.example.com/v1"), host_of("example")
    ('api.example.com', 'example')
    """
    return urlsplit(url).hostname or url


def clock_offset_seconds(headers: Mapping[str, str], clock: Clock) -> float | None:
    """How far this machine's clock is ahead of the `Date` of an answer; None without one."""
    try:
        date = parsedate_to_datetime(headers.get("Date", ""))
        return (clock.now() - date).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


# What OpenSSL reports of a server without TLS, or without a version or cipher of this machine. No
# repetition helps; a handshake that breaks off may be a server that restarts.
_NO_COMMON_TLS = re.compile(
    r"WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL|UNSUPPORTED_PROTOCOL|HTTP_REQUEST|HANDSHAKE_FAILURE"
    r"|PROTOCOL_VERSION|PACKET_LENGTH_TOO_LONG"
)


def exception_outcome(
    error: requests.RequestException, name: str, *, address_key: str
) -> SendOutcome:
    """The outcome of a request without an answer; never shows an exception's text (URLs)."""
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY" in str(error):
        return fatal(
            Unreachable(
                f"The certificate of {name} is not trusted",
                hint="Behind a proxy with its own authority, set REQUESTS_CA_BUNDLE to its file.",
            )
        )
    if isinstance(error, requests.exceptions.SSLError) and _NO_COMMON_TLS.search(str(error)):
        return fatal(
            Unreachable(
                f"{name} does not speak TLS as this machine does, or not at all",
                hint=f"Check {address_key}: an https:// address needs a port that takes TLS.",
            )
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return _not_contacted("the proxy does not connect")
    if isinstance(error, requests.ConnectTimeout):
        return _not_contacted("no connection in time", overloaded=True)
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(reason, NameResolutionError):
        return _not_contacted("the name does not resolve")
    if isinstance(reason, NewConnectionError):
        return _not_contacted("connection refused")
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        timed_out = isinstance(error, requests.Timeout) or "timed out" in str(error)
        text = "no answer in time" if timed_out else "the connection broke"
        return SendOutcome(outcome="retry", reason=text, unconfirmed=True, overloaded=timed_out)
    # The headers of the answer contradict each other, such as two different lengths.
    unreadable = requests.exceptions.ContentDecodingError | requests.exceptions.InvalidHeader
    if isinstance(error, unreadable):
        return SendOutcome(outcome="retry", reason="an unreadable answer", unconfirmed=True)
    if isinstance(error, ValueError):
        return fatal(InvalidConfigValue(f"{address_key} or proxy is not a URL"))
    return SendOutcome(outcome="retry", reason="the answer broke off", unconfirmed=True)


def request_problem(error: requests.RequestException, name: str) -> str:
    """Why a request has no answer, in words: `connection refused`; never the exception's text."""
    return exception_outcome(error, name, address_key="host").reason


def _not_contacted(reason: str, *, overloaded: bool = False) -> SendOutcome:
    return SendOutcome(outcome="retry", reason=reason, overloaded=overloaded, contacted=False)


class Session(requests.Session):
    """A session of one connection.

    It knows no redirects; requests would read a redirect's whole body.
    """

    def __init__(self, answer_seconds_max: float) -> None:
        super().__init__()
        self._answer_seconds_max = answer_seconds_max
        self._pools: dict[tuple[str, bool | str], HTTPConnectionPool] = {}

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None

    def answer_over_open(
        self,
        prepared: requests.PreparedRequest,
        headers: Mapping[str, Any],
        body: bytes,
        bytes_max: int,
        *,
        timeout: float | None = None,
        verify: bool | str = True,
        proxies: Mapping[str, str] | None = None,
    ) -> Answer | None:
        """The answer to a request over an open connection; None if there is none."""
        url, method = prepared.url or "", prepared.method or ""
        target = _target(url)
        own = {"host", "transfer-encoding"}.isdisjoint(map(str.lower, headers))
        if proxies or target.startswith("//") or not own:
            return None
        adapter: Any = self.get_adapter(url)
        pool = self._pool(adapter, prepared, verify)
        connection = _taken(pool)
        if connection is None:
            return None
        port = None if connection.port == connection.default_port else connection.port
        try:
            return answer_over(
                connection,
                OpenRequest(
                    method=method,
                    head=request_head(method, target, connection.host, port, headers.items()),
                    body=body,
                    timeout_seconds=timeout,
                    answer_seconds_max=self._answer_seconds_max,
                    bytes_max=bytes_max,
                ),
                lambda raw: self.read(adapter.build_response(prepared, raw), bytes_max),
            )
        finally:
            _put_back(pool, connection)

    def read(self, response: requests.Response, bytes_max: int) -> Answer:
        """The whole answer."""
        # The next requests get them from the session.
        self.cookies.update(response.cookies)
        with response:
            content = b""
            whole = True
            for chunk in response.iter_content(_CHUNK_BYTES):
                content += chunk
                if len(content) > bytes_max:
                    content, whole = content[:bytes_max], False
                    break
            return Answer(
                status=response.status_code,
                reason=response.reason or "",
                headers=response.headers,
                content=content,
                whole=whole,
            )

    def _pool(
        self, adapter: Any, request: requests.PreparedRequest, verify: bool | str
    ) -> HTTPConnectionPool:
        key = (request.url or "", verify)
        pool = self._pools.get(key)
        # `close` of the adapter ends it.
        if pool is None or pool.pool is None:
            pool = adapter.get_connection_with_tls_context(request, verify, proxies={})
            self._pools[key] = pool
        return pool


def _taken(pool: HTTPConnectionPool) -> HTTPConnection | None:
    """A connection of a pool that is open; None if there is none."""
    connections = pool.pool
    try:
        connection: HTTPConnection | None = connections.get(block=False) if connections else None
    except Empty:
        return None
    if connection is not None and connection.is_connected:
        return connection
    _put_back(pool, connection)
    return None


def _put_back(pool: HTTPConnectionPool, connection: HTTPConnection | None) -> None:
    with suppress(Full):
        if pool.pool is not None:
            pool.pool.put(connection, block=False)
            return
    if connection is not None:
        connection.close()


class _Adapter(HTTPAdapter):
    """An adapter whose connections end an answer that takes too long."""

    def __init__(
        self, *, in_flight_max: int, answer_seconds_max: float, check_address: AddressCheck | None
    ) -> None:
        self._pool_classes = _pool_classes(answer_seconds_max, check_address)
        self._proxy_pool_classes = _pool_classes(answer_seconds_max, None)
        super().__init__(pool_maxsize=in_flight_max)

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **more)
        manager.pool_classes_by_scheme = self._proxy_pool_classes
        return manager


def _pool_classes(
    answer_seconds_max: float, check_address: AddressCheck | None
) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools with `TimedResponse` as the class of their responses."""
    response_class: Any = staticmethod(
        partial(TimedResponse, answer_seconds_max=answer_seconds_max)
    )

    class CheckedConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            if check_address is None:
                return super()._new_conn()
            return _connect_checked(self, super()._new_conn, check_address)

    class TimedConnection(CheckedConnection):
        pass

    class TimedSecureConnection(CheckedConnection, HTTPSConnection):
        pass

    class TimedPool(HTTPConnectionPool):
        ConnectionCls = TimedConnection

    class TimedSecurePool(HTTPSConnectionPool):
        ConnectionCls = TimedSecureConnection

    for connection_class in (TimedConnection, TimedSecureConnection):
        connection_class.response_class = response_class
    return {"http": TimedPool, "https": TimedSecurePool}


def _connect_checked(
    connection: HTTPConnection, connect: Callable[[], socket.socket], check_address: AddressCheck
) -> socket.socket:
    """Connect to the first address of a host that answers, after all of them are checked."""
    host = connection.host
    try:
        addresses = addresses_of(host, connection.port)
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    for address in addresses:
        check_address(host, address)
    try:
        for address in addresses[:-1]:
            connection._dns_host = address
            with suppress(NewConnectionError, ConnectTimeoutError):
                return connect()
        connection._dns_host = addresses[-1]
        return connect()
    finally:
        # The name stays that of the certificate and of the Host header.
        connection._dns_host = host


def connect_only(
    url: str,
    *,
    verify: bool | str,
    timeout_seconds: float,
    check_address: AddressCheck | None = None,
) -> None:
    """Open a connection, with TLS for https, and close it without a request.

    Args:
        url: The URL.
        verify: Check the certificate; or the file or folder of authorities to check it with.
        timeout_seconds: Time to wait for each step.
        check_address: As of `new_session`.

    Raises:
        OSError: There is no connection; `ssl.SSLError` if its certificate is not trusted.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    addresses = addresses_of(host, port)
    if check_address is not None:
        for address in addresses:
            check_address(host, address)
    with socket.create_connection((addresses[0], port), timeout_seconds) as connection:
        if secure:
            context = ssl.create_default_context()
            if isinstance(verify, str):
                is_folder = Path(verify).is_dir()
                context.load_verify_locations(**{"capath" if is_folder else "cafile": verify})
            elif verify:
                context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
            context.wrap_socket(connection, server_hostname=host).close()


def addresses_of(host: str, port: int) -> list[str]:
    """The addresses that a name resolves to.

    Raises:
        socket.gaierror: It does not resolve.
    """
    entries = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))
