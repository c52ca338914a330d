"""A real node, alone in a region of its own, with many sites; it ends with the block."""

import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from inside import ENDS_WITH_US
from processes import cpu_ns, end, family, pss_bytes
from programs import VERGE

HTTP, HTTPS, SSH, NODES = 9080, 9443, 9022, 9420
# 64 names belong to one account at most.
SITES_PER_ACCOUNT = 50
# Deploys at once; so many are let build.
AT_ONCE = 4


def host(site: str) -> str:
    return f"{site}.sites.localhost"


class Node:
    """Its data directory, and its process while it runs."""

    def __init__(self, folder: Path, **sections: dict[str, int]):
        """Founds the region, unless there is one in the folder; `sections` are those of config.toml, with what is
        to be other than it is by itself."""
        self.data, self.log, self.process = folder / "node", folder / "node.log", None
        self.ca = self.data / "local-ca.pem"
        if not self.data.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.found()
        self.set("push", at_once_max=AT_ONCE)
        for section, settings in sections.items():
            self.set(section, **settings)

    def found(self) -> None:
        listen = {"http": HTTP, "https": HTTPS, "ssh": SSH, "nodes": NODES}
        self.run("init", "--region", "Bench", "--provider", "Bench", "--test", "--host-proof", "none", "--ca", "local",
                 *(word for name, port in listen.items() for word in (f"--listen-{name}", f"127.0.0.1:{port}")))

    def set(self, section: str, **settings: int) -> None:
        """Changes config.toml; counts from the next start."""
        file = self.data / "config.toml"
        text = file.read_text()
        for key, value in settings.items():
            text, count = re.subn(rf"(?ms)^(\[{section}\][^\[]*?^{key} = )\d+$", rf"\g<1>{value}", text)
            if count != 1:
                raise SystemExit(f"config.toml has no {key} in [{section}]")
        file.write_text(text)

    def run(self, *words: str) -> str:
        """One command of `verge` about this node."""
        done = subprocess.run([str(VERGE), *words, "--data", str(self.data)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"verge {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def launch(self, under: list[str] | None = None) -> None:
        """Starts it and does not wait; from the main thread only, for it ends with the thread."""
        with open(self.log, "ab") as log:
            command = [*ENDS_WITH_US, *(under or []), str(VERGE), "serve", "--data", str(self.data)]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)

    def start(self, under: list[str] | None = None) -> "Node":
        """Starts it, until it is ready."""
        self.launch(under)
        if "ready" not in self.process.stdout.readline():
            self.stop()
            raise SystemExit(f"the node does not start: {self.log.read_text()[-500:]}")
        return self

    def stop(self) -> None:
        if self.process:
            end(self.process)
            self.process.stdout.close()
            self.process = None

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_error) -> None:
        self.stop()

    def add_account(self, name: str) -> None:
        key = self.data.parent / "key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.run("account", "add", name, "--ssh-key", f"{key}.pub")

    def add_site(self, site: str, account: str, folder: Path) -> None:
        self.run("site", "create", site, "--owner", account)
        self.run("deploy", str(folder), "--site", site)

    def add_sites(self, count: int, template: Path) -> None:
        """`site0` and so on, each the folder `template` and a page of its own, `/own`."""
        own, taken = threading.local(), iter(range(AT_ONCE))

        def add(number: int) -> None:
            if not hasattr(own, "folder"):
                own.folder = template.with_name(f"{template.name}-{next(taken)}")
                shutil.copytree(template, own.folder)
            (own.folder / "own.html").write_text(page_of(number))
            self.add_site(f"site{number}", f"account{number // SITES_PER_ACCOUNT}", own.folder)

        for account in range(-(-count // SITES_PER_ACCOUNT)):
            self.add_account(f"account{account}")
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for done in [pool.submit(add, number) for number in range(count)]:
                done.result()
        finally:
            # Whoever interrupts it does not wait for all the others.
            pool.shutdown(cancel_futures=True)

    def processes(self) -> list[int]:
        return family([self.process.pid])

    def cpu_ns(self) -> int:
        return cpu_ns(self.processes())

    def pss_bytes(self) -> int:
        return pss_bytes(self.processes())


def page_of(number: int) -> str:
    return f"<!doctype html><title>Site {number}</title><p>Site {number}\n"


def small_site(folder: Path, files: int) -> Path:
    """A site of small pages, `files` of them with the start page and the page of its own that each gets."""
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Small</title>\n")
    for number in range(files - 2):
        (folder / f"page{number}.html").write_text(f"<!doctype html><title>Page {number}</title><p>Page {number}\n")
    return folder
