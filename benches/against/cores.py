"""Whether two cores serve twice as much as one. The visitors are on the same two cores, so that the
rate says nothing: what is asked is whether a request costs as much CPU time as with one thread, and
whether both threads get as much to do."""

import dataclasses
import re
import statistics
from pathlib import Path

from bench import Bench
from load import Cell, visit
from report import Table
from servers import Server

CELLS = [Cell(f"{protocol} 10 KB", protocol, ["/10000.bin"]) for protocol in ["h1", "h2"]]
COUNT = 20_000
# So many that chance divides them well between the threads.
CONNECTIONS = 256
BOTH = "0,1"


def measure(bench: Bench) -> None:
    rows = []
    for cell in CELLS:
        ratios, shares = [], []
        place = bench.place("verge", "1000.bin")
        other = dataclasses.replace(place, folder=bench.folder / "verge-2", plain=place.plain + 100, tls=place.tls + 100, threads=2)
        with Server("verge", place, "0") as one, Server("verge", other, BOTH) as two:
            for number in range(bench.options.rounds + 1):
                single = visit(cell, one, COUNT, bench.folder, BOTH, CONNECTIONS)
                before = by_thread(two)
                double = visit(cell, two, COUNT, bench.folder, BOTH, CONNECTIONS)
                if number:
                    ratios.append(single.server_us / double.server_us)
                    shares.append(evenness(before, by_thread(two)))
        each, even = statistics.median(ratios), statistics.median(shares)
        rows.append([cell.name, f"{each:.2f}", f"{even:.2f}", f"{2 * each * even:.2f}", "1.80"])
    bench.report.add(Table(
        "Two cores",
        f"Verge with two threads on two cores beside one on one, {CONNECTIONS} connections, the visitors on the same cores: requests for a "
        "CPU second of the server as a ratio, how evenly the threads are busy (1: equally), and what two cores would serve of one if nobody "
        "else were on them: twice the product.",
        ["cell", "for a CPU second", "evenness", "two cores", "aim"], rows))


def by_thread(server: Server) -> dict[str, int]:
    """CPU time of each thread that serves."""
    tasks = [task for pid in server.processes() for task in Path(f"/proc/{pid}/task").iterdir()]
    serving = [task for task in tasks if re.match(r"edge-\d", (task / "comm").read_text())]
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in serving}


def evenness(before: dict[str, int], after: dict[str, int]) -> float:
    """What all threads did, of what they had done if each had been as busy as the busiest."""
    own = [after[task] - before[task] for task in after]
    return sum(own) / len(own) / max(own)
