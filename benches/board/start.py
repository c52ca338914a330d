"""How soon a node with many sites answers after its start, and the memory that it takes: idle, when
every site has been visited, and after many visits."""

import os
import shutil
import statistics
import time
from pathlib import Path

from node import HTTPS, Node, host, page_of, small_site
from report import Report, Table
from visitors import Wrong, ask, connect, trusting

# After a start it reads what it has, and gives back what it needed for that.
SETTLE_S = 10
STARTS = 5
VISITS = 100_000
PATIENCE_S = 60


def measure(report: Report, kept: Path, shapes: list[tuple[int, int]], kept_only: bool) -> None:
    rows = []
    for sites, files in shapes:
        folder = kept / f"{sites}x{files}"
        if kept_only and not (folder / "made").exists():
            print(f"left out: {sites:,} sites of {files} files; make bench-nodes makes them", flush=True)
        else:
            rows.append(of_shape(report, folder, sites, files))
    report.add(Table(
        "Start and memory with many sites",
        f"From the start of the program to the first correct answer over HTTPS, median of {STARTS} starts with the data that is there, and one "
        f"with nothing of it in memory; PSS {SETTLE_S} s after a start, when each site has been visited, and after so many visits.",
        ["sites", "first answer", "aim", "from the disk", "idle", "aim", "all visited", f"{VISITS // 2:,}", f"{VISITS:,}", "bytes a visit"], rows))


def of_shape(report: Report, folder: Path, sites: int, files: int) -> list[str]:
    made = folder / "made"
    if not made.exists():
        with report.timed(f"making {sites:,} sites of {files} files"):
            make(folder, sites, files)
            made.touch()
    with Node(folder) as node:
        cold = first_answer_s(node, sites, drop=True)
        warm = statistics.median(first_answer_s(node, sites) for _ in range(STARTS))
        node.start()
        time.sleep(SETTLE_S)
        idle = node.pss_bytes()
        print(f"{sites:,} sites of {files} files: first answer {warm * 1000:.0f} ms, from the disk {cold * 1000:.0f} ms, idle {idle / 1e6:.1f} MB", flush=True)
        sizes = []
        for count in (sites, VISITS // 2 - sites, VISITS // 2):
            visit(node, sites, files, count)
            sizes.append(node.pss_bytes())
        node.stop()
    # Nothing is said of other numbers.
    first, memory = {1_000: (150, 64), 5_000: (500, 128)}.get(sites, (None, None))
    return [f"{sites:,} of {files} files", f"{warm * 1000:.0f} ms", verdict(warm * 1000, first, "ms"), f"{cold * 1000:.0f} ms",
            megabytes(idle), verdict(idle / 2**20, memory, "MiB"), *map(megabytes, sizes), f"{(sizes[2] - sizes[1]) * 2 / VISITS:.1f}"]


def make(folder: Path, sites: int, files: int) -> None:
    """A node takes five new sites a second."""
    shutil.rmtree(folder, ignore_errors=True)
    with Node(folder) as node:
        node.start()
        node.add_sites(sites, small_site(folder / "site", files))


def first_answer_s(node: Node, sites: int, drop: bool = False) -> float:
    """Of the last site that was made; everything that the kernel keeps of the disk may be dropped before."""
    if drop:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    context, site = trusting(node.ca), host(f"site{sites - 1}")
    begun = time.monotonic()
    node.launch()
    while not answers(context, site, page_of(sites - 1).encode()):
        if node.process.poll() is not None or time.monotonic() - begun > PATIENCE_S:
            raise SystemExit(f"the node does not answer: {node.log.read_text()[-500:]}")
        time.sleep(0.001)
    took = time.monotonic() - begun
    node.stop()
    return took


def answers(context, site: str, page: bytes) -> bool:
    """Whether a visitor sees the page."""
    try:
        with connect(HTTPS, site, context) as connection:
            return ask(connection, site, "/own") == (200, page)
    except (OSError, Wrong):
        return False


def visit(node: Node, sites: int, files: int, count: int) -> None:
    """So many visits, as many to each site, over one connection to each."""
    context, each = trusting(node.ca), max(1, count // sites)
    for number in range(sites):
        name = host(f"site{number}")
        with connect(HTTPS, name, context) as connection:
            for index in range(each):
                path = "/own" if index % 2 == 0 else f"/page{index % (files - 2)}"
                status, _ = ask(connection, name, path)
                if status != 200:
                    raise SystemExit(f"{name}{path} answers with {status}")


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def verdict(reached: float, aim: int | None, unit: str) -> str:
    return f"{aim} {unit} {'yes' if reached <= aim else 'no'}" if aim else "-"
