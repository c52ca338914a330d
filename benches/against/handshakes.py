"""CPU time of a server for a TLS handshake: ECDSA P-256, X25519, whole and resumed."""

import contextlib
import dataclasses
import os
import statistics
import subprocess
from pathlib import Path

from bench import LOAD_CORE, SERVER_CORE, Bench
from programs import TLS_TOOL
from report import Table
from servers import Server

# One after another; the visitor takes as long as the server.
COUNT = 500
# What each is to reach, as a ratio to nginx.
AIMS = {"full": 0.45, "resumed": 0.50}


def measure(bench: Bench) -> None:
    if not os.access(TLS_TOOL, os.X_OK):
        raise SystemExit(f"{TLS_TOOL} is missing: make bench-build")
    folder = bench.folder / "shaken"
    folder.mkdir()
    subprocess.run([str(TLS_TOOL), "make", str(folder)], check=True)
    names = [name for name in bench.options.servers if name != "raw"]
    costs: dict[str, dict[str, list]] = {kind: {name: [] for name in names} for kind in AIMS}
    with contextlib.ExitStack() as stack:
        places = {name: dataclasses.replace(bench.place(name, "1000.bin"), chain=folder / "chain.pem", key=folder / "key.pem") for name in names}
        servers = {name: stack.enter_context(Server(name, place, SERVER_CORE)) for name, place in places.items()}
        for number in range(bench.options.rounds + 1):
            for kind in AIMS:
                for name, server in servers.items():
                    cost = shake(server, folder, kind, COUNT if number else COUNT // 10)
                    if number:
                        costs[kind][name].append(cost)
    bench.report.add(Table(
        "TLS handshakes",
        f"CPU time of the server for a handshake, nginx in microseconds, the others as ratios to nginx in the same round; {COUNT} in each.",
        ["handshake", *names, "aim"], [row(kind, of_kind) for kind, of_kind in costs.items()]))


def shake(server: Server, folder: Path, kind: str, count: int) -> float:
    """Microseconds each."""
    address = f"127.0.0.1:{server.ports[True]}"
    before = server.cpu_ns()
    command = ["taskset", "-c", LOAD_CORE, str(TLS_TOOL), "shake", address, str(folder / "ca.pem"), "x25519", kind, str(count)]
    subprocess.run(command, check=True)
    return (server.cpu_ns() - before) / 1000 / count


def row(kind: str, costs: dict[str, list]) -> list[str]:
    base, words, aim = costs["nginx"], [kind], AIMS[kind]
    for name, own in costs.items():
        ratio = statistics.median(a / b for a, b in zip(own, base))
        words.append(f"{statistics.median(own):.0f} us" if name == "nginx" else f"{ratio:.2f}")
    own = statistics.median(a / b for a, b in zip(costs["verge"], base)) if "verge" in costs else None
    return [*words, f"{aim:.2f} {'yes' if own <= aim else 'no'}" if own else f"{aim:.2f}"]
