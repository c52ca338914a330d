"""What all parts of a comparison share: the folder that is served, certificates, places, cores."""

import argparse
import contextlib
import functools
import gzip
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from load import Cell
from report import Report
from servers import SERVERS, Place, Server

SIZES = {"1 KB": 1_000, "10 KB": 10_000, "100 KB": 100_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
# A real site with many small pages, and how many of its addresses are asked for.
REAL_SITE = Path("/usr/share/doc/git-doc")
REAL_COUNT = 2_000
SERVER_CORE, LOAD_CORE = "0", "1"
# They answer a body of one size whatever is asked.
FLOORS = {"hyper", "raw"}
PROTOCOLS = ["h1", "h1 tls", "h2"]


def cells() -> list[Cell]:
    """All kinds of visits."""
    one = [Cell(f"{protocol} {size}", protocol, [f"/{count}.bin"]) for protocol in PROTOCOLS for size, count in SIZES.items()]
    real = [f"/real/{page}" for page in real_pages()]
    codings = ["accept-encoding: br, gzip"]
    mixed = [Cell(f"{protocol} real site", protocol, real, headers=codings) for protocol in ["h1", "h2"]]
    same = [Cell(f"{protocol} 304", protocol, ["/10000.bin"], status=304, is_conditional=True) for protocol in ["h1", "h2"]]
    # Over HTTP/1.1 h2load waits for a body that never comes.
    head = [Cell("h2 HEAD", "h2", ["/10000.bin"], headers=[":method: HEAD"])]
    return one + mixed + same + head


def real_pages() -> list[Path]:
    """Random addresses of the real site, the same each time."""
    seed = random.Random(7)
    pages = sorted(path.relative_to(REAL_SITE) for path in REAL_SITE.rglob("*.html"))
    return [seed.choice(pages) for _ in range(REAL_COUNT)]


def make_sites(folder: Path) -> tuple[Path, Path]:
    """The folder that is served, and the same with what servers want that do not compress themselves."""
    plain, packed = folder / "plain", folder / "packed"
    plain.mkdir()
    noise = random.Random(1)
    for count in SIZES.values():
        (plain / f"{count}.bin").write_bytes(noise.randbytes(count))
    shutil.copytree(REAL_SITE, plain / "real", symlinks=False, ignore=lambda _dir, names: [n for n in names if n.endswith((".gz", ".deb"))])
    shutil.copytree(plain, packed)
    for page in packed.rglob("*.html"):
        page.with_name(page.name + ".gz").write_bytes(gzip.compress(page.read_bytes(), 9, mtime=0))
        if shutil.which("brotli"):
            subprocess.run(["brotli", "-q", "9", "-k", str(page)], check=True)
    return plain, packed


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """ECDSA P-256, signed by itself."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=bench.localhost", "-addext", "subjectAltName=DNS:bench.localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)
    return chain, key


def make_small(folder: Path) -> Path:
    """A folder that takes no time to build: two files."""
    small, noise = folder / "small", random.Random(1)
    small.mkdir()
    for count in (1_000, 10_000):
        (small / f"{count}.bin").write_bytes(noise.randbytes(count))
    return small


class Bench:
    """What one run has."""

    def __init__(self, options: argparse.Namespace, folder: Path, report: Report):
        self.options, self.folder, self.report = options, folder, report
        self.chain, self.key = make_certificate(folder)
        self.small = make_small(folder)

    @functools.cached_property
    def sites(self) -> tuple[Path, Path]:
        """With all sizes and the real site: takes a while to make."""
        return make_sites(self.folder)

    def place(self, name: str, file: str, site: Path | None = None) -> Place:
        """Of a server; a floor serves `file` alone."""
        index = list(SERVERS).index(name)
        site = site or self.small
        return Place(site / file if name in FLOORS else site, self.chain, self.key, self.folder / name, 8080 + index, 8440 + index)

    def whole(self, name: str, file: str) -> Place:
        """The same over all sizes and the real site."""
        plain, packed = self.sites
        return self.place(name, file, packed if name not in FLOORS | {"verge"} else plain)

    @property
    def lasting(self) -> list[str]:
        """The servers that know every file."""
        return [name for name in self.options.servers if name not in FLOORS]

    @property
    def floors(self) -> list[str]:
        return [name for name in self.options.servers if name in FLOORS]


def start(names: list[str], place: Callable[[str], Place], stack: contextlib.ExitStack) -> dict[str, Server]:
    """They run until the stack is left."""
    return {name: stack.enter_context(Server(name, place(name), SERVER_CORE)) for name in names}
