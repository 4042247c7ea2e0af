"""Receivers of alerts on loopback sockets: JSON and chat services over HTTP, mail over SMTP.

The hosts of Slack and PagerDuty are fixed in apprise, so `intercepting` is an HTTP proxy that
answers for every host with a certificate of its own authority.
"""

from __future__ import annotations

import datetime
import http.server
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTS = ("hooks.slack.com", "events.pagerduty.com")


class Receiver:
    """What a receiver took: `(host and path, body)`, and how it answers."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Any]] = []
        self.status = 200
        self.waits = threading.Event()
        self.waits.set()
        self.url = ""

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body in self.taken]


def _handler(receiver: Receiver, context: ssl.SSLContext | None) -> type:
    class Handler(http.server.BaseHTTPRequestHandler):
        host = ""

        def do_CONNECT(self) -> None:
            assert context is not None
            self.host = self.path.partition(":")[0]
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb")  # type: ignore[assignment]
            self.handle_one_request()
            self.wfile.flush()
            self.close_connection = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.waits.wait(30)
            receiver.taken.append((self.host + self.path, body))
            answer = b"ok" if "slack" in self.host else b"{}"
            status = 202 if "pagerduty" in self.host else receiver.status
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver of JSON over HTTP; with a context, a proxy that answers for HTTPS hosts."""
    receiver = Receiver()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(receiver, context))
    server.daemon_threads = True
    receiver.url = f"json://127.0.0.1:{server.server_port}/alerts"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.waits.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def intercepting(folder: Path) -> Iterator[tuple[Receiver, dict[str, str]]]:
    """A proxy for `HOSTS`, and the environment variables that make requests use and trust it."""
    certificate = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with receiving(context) as receiver:
        proxy = receiver.url.replace("json://", "http://").removesuffix("/alerts")
        environ = {"HTTPS_PROXY": proxy, "REQUESTS_CA_BUNDLE": str(certificate), "NO_PROXY": ""}
        yield receiver, environ


def _certificate(folder: Path) -> Path:
    """A self-signed certificate for the hosts, with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receivers of a test")])
    now = datetime.datetime.now(tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "receivers.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


class _MailHandler(socketserver.StreamRequestHandler):
    """Takes one mail by SMTP (RFC 5321) without extensions."""

    def handle(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        self.wfile.write(b"220 mail.example.com\r\n")
        while line := self.rfile.readline():
            command = line[:4].upper().strip()
            if command == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                receiver.taken.append(("mail", b"".join(lines).decode()))
            if command == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


@contextmanager
def receiving_mail() -> Iterator[Receiver]:
    """A mail server."""
    receiver = Receiver()
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _MailHandler)
    server.daemon_threads = True
    server.receiver = receiver  # type: ignore[attr-defined]
    port = server.server_address[1]
    receiver.url = (
        f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&mode=insecure"
        "&from=tailrace@example.com&to=team@example.com"
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
