"""What a node writes to its disk when nobody comes, and when somebody does: on an SD card it is what
wears it out."""

import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from node import HTTPS, Node, host, small_site
from processes import written_bytes
from report import Report, Table
from visitors import ask, connect, trusting

SITES = 20
# Visits a second, over all sites in turn.
PACE = 10
# A node looks through what it keeps once, a minute after its start.
SETTLE_S = 75
WRITES = "write,writev,pwrite64,pwritev,ftruncate,fallocate,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat"


def measure(report: Report, folder: Path, seconds: float) -> None:
    with Node(folder / "disk") as node:
        node.start()
        node.add_sites(SITES, small_site(folder / "disk-site", 3))
        time.sleep(SETTLE_S)
        idle = during(node, lambda: time.sleep(seconds), seconds)
        visited = during(node, lambda: visit(node, seconds), seconds)
        rows = [["idle", "0", size(idle), "0"], ["visits", f"{PACE} a second on {SITES} sites", size(visited), "-"]]
        report.add(Table(
            "Bytes written to the disk",
            f"By a node with {SITES} sites, in {seconds:.0f} s (/proc/PID/io), and what that is in an hour.",
            ["node", "visits", "in an hour", "aim"], rows))
        if idle:
            print("written when idle:\n" + trace(node, seconds), flush=True)


def during(node: Node, act, seconds: float) -> float:
    """Bytes an hour."""
    before = written_bytes(node.process.pid)
    act()
    return (written_bytes(node.process.pid) - before) * 3600 / seconds


def visit(node: Node, seconds: float) -> None:
    """Each site in turn, at an even pace, over a connection of its own."""
    context, begun = trusting(node.ca), time.monotonic()
    opened = [connect(HTTPS, host(f"site{number}"), context) for number in range(SITES)]
    for count in range(int(seconds * PACE)):
        time.sleep(max(0, begun + count / PACE - time.monotonic()))
        status, _ = ask(opened[count % SITES], host(f"site{count % SITES}"), "/own")
        if status != 200:
            raise SystemExit(f"site{count % SITES} answers with {status}")
    for connection in opened:
        connection.close()


def trace(node: Node, seconds: float) -> str:
    """The files that are written to, by what and how often."""
    log = node.data.parent / "writes"
    command = ["strace", "-f", "-y", "-q", "-o", str(log), "-e", f"trace={WRITES}", "-p", str(node.process.pid)]
    strace = subprocess.Popen(command)
    try:
        time.sleep(seconds)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
    found: Counter = Counter()
    for line in log.read_text().splitlines():
        call = re.match(r"\d+ +(\w+)\((?:\d+<([^>]*)>|.*?\"([^\"]*)\")", line)
        # Sockets and pipes are not on the disk.
        if call and (name := call[2] or call[3] or "").startswith("/"):
            found[f"{call[1]} {name.removeprefix(str(node.data))}"] += 1
    return "\n".join(f"{count:6} {what}" for what, count in found.most_common())


def size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count else "0"
