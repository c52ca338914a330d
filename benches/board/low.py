"""Verge, as a whole node, and nginx with the memory and the quarter of a core of a small board."""

import contextlib
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench import LOAD_CORE, REAL_SITE, SERVER_CORE, make_certificate, make_sites, real_pages
from cgroup import Cgroup
from load import Cell, arguments
from node import HTTPS, Node, host
from report import Report, Table
from servers import Place, Server

MEMORIES_MB = [64, 128, 256]
CORES = 0.25
CELLS = [
    Cell("h1 tls 10 KB", "h1 tls", ["/10000.bin"]),
    Cell("h2 real site", "h2", [f"/real/{page}" for page in real_pages()], headers=["accept-encoding: br, gzip"]),
]
VISITORS, WARM_S = 8, 1


@dataclass(frozen=True)
class AtNode:
    """A site of a node, as visitors see it."""

    name: str
    host: str
    ports: dict[bool, int]


def measure(report: Report, folder: Path, seconds: float) -> None:
    plain, packed = make_sites(folder)
    for large in ("1000000.bin", "10000000.bin"):
        (plain / large).unlink()
    chain, key = make_certificate(folder)
    place = Place(packed, chain, key, folder / "nginx", 8080, 8440)
    with Node(folder / "low") as node:
        node.start()
        node.add_account("ana")
        node.add_site("low", "ana", plain)
        node.stop()
        rows = []
        for memory_mb in MEMORIES_MB:
            rows += of_nginx(place, memory_mb, seconds)
            rows += of_node(node, plain, memory_mb, seconds)
    report.add(Table(
        "With little memory and a quarter of a core",
        f"A whole node and nginx in a control group of so much memory and {CORES} of a core, {VISITORS} visitors (HTTP/2: 8 streams each) for "
        f"{seconds:.0f} s from outside of it; the peak has the files in it that the kernel keeps; memory is PSS. "
        f"The real site is {REAL_SITE.name}.",
        ["server", "limit", "visit", "requests/s", "failed", "killed", "peak", "memory"], rows))


def of_nginx(place: Place, memory_mb: int, seconds: float) -> list[list[str]]:
    with Cgroup(memory_mb << 20, CORES) as group, Server("nginx", place, SERVER_CORE, group.under) as server:
        return [row("nginx", memory_mb, cell, visit(cell, server, place.folder, seconds), group, server.pss_bytes()) for cell in CELLS]


def of_node(node: Node, site: Path, memory_mb: int, seconds: float) -> list[list[str]]:
    """Its visits, and then a change that is published inside the limits."""
    visited = AtNode("verge", host("low"), {True: HTTPS})
    with Cgroup(memory_mb << 20, CORES) as group, contextlib.ExitStack() as stack:
        stack.callback(node.stop)
        node.start(["taskset", "-c", SERVER_CORE, *group.under])
        rows = [row("verge", memory_mb, cell, visit(cell, visited, node.data.parent, seconds), group, node.pss_bytes()) for cell in CELLS]
        begun = time.monotonic()
        (site / "change.html").write_text(f"<!doctype html><title>{memory_mb}</title>\n")
        node.run("deploy", str(site), "--site", "low")
        took = f"{time.monotonic() - begun:.1f} s"
        return [*rows, ["verge", f"{memory_mb} MB", "a change is published", took, "0", *use(group), f"{node.pss_bytes() / 1e6:.0f} MB"]]


def visit(cell: Cell, server, folder: Path, seconds: float) -> tuple[float, int]:
    """Requests a second, and how many failed."""
    streams = ["-m", "8"] if cell.protocol == "h2" else []
    words = [word for word in arguments(cell, server, folder) if word not in ("-m", "32")]
    pace = ["-c", str(VISITORS), "-D", str(round(seconds)), "--warm-up-time", str(WARM_S)]
    command = ["taskset", "-c", LOAD_CORE, "h2load", "-t1", *pace, *streams, *words]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counts = re.search(r"requests: (\d+) total, .* (\d+) failed, (\d+) errored", said)
    good = re.search(r"status codes: (\d+) 2xx", said)
    return int(good[1]) / seconds, int(counts[1]) - int(good[1])


def row(name: str, memory_mb: int, cell: Cell, visited: tuple[float, int], group: Cgroup, pss_bytes: int) -> list[str]:
    rate, failed = visited
    return [name, f"{memory_mb} MB", cell.name, f"{rate:,.0f}", str(failed), *use(group), f"{pss_bytes / 1e6:.0f} MB"]


def use(group: Cgroup) -> list[str]:
    return [str(group.killed_count()), f"{group.peak_bytes() / 1e6:.0f} MB"]
