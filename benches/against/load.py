"""What visitors ask for, by h2load, and what it costs."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


# What the visits of a round may take.
VISITS_MAX_S = 60


@dataclass(frozen=True)
class Cell:
    """One kind of visit."""

    name: str
    protocol: str  # "h1", "h1 tls" or "h2"
    paths: list[str]
    status: int = 200
    headers: list[str] = field(default_factory=list)
    is_conditional: bool = False

    @property
    def tls(self) -> bool:
        return self.protocol != "h1"


@dataclass(frozen=True)
class Cost:
    """Of one request."""

    server_us: float
    client_us: float
    body_bytes: float

    @property
    def both_us(self) -> float:
        """Of server and client."""
        return self.server_us + self.client_us


class Visited(Protocol):
    """What is visited: a server, or a node."""

    name: str
    host: str
    ports: dict[bool, int]

    def cpu_ns(self) -> int: ...


class Refused(Exception):
    """A server that does not answer as asked."""


def arguments(cell: Cell, server: Visited, folder: Path) -> list[str]:
    """Of h2load, but for the count."""
    scheme, port = "https" if cell.tls else "http", server.ports[cell.tls]
    base = f"{scheme}://{server.host}:{port}"
    uris = folder / "uris"
    uris.write_text("".join(f"{base}{address(server.name, path)}\n" for path in cell.paths))
    protocol = ["-m", "32"] if cell.protocol == "h2" else ["--h1"]
    headers = list(cell.headers)
    if cell.is_conditional:
        headers.append(validator(server.host, base, cell.paths[0], headers))
    return [*protocol, *(word for header in headers for word in ("-H", header)), f"--connect-to=127.0.0.1:{port}", "-i", str(uris)]


def address(server: str, path: str) -> str:
    """Verge has one address for a page, without the end of the file's name."""
    return re.sub(r"(/index|)\.html$", lambda end: end[1] and "/", path) if server == "verge" else path


def validator(host: str, base: str, path: str, headers: list[str]) -> str:
    """The field by which a visitor asks whether a page has changed."""
    port = base.rsplit(":", 1)[1]
    fields = [word for header in headers for word in ("-H", header)]
    command = ["curl", "-sk", "--resolve", f"{host}:{port}:127.0.0.1", "-D", "-", "-o", "/dev/null", *fields, base + path]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    etag = re.search(r"(?im)^etag: *(.*?)\r?$", answer)
    if etag:
        return f"if-none-match: {etag[1]}"
    modified = re.search(r"(?im)^last-modified: *(.*?)\r?$", answer)
    if not modified:
        raise Refused("has no validator")
    return f"if-modified-since: {modified[1]}"


def visit(cell: Cell, server: Visited, count: int, folder: Path, cores: str, connections: int = 16) -> Cost:
    """Makes `count` requests and says what each took."""
    command = ["taskset", "-c", cores, "h2load", "-t1", "-c", str(connections), "-n", str(count), *arguments(cell, server, folder)]
    before, rusage = server.cpu_ns(), children_us()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=VISITS_MAX_S)
    except subprocess.TimeoutExpired as late:
        raise Refused(f"has not answered {count} requests after {VISITS_MAX_S} s") from late
    server_ns, client_us = server.cpu_ns() - before, children_us() - rusage
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    right = int(codes[{200: 1, 304: 2}[cell.status]]) if codes else 0
    # h2load loses count of up to one request for each connection over HTTP/1.1 that is closed early.
    if right < count:
        raise Refused(f"answers {right} of {count} with {cell.status}")
    body = re.search(r"traffic: .*\((\d+)\) data", done.stdout)
    return Cost(server_ns / 1000 / count, client_us / count, int(body[1]) / count if body else 0)


def children_us() -> float:
    """CPU time of this process's children that have ended."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6
