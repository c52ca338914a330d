"""Instructions of a server for a request, outside the kernel: callgrind counts them exactly, and the
difference to a run with fewer requests leaves out the start."""

import re

from bench import LOAD_CORE, SERVER_CORE, Bench
from load import Cell, visit
from report import Table
from servers import Server

COUNT = 2_000
WARM = Cell("both", "h1", ["/1000.bin", "/10000.bin"])
CELLS = [Cell("h1 1 KB", "h1", ["/1000.bin"]), Cell("h1 10 KB", "h1", ["/10000.bin"])]
COMPARED = ["nginx", "hyper", "verge"]


def measure(bench: Bench) -> None:
    rows = []
    for name in COMPARED:
        if name not in bench.options.servers:
            continue
        words = [name]
        for cell in CELLS:
            few, many = (run(bench, name, cell, count) for count in (COUNT, 2 * COUNT))
            words.append(f"{(many - few) / COUNT:,.0f}")
        rows.append(words)
    bench.report.add(Table(
        "Instructions for a request",
        f"Outside the kernel, counted by callgrind: {COUNT:,} requests more of 16 connections.",
        ["server", *(cell.name for cell in CELLS)], rows))


def run(bench: Bench, name: str, cell: Cell, count: int) -> int:
    """All instructions of a server from its start to its end."""
    log = bench.folder / "callgrind.log"
    log.unlink(missing_ok=True)
    under = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}"]
    with Server(name, bench.place(name, cell.paths[0].lstrip("/")), SERVER_CORE, under) as server:
        visit(WARM if name != "hyper" else cell, server, 200, bench.folder, LOAD_CORE)
        visit(cell, server, count, bench.folder, LOAD_CORE)
    found = re.search(r"Collected : (\d+)", log.read_text())
    if not found:
        raise SystemExit(f"callgrind counted nothing: {log.read_text()[-500:]}")
    return int(found[1])
