"""What a server asks the kernel for, for each request: strace counts, and the difference of two counts
of requests leaves out what connections take."""

import signal
import subprocess
from collections import Counter

from bench import LOAD_CORE, SERVER_CORE, Bench
from load import Cell, Refused, visit
from report import Table
from servers import Server

COUNT = 1_000
CELLS = [Cell(f"{protocol} 10 KB", protocol, ["/10000.bin"]) for protocol in ["h1", "h1 tls", "h2"]]
# A call that is rarer is not named.
NAMED_MIN = 0.05


def measure(bench: Bench) -> None:
    rows = []
    for cell in CELLS:
        # The raw loop ends when it is interrupted, as strace does to begin.
        for name in [name for name in bench.options.servers if name != "raw"]:
            try:
                with Server(name, bench.place(name, "10000.bin"), SERVER_CORE) as server:
                    visit(cell, server, COUNT, bench.folder, LOAD_CORE)
                    once, twice = (calls(cell, server, count, bench) for count in (COUNT, 2 * COUNT))
            except Refused as error:
                print(f"left out: {name} in {cell.name}: watched by strace it {error}", flush=True)
                continue
            twice.subtract(once)
            rows.append(row(cell.name, name, twice))
            print(*rows[-1], flush=True)
    bench.report.add(Table(
        "Calls of the kernel for a request",
        f"strace -c -f, {COUNT:,} requests more of 16 connections (HTTP/2: 32 streams each); a server that is watched is slower, "
        "so that more comes to it at once than otherwise.",
        ["cell", "server", "calls", "of which"], rows))


def calls(cell: Cell, server: Server, count: int, bench: Bench) -> Counter:
    """How often each call was made."""
    summary = bench.folder / "calls"
    pids = [word for pid in server.processes() for word in ("-p", str(pid))]
    strace = subprocess.Popen(["strace", "-c", "-f", "-U", "calls,name", "-o", str(summary), *pids], stderr=subprocess.PIPE, text=True)
    try:
        # It says so when it watches; each thread has its line, the last is of the last process.
        for _ in server.processes():
            strace.stderr.readline()
        visit(cell, server, count, bench.folder, LOAD_CORE)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
        strace.stderr.close()
    lines = [line.split() for line in summary.read_text().splitlines()]
    return Counter({words[1]: int(words[0]) for words in lines if len(words) == 2 and words[0].isdigit() and words[1] != "total"})


def row(cell: str, name: str, found: Counter) -> list[str]:
    each = {call: count / COUNT for call, count in found.most_common()}
    named = " ".join(f"{call} {count:.2f}" for call, count in each.items() if count >= NAMED_MIN)
    return [cell, name, f"{sum(each.values()):.2f}", named]
