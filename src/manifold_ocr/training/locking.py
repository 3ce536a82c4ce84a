"""One trainer on one run, and none that outlives the dvc that started it (torch-free)."""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the run's lock; wait while another trainer has it.

    The kernel frees the lock when its holder ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"train: process {file.read().strip()} trains this run; waiting for it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class StopRequest:
    """Ctrl-C and termination as a wish: training stops at the next step and saves.

    Outside of training (`armed` is False), and at the second signal, the process is
    interrupted at once.
    """

    def __init__(self) -> None:
        """Nothing is wished yet."""
        self.wished = False
        self.armed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if not self.armed or self.wished:
            raise KeyboardInterrupt
        self.wished = True
        print("train: stopping after this step; a checkpoint is saved (again: stop at once)")

    @contextmanager
    def installed(self) -> Iterator["StopRequest"]:
        """Handle SIGINT and SIGTERM while the block runs (in the main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Process:
    """A process as it is told apart from a later one with the same id: by its start time."""

    pid: int
    started: str
    command: str


def read_process(pid: int) -> Process | None:
    """Return the process with `pid`, or None where there is none (or it is a zombie)."""
    folder = Path("/proc") / str(pid)
    try:
        fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] == "Z" else Process(pid, fields[19], command.strip())


def parent_of(pid: int) -> int:
    """Return the parent's id, 0 where there is none."""
    try:
        stat = (Path("/proc") / str(pid) / "stat").read_text(encoding="utf-8")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def launchers() -> list[Process]:
    """Return the ancestors up to the nearest dvc, that one included; [] without a dvc above."""
    chain: list[Process] = []
    pid = os.getppid()
    while pid > 1 and (process := read_process(pid)) is not None:
        chain.append(process)
        if _is_dvc(process.command):
            return chain
        pid = parent_of(pid)
    return []


def _is_dvc(command: str) -> bool:
    words = command.split()[:3]
    return any(Path(word).name == "dvc" for word in words)


def end_with_launchers() -> None:
    """Stop this process, saving, soon after any process between it and its dvc has gone.

    dvc killed with -9 leaves its stages running; the next `dvc repro` would start a second
    trainer. After a grace period of 20 s without an end the process is killed.
    """
    chain = launchers()
    if chain:
        threading.Thread(target=_watch, args=(chain,), daemon=True).start()


def _watch(chain: list[Process]) -> None:
    while all(_lives(process) for process in chain):
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _lives(process: Process) -> bool:
    now = read_process(process.pid)
    return now is not None and now.started == process.started
