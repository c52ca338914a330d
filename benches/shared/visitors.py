"""Visitors who keep their connections, by plain sockets: more of them than h2load holds, each with an
address of its own where a server limits those of one."""

import socket
import ssl
from pathlib import Path

# Connections from one address: what a node lets one have by default is 256.
CONNECTIONS_PER_ADDRESS = 200
TIMEOUT_S = 30


class Wrong(Exception):
    """An answer that is not what was published."""


def trusting(ca: Path | None) -> ssl.SSLContext:
    """Visitors who trust `ca`; without it they trust anybody, where only costs are looked at."""
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    if not ca:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def address_of(number: int) -> str:
    """Of the visitor of this number, on loopback."""
    group = number // CONNECTIONS_PER_ADDRESS
    return f"127.1.{group // 250}.{group % 250 + 1}"


def connect(port: int, host: str, tls: ssl.SSLContext | None, number: int = 0) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", port), TIMEOUT_S, (address_of(number), 0))
    return tls.wrap_socket(raw, server_hostname=host) if tls else raw


def ask(connection: socket.socket, host: str, path: str) -> tuple[int, bytes]:
    """Status and body of one request."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got:
        got += more(connection)
    head, body = got.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", 0)):
        body += more(connection)
    return int(head.split()[1]), body


def more(connection: socket.socket) -> bytes:
    got = connection.recv(65_536)
    if not got:
        raise Wrong("the connection ended before the answer")
    return got
