"""What the kernel says of processes: time, memory, bytes written."""

import os
import signal
import subprocess
from pathlib import Path


def family(pids: list[int]) -> list[int]:
    """These and all that they started."""
    found, more = [], list(pids)
    while more:
        pid = more.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            more += [int(child) for child in task.read_text().split()]
    return found


def cpu_ns(pids: list[int]) -> int:
    """CPU time of all their threads, in the kernel and out of it."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(task.read_text().split()[0]) for task in tasks)


def pss_bytes(pids: list[int]) -> int:
    """Their memory, what is shared divided among those who share it."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def written_bytes(pid: int) -> int:
    """What a process made the kernel write to a disk."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["write_bytes"])


def end(process: subprocess.Popen) -> None:
    """Ends what leads a process group, and the group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
