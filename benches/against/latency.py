"""How long a visitor waits at a modest, constant pace."""

import contextlib
import statistics
import subprocess

from bench import LOAD_CORE, Bench, start
from load import Cell, arguments
from report import Table, bars, colours_of
from servers import Server

# Requests a second of all visitors together: what each of the servers can bear on a small board.
PACE = 1_000
VISITORS = 16
SECONDS = 1
CELLS = [Cell(f"{protocol} 10 KB", protocol, ["/10000.bin"]) for protocol in ["h1", "h1 tls", "h2"]]


def measure(bench: Bench) -> None:
    found: dict[str, dict[str, list]] = {cell.name: {} for cell in CELLS}
    with contextlib.ExitStack() as stack:
        names = [name for name in bench.options.servers if name != "raw"]
        servers = start(names, lambda name: bench.place(name, "10000.bin"), stack)
        for _ in range(bench.options.rounds):
            for cell in CELLS:
                for name, server in servers.items():
                    found[cell.name].setdefault(name, []).append(waits(cell, server, bench))
    rows = [[cell, *(middle(of_cell[name]) for name in names)] for cell, of_cell in found.items()]
    bench.report.add(Table(
        "What a visitor waits",
        f"Microseconds from a request to the end of its answer, p50 and p99, at {PACE:,} requests a second "
        f"of {VISITORS} visitors for {SECONDS} s; medians of the rounds.",
        ["cell", *names], rows))
    groups = {cell: {name: statistics.median(p99 for _, p99 in of_cell[name]) for name in names} for cell, of_cell in found.items()}
    most = max(figure for group in groups.values() for name, figure in group.items() if name != "caddy")
    bench.report.draw("latency", bars("p99 in microseconds", groups, most, colours_of(bench.options.servers)))


def waits(cell: Cell, server: Server, bench: Bench) -> tuple[int, int]:
    """p50 and p99 of one run."""
    log = bench.folder / "requests"
    log.unlink(missing_ok=True)
    pace = ["-c", str(VISITORS), "--rps", str(PACE / VISITORS), "-D", str(SECONDS), f"--log-file={log}"]
    command = ["taskset", "-c", LOAD_CORE, "h2load", "-t1", *pace, *arguments(cell, server, bench.folder)]
    subprocess.run(command, capture_output=True, check=True)
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    if wrong := [line for line in lines if line[1] != "200"]:
        raise SystemExit(f"{server.name} in {cell.name}: {len(wrong)} of {len(lines)} are not answered with 200")
    times = sorted(int(line[2]) for line in lines)
    return times[len(times) // 2], times[len(times) * 99 // 100]


def middle(runs: list[tuple[int, int]]) -> str:
    return " / ".join(f"{statistics.median(values):,.0f}" for values in zip(*runs))
