"""CPU time of each server for a request, one server after the other in each round."""

import contextlib
import statistics

import table
from bench import FLOORS, LOAD_CORE, Bench, cells, start
from load import Cell, Refused, visit
from report import Table
from servers import Server


def can(name: str, cell: Cell) -> bool:
    """The floors know one file and one answer."""
    is_plain = cell.status == 200 and "HEAD" not in cell.name and "real" not in cell.name
    return name not in FLOORS or (is_plain and (name == "hyper" or cell.protocol == "h1"))


def measure(bench: Bench) -> None:
    """Every cell; the servers are started once, the floors for each."""
    costs: dict[str, dict[str, list]] = {}
    with contextlib.ExitStack() as stack:
        servers = start(bench.lasting, lambda name: bench.whole(name, ""), stack)
        before = {name: server.pss_bytes() for name, server in servers.items()}
        for cell in cells():
            if not any(word in cell.name for word in bench.options.cells):
                continue
            with contextlib.ExitStack() as of_cell:
                floors = [name for name in bench.floors if can(name, cell)]
                own = start(floors, lambda name: bench.whole(name, cell.paths[0].lstrip("/")), of_cell)
                costs[cell.name] = rounds(bench, cell, servers | own)
        bench.report.add(table.table(costs, bench.options.servers))
        bench.report.draw("cost", table.picture(costs, bench.options.servers))
        bench.report.add(memory(servers, before))


def rounds(bench: Bench, cell: Cell, servers: dict[str, Server]) -> dict[str, list]:
    """What each server took in each round; who does not answer as asked is left out."""
    warm = len(cell.paths) if len(cell.paths) > 1 else 32 if "MB" in cell.name else 400
    count, costs = warm, {name: [] for name in servers}
    for number in range(bench.options.rounds + 1):
        for name in list(costs):
            try:
                cost = visit(cell, servers[name], count, bench.folder, LOAD_CORE)
            except Refused as error:
                print(f"left out: {name} in {cell.name}: it {error}", flush=True)
                del costs[name]
                continue
            if number > 0:
                costs[name].append(cost)
            elif name == "nginx":
                took = cost.server_us
        if number == 0:
            count = max(warm, int(bench.options.seconds * 1e6 / took))
    say(cell, costs, count)
    return costs


def say(cell: Cell, costs: dict[str, list], count: int) -> None:
    base, words = costs["nginx"], []
    for name, own in costs.items():
        words.append(f"{name} {statistics.median(table.ratios(own, base)):.2f}")
    took = statistics.median(cost.server_us for cost in base)
    print(f"{cell.name:16} nginx {took:8.1f} us x {count:6} · {' · '.join(words)}", flush=True)


def memory(servers: dict[str, Server], before: dict[str, int]) -> Table:
    """After all those visits."""
    rows = [[name, f"{before[name] / 1e6:.1f} MB", f"{server.pss_bytes() / 1e6:.1f} MB"] for name, server in servers.items()]
    return Table("Memory of the servers", "PSS of all processes of each, when started and after all visits of the table above.",
                 ["server", "started", "after the visits"], rows)
