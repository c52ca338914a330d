"""The table of a run, and its picture."""

import argparse
import statistics
from pathlib import Path

# What each cell is to reach, as a ratio to nginx; see ../README.md.
AIMS = {
    "h1 1 KB": 0.85, "h1 10 KB": 0.97, "h1 100 KB": 1.35,
    "h1 tls 1 KB": 0.72, "h1 tls 10 KB": 0.68, "h1 tls 100 KB": 0.58, "h1 tls 1 MB": 0.60, "h1 tls 10 MB": 0.65,
    "h2 1 KB": 0.58, "h2 10 KB": 0.70, "h2 100 KB": 0.47, "h2 1 MB": 0.50,
    "h1 real site": 0.80, "h2 real site": 0.57, "h2 304": 0.60, "h1 304": 1.00,
}
# Beside the bare hyper server: what everything that Verge does for a page may add.
FLOOR_AIMS = {"1 KB": 1.12, "10 KB": 1.10, "100 KB": 1.05, "1 MB": 1.05, "10 MB": 1.05}
BAR, GAP, LEFT, WIDTH = 9, 10, 110, 640


def ratios(own: list, other: list, field: str = "server_us") -> list[float]:
    """Of pairs of the same round."""
    return [getattr(a, field) / getattr(b, field) for a, b in zip(own, other)]


def row(cell: str, costs: dict[str, list], names: list[str]) -> str:
    base = costs["nginx"]
    words = [cell]
    for name in names:
        own = costs.get(name, [])
        if len(own) != len(base):
            words.append("-")
        elif name == "nginx":
            words.append(f"{statistics.median(cost.server_us for cost in base):.1f} us")
        else:
            found = ratios(own, base)
            words.append(f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})")
    verge = costs.get("verge", [])
    aim = AIMS.get(cell)
    is_whole = len(verge) == len(base)
    words.append(f"{aim:.2f} {'yes' if statistics.median(ratios(verge, base)) <= aim else 'no'}" if aim and is_whole else "-")
    floor = costs.get("hyper", [])
    if is_whole and len(floor) == len(base):
        reached = statistics.median(ratios(verge, floor))
        most = next((most for size, most in FLOOR_AIMS.items() if cell.endswith(f" {size}")), None)
        words.append(f"{reached:.2f}" + (f" ({most:.2f} {'yes' if reached <= most else 'no'})" if most else ""))
    else:
        words.append("-")
    return f"| {' | '.join(words)} |"


def picture(costs: dict[str, dict[str, list]], names: list[str]) -> str:
    """Bars of the ratio to nginx, a group for each cell; what is longer than twice nginx is cut there."""
    colours = ["#888", "#4878a8", "#6aa84f", "#b45f06", "#8e7cc3", "#ccc", "#ddd", "#cc0000"]
    y, parts = 30, []
    for cell, of_cell in costs.items():
        base = of_cell["nginx"]
        parts.append(f'<text x="{LEFT - 6}" y="{y + 10}" text-anchor="end">{cell}</text>')
        for name, colour in zip(names, colours):
            own = of_cell.get(name, [])
            if len(own) != len(base):
                continue
            ratio = statistics.median(ratios(own, base))
            width = min(ratio, 2) * (WIDTH - LEFT - 60) / 2
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR - 1}" fill="{colour}"/>'
                         f'<text x="{LEFT + width + 4:.0f}" y="{y + BAR - 2}" class="n">{name} {ratio:.2f}</text>')
            y += BAR
        y += GAP
    title = '<text x="10" y="16">CPU time of a request, nginx = 1</text>'
    style = "<style>text{font:11px sans-serif}.n{font-size:8px}</style>"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}">{style}'
            f'<rect width="100%" height="100%" fill="#fff"/>{title}{"".join(parts)}</svg>\n')


def write(costs: dict[str, dict[str, list]], options: argparse.Namespace) -> None:
    """The table to the terminal, and both into files if they were asked for."""
    names = options.servers
    head = ["cell", *names, "aim", "of the hyper floor"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [row(cell, of_cell, names) for cell, of_cell in costs.items()]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        Path(f"{options.out}.md").write_text(text)
        Path(f"{options.out}.svg").write_text(picture(costs, names))
