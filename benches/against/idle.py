"""What a connection costs that is open and asks for nothing."""

import time
from concurrent.futures import ThreadPoolExecutor

from bench import SERVER_CORE, Bench
from node import HTTP, HTTPS, Node, small_site
from node import host as host_of
from report import Table, bars, colours_of, short
from servers import HOST, Server
from visitors import ask, connect, trusting

# So many come before the first look at the memory: what a server makes once is made by then.
WARM = 50
AT_ONCE = 16
# So long a server has to notice that nothing more is asked, or that they have gone.
GONE_S = 5
# What each is to reach, in KiB.
AIMS = {False: 8, True: 18}


def measure(bench: Bench) -> None:
    count, found = bench.options.connections, {}
    for name in bench.options.servers:
        for tls in (False, True):
            if name != "raw" or not tls:
                found[name, tls] = of_verge(bench, tls, count) if name == "verge" else of_server(bench, name, tls, count)
                held, after = found[name, tls]
                print(f"{name} {'tls' if tls else 'plain'}: {held:.1f} KiB each, {after:.1f} when they have gone", flush=True)
    rows = [row(name, found) for name in bench.options.servers]
    bench.report.add(Table(
        "Memory of an idle connection",
        f"KiB of PSS for each of {count:,} connections that have had one answer of 1,000 bytes and stay open, 5 s later, and what is still held for "
        "each when they have gone; what the kernel holds is not in it.",
        ["server", "plain", "gone", "TLS 1.3", "gone"],
        [*rows, ["aim", f"{AIMS[False]:.1f}", "", f"{AIMS[True]:.1f}", ""]]))
    groups = {("TLS" if tls else "plain"): {name: max(found[name, tls][0], 0) for name in bench.options.servers if (name, tls) in found}
              for tls in (False, True)}
    bench.report.draw("idle", bars("KiB of an idle connection", groups, 50, colours_of(bench.options.servers)))


def row(name: str, found: dict) -> list[str]:
    figures = [figure for tls in (False, True) for figure in found.get((name, tls), (None, None))]
    return [name, *("-" if figure is None else short(figure) if figure >= 0 else "0" for figure in figures)]


def of_server(bench: Bench, name: str, tls: bool, count: int) -> tuple[float, float]:
    with Server(name, bench.place(name, "1000.bin"), SERVER_CORE) as server:
        return hold(server.pss_bytes, server.ports[tls], HOST, "/1000.bin", tls, count)


def of_verge(bench: Bench, tls: bool, count: int) -> tuple[float, float]:
    """A real node, for a preview lets 4,096 connections be open and no more."""
    folder = bench.folder / f"node-{tls}"
    with Node(folder, visitors={"connections_max": count + WARM, "idle_timeout_ms": 600_000}) as node:
        node.start(["taskset", "-c", SERVER_CORE])
        node.add_account("ana")
        site = small_site(folder / "site", 3)
        (site / "1000.bin").write_bytes(bytes(1000))
        node.add_site("idle", "ana", site)
        return hold(node.pss_bytes, HTTPS if tls else HTTP, host_of("idle"), "/1000.bin", tls, count)


def hold(pss_bytes, port: int, host: str, path: str, tls: bool, count: int) -> tuple[float, float]:
    """KiB for each, while they are open and when they have gone."""
    context = trusting(None) if tls else None
    visit_once(port, host, path, context, WARM)
    before = pss_bytes()
    opened = visit_once(port, host, path, context, count)
    time.sleep(GONE_S)
    held = pss_bytes()
    while opened:
        opened.pop().close()
    time.sleep(GONE_S)
    visit_once(port, host, path, context, WARM)
    return (held - before) / 1024 / count, (pss_bytes() - before) / 1024 / count


def visit_once(port: int, host: str, path: str, context, count: int) -> list:
    """Visitors who have had an answer and stay."""
    def come(number: int):
        connection = connect(port, host, context, number)
        status, _ = ask(connection, host, path)
        if status not in (200, 301, 307, 308):
            raise SystemExit(f"port {port} answers a visitor with {status}")
        return connection

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        return list(pool.map(come, range(count)))
    finally:
        pool.shutdown(cancel_futures=True)
