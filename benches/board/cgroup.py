"""As much memory and as much of a core as a small board has, by control groups of version 1."""

import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "verge-board-"
PERIOD_US = 100_000


class Cgroup:
    """Processes under it share its limits; it is removed with the block, when they have ended."""

    def __init__(self, memory_bytes: int, cores: float):
        name = f"{PREFIX}{os.getpid()}"
        self.memory, self.cpu = ROOT / "memory" / name, ROOT / "cpu" / name
        for place in (self.memory.parent / "memory.limit_in_bytes", self.cpu.parent / "cpu.shares"):
            if not place.exists():
                raise SystemExit(f"{place} is missing: control groups of version 1 are needed, of memory and cpu")
        self.memory_bytes, self.quota_us = memory_bytes, int(cores * PERIOD_US)

    def __enter__(self) -> "Cgroup":
        sweep()
        self.memory.mkdir()
        (self.memory / "memory.limit_in_bytes").write_text(str(self.memory_bytes))
        self.cpu.mkdir()
        (self.cpu / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (self.cpu / "cpu.cfs_quota_us").write_text(str(self.quota_us))
        return self

    def __exit__(self, *_error) -> None:
        for place in (self.memory, self.cpu):
            remove(place)

    @property
    def under(self) -> list[str]:
        """Starts a program in it."""
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && echo $$ > "$1/cgroup.procs" && shift && exec "$@"', str(self.memory), str(self.cpu)]

    def peak_bytes(self) -> int:
        """The most memory at once, with the files that were kept in memory."""
        return int((self.memory / "memory.max_usage_in_bytes").read_text())

    def killed_count(self) -> int:
        """Processes that were killed for want of memory."""
        fields = dict(line.split() for line in (self.memory / "memory.oom_control").read_text().splitlines())
        return int(fields.get("oom_kill", 0))

    def throttled_s(self) -> float:
        """How long it had to wait for its next part of the core."""
        fields = dict(line.split() for line in (self.cpu / "cpu.stat").read_text().splitlines())
        return int(fields["throttled_time"]) / 1e9


def remove(place: Path) -> None:
    """A group is busy for a moment after its last process."""
    deadline = time.monotonic() + 5
    while place.exists():
        try:
            place.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def sweep() -> None:
    """Removes what runs left behind that were killed."""
    for place in [*(ROOT / "memory").glob(f"{PREFIX}*"), *(ROOT / "cpu").glob(f"{PREFIX}*")]:
        if not Path("/proc", place.name.removeprefix(PREFIX)).exists():
            remove(place)
