"""A network namespace of a script's own, and an end of all that it started when it is ended."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

MARK = "VERGE_BENCH_INSIDE"
# 10,000 connections of one process, and what else it has open.
FILE_COUNT_MIN = 12_000
# A process under it is ended when the script is, whatever ends that.
ENDS_WITH_US = ["setpriv", "--pdeathsig", "KILL"]


def enter() -> None:
    """Starts this script again in a namespace of its own, unless it is there: with loopback alone,
    and with reno (the congestion control of a machine falsifies large bodies)."""
    # So that what is to be undone at the end is undone.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(1))
    if os.environ.pop(MARK, None):
        return settle()
    if os.geteuid() != 0:
        raise SystemExit("run it as root: it makes a network namespace")
    os.execvpe("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv], {**os.environ, MARK: "yes"})


def settle() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text("reno")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < FILE_COUNT_MIN:
        raise SystemExit(f"a process may open {most} files, and {FILE_COUNT_MIN} are needed: raise it by `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
