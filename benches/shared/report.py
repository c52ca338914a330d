"""What a run found: tables for the terminal and a dated file, bars as pictures beside it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

COLOURS = ["#888", "#4878a8", "#6aa84f", "#b45f06", "#8e7cc3", "#bf9000", "#bbb", "#ddd", "#cc0000"]
BAR, GAP, LEFT, WIDTH = 9, 10, 150, 680


@dataclass
class Table:
    """Rows of words under a title; `how` says in a sentence how they were measured."""

    title: str
    how: str
    head: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"| {' | '.join(self.head)} |", "|" + "---|" * len(self.head)]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return f"## {self.title}\n\n{self.how}\n\n" + "\n".join(lines) + "\n"


class Report:
    """All tables and pictures of a run; each is on the disk as soon as it is there."""

    def __init__(self, title: str, out: Path | None):
        self.title, self.out, self.texts = title, out, []

    def add(self, table: Table) -> None:
        print(f"\n{table.markdown()}", flush=True)
        self.texts.append(table.markdown())
        if self.out:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            Path(f"{self.out}.md").write_text("\n".join([f"# {self.title}\n", *self.texts]))

    def draw(self, name: str, picture: str) -> None:
        if self.out:
            Path(f"{self.out}-{name}.svg").write_text(picture)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Says how long a part took."""
        begun = time.monotonic()
        print(f"-- {part}", flush=True)
        yield
        print(f"-- {part} took {time.monotonic() - begun:.0f} s", flush=True)


def bars(title: str, groups: dict[str, dict[str, float]], most: float, colours: dict[str, str]) -> str:
    """A bar for each figure of each group; what is longer than `most` is cut there."""
    y, parts = 30, []
    for label, figures in groups.items():
        parts.append(f'<text x="{LEFT - 6}" y="{y + 10}" text-anchor="end">{label}</text>')
        for name, figure in figures.items():
            width = min(figure / most, 1) * (WIDTH - LEFT - 110)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR - 1}" fill="{colours.get(name, "#888")}"/>'
                         f'<text x="{LEFT + width + 4:.0f}" y="{y + BAR - 2}" class="n">{name} {short(figure)}</text>')
            y += BAR
        y += GAP
    style = "<style>text{font:11px sans-serif}.n{font-size:8px}</style>"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}">{style}'
            f'<rect width="100%" height="100%" fill="#fff"/><text x="10" y="16">{title}</text>{"".join(parts)}</svg>\n')


def short(figure: float) -> str:
    """A number with three digits that count."""
    if figure >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def colours_of(names: list[str]) -> dict[str, str]:
    """One colour for each name, the same in every picture of a run."""
    return dict(zip(names, COLOURS))
