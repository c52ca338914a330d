"""The table of what visits cost, and its picture."""

import statistics

from report import Table, bars, colours_of

# What each cell is to reach, as a ratio to nginx; see ../README.md.
AIMS = {
    "h1 1 KB": 0.85, "h1 10 KB": 0.97, "h1 100 KB": 1.35,
    "h1 tls 1 KB": 0.72, "h1 tls 10 KB": 0.68, "h1 tls 100 KB": 0.58, "h1 tls 1 MB": 0.60, "h1 tls 10 MB": 0.65,
    "h2 1 KB": 0.58, "h2 10 KB": 0.70, "h2 100 KB": 0.47, "h2 1 MB": 0.50,
    "h1 real site": 0.80, "h2 real site": 0.57, "h2 304": 0.60, "h1 304": 1.00,
}
# Beside the bare hyper server: what everything that Verge does for a page may add.
FLOOR_AIMS = {"1 KB": 1.12, "10 KB": 1.10, "100 KB": 1.05, "1 MB": 1.05, "10 MB": 1.05}
# From here up work for a body moves to the client's account when the client is busy.
WITH_CLIENT = ("100 KB", "1 MB", "10 MB")


def ratios(own: list, other: list, field: str = "server_us") -> list[float]:
    """Of pairs of the same round."""
    return [getattr(a, field) / getattr(b, field) for a, b in zip(own, other)]


def figure(cell: str, own: list, base: list) -> str:
    """The median ratio and its range; for large bodies also that of server and client together."""
    found = ratios(own, base)
    words = f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"
    if cell.endswith(WITH_CLIENT):
        words += f" both {statistics.median(ratios(own, base, 'both_us')):.2f}"
    return words


def reached(cell: str, verge: list, base: list) -> str:
    """Whether the aim is met."""
    aim = AIMS.get(cell)
    if not aim or len(verge) != len(base):
        return "-"
    return f"{aim:.2f} {'yes' if statistics.median(ratios(verge, base)) <= aim else 'no'}"


def over_floor(cell: str, verge: list, floor: list) -> str:
    """Verge beside the bare hyper server of the same rounds."""
    if not floor or len(verge) != len(floor):
        return "-"
    ratio = statistics.median(ratios(verge, floor))
    most = next((most for size, most in FLOOR_AIMS.items() if cell.endswith(f" {size}")), None)
    return f"{ratio:.2f}" + (f" ({most:.2f} {'yes' if ratio <= most else 'no'})" if most else "")


def row(cell: str, costs: dict[str, list], names: list[str]) -> list[str]:
    """Of one kind of visit."""
    base, words = costs["nginx"], [cell]
    for name in names:
        own = costs.get(name, [])
        if len(own) != len(base):
            words.append("-")
        elif name == "nginx":
            words.append(f"{statistics.median(cost.server_us for cost in base):.1f} us")
        else:
            words.append(figure(cell, own, base))
    verge = costs.get("verge", [])
    return [*words, reached(cell, verge, base), over_floor(cell, verge, costs.get("hyper", []))]


def table(costs: dict[str, dict[str, list]], names: list[str]) -> Table:
    """All kinds of visits."""
    return Table(
        "CPU time of the server for a request",
        "nginx in microseconds, the others as ratios to nginx in the same round: median and range; "
        "*both* is that of server and client together.",
        ["cell", *names, "aim", "of the hyper floor"],
        [row(cell, of_cell, names) for cell, of_cell in costs.items()],
    )


def picture(costs: dict[str, dict[str, list]], names: list[str]) -> str:
    """Bars of the ratio to nginx."""
    groups = {}
    for cell, of_cell in costs.items():
        base = of_cell["nginx"]
        whole = {name: of_cell[name] for name in names if base and len(of_cell.get(name, [])) == len(base)}
        groups[cell] = {name: statistics.median(ratios(own, base)) for name, own in whole.items()}
    return bars("CPU time of a request, nginx = 1 (cut at 2)", groups, 2, colours_of(names))
