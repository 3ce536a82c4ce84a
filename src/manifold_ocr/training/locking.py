"""One trainer per run, one process per GPU, and stopping (torch-free)."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from manifold_ocr.config import TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.resources import GRACE_SECONDS, POLL_SECONDS, STARTED_BY, gpu_count

AUTOMATIC_BATCH = 16  # rows of a step for each unit of gradient_accumulation


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
    """Ctrl-C and termination as a request: training stops at the next step and saves.

    Outside of training (`armed` is False), and at the second signal, the process is
    interrupted at once.
    """

    def __init__(self) -> None:
        """Nothing is requested yet."""
        self.requested = False
        self.armed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if not self.armed or self.requested:
            raise KeyboardInterrupt
        self.requested = True
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


def world_size() -> int:
    """Return the number of processes that train together, as torchrun gives it, or 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rows_per_step(config: TrainConfig) -> int:
    """Return the rows of an optimizer step, on all GPUs together."""
    return (config.train_batch_size or AUTOMATIC_BATCH) * config.gradient_accumulation


def processes_to_start(gpus: str | int, rows: int) -> int:
    """Return how many processes train steps of `rows` on the GPUs of this machine, one on each.

    1 where there is one GPU or none, and in a process that was started with others. `auto`
    takes all GPUs, or as many of them as can share a step's rows equally.

    Raises:
        UserError: more GPUs than there are, or a number that cannot share the rows.
    """
    if "RANK" in os.environ or gpus == 1:
        return 1
    found = max(1, gpu_count())
    if gpus == "auto":
        return next(count for count in range(found, 0, -1) if rows % count == 0)
    wanted = int(gpus)
    if wanted > found or rows % wanted:
        why = f"{found} answer" if wanted > found else f"they cannot share {rows} rows per step"
        raise UserError(f"train.gpus: {wanted} GPUs are requested, but {why}; set train.gpus=auto")
    return wanted


def start_processes(count: int, module: str) -> int:
    """Run `python -m module` in `count` processes with torchrun's variables; return the status.

    Ctrl-C and SIGTERM are passed on once to each; when one ends with an error, the others, which
    would wait for it, are ended too. The status is that of the first to fail, or 0.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    group[STARTED_BY] = os.getpid()
    members = [
        subprocess.Popen(
            [sys.executable, "-m", module],
            env={**os.environ, **{k: str(v) for k, v in {**group, **_place(rank)}.items()}},
            start_new_session=True,  # a terminal's Ctrl-C would reach them twice
        )
        for rank in range(count)
    ]

    def pass_on(number: int, frame: FrameType | None) -> None:
        for member in members:
            member.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _wait_for(members)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _place(rank: int) -> dict[str, int]:
    return {"RANK": rank, "LOCAL_RANK": rank}


def _wait_for(members: Sequence[subprocess.Popen[bytes]]) -> int:
    failed, deadline = 0, float("inf")
    while None in [member.poll() for member in members]:  # a list: each is asked
        if not failed and (failed := _failure(members)):
            deadline = time.monotonic() + GRACE_SECONDS
            rank = [bool(member.returncode) for member in members].index(True)
            told = f"by signal {-failed}" if failed < 0 else f"with status {failed}"
            print(
                f"train: process {rank} of {len(members)} ended {told}; the others are ended too",
                file=sys.stderr,
                flush=True,
            )
        if time.monotonic() > deadline:
            for member in members:
                member.kill()
        time.sleep(POLL_SECONDS)
    return failed or _failure(members)


def _failure(members: Sequence[subprocess.Popen[bytes]]) -> int:
    return next((member.returncode for member in members if member.returncode), 0)
