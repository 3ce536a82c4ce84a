"""What long work shows, costs and hangs on: progress, clocks, memory, processors, its launchers."""

import contextlib
import fcntl
import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil
from tqdm import tqdm

from manifold_ocr.files import read_json, write_json

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], what: str, total: int | None = None, unit: str = "row"
) -> Iterator[Item]:
    """Yield `items` while showing count, rate and ETA (every 10 s where there is no terminal)."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(
        items,
        desc=what,
        total=total,
        unit=unit,
        file=sys.stderr,
        mininterval=interval,
        dynamic_ncols=True,
        leave=False,
        smoothing=0.1,
        delay=0.5,
    ) as bar:
        yield from bar


PERF_FILE = Path("metrics/perf.json")  # in git: the last run that did all the work
NOTES_FILE = Path("output/perf.json")  # what each stage took when it last ran
WHOLE_RUN = {  # a stage whose result is known, or partly so, does not note the second kind
    *("check_params", "download_base", "manifest", "augment", "train", "evaluate"),
    *("compress_check", "leaderboard"),
    *("train_loop", "evaluate_base", "evaluate_adapter"),
}


def peak_memory_gib() -> float:
    """Return this process's peak resident memory in GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def record(stage: str, values: Mapping[str, float]) -> None:
    """Note what `stage` took; writers are serialized.

    Once one `dvc repro` has done the work of all stages, its entries become metrics/perf.json,
    with `whole_run`: the seconds since that dvc started. A run that found some of its results
    in a cache, or was asked for some stages, leaves that file as it is.
    """
    run = _dvc_run()
    NOTES_FILE.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(".dvc/tmp/perf.lock") if Path(".dvc").is_dir() else NOTES_FILE.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        notes = read_json(NOTES_FILE) if NOTES_FILE.exists() else {}
        rounded = {key: round(float(value), 4) for key, value in values.items()}
        notes[stage] = {"run": run, "values": rounded}
        write_json(NOTES_FILE, notes)
        same = {name: entry["values"] for name, entry in notes.items() if entry["run"] == run}
        if run and same.keys() >= WHOLE_RUN:
            seconds = round(time.time() - float(run.rpartition(" ")[2]), 1)
            write_json(PERF_FILE, {**same, "whole_run": {"seconds": seconds}})


def noted() -> dict[str, dict[str, float]]:
    """Return what each stage took when it last ran, here or in the run of metrics/perf.json."""
    known: dict[str, dict[str, float]] = read_json(PERF_FILE) if PERF_FILE.is_file() else {}
    notes = read_json(NOTES_FILE) if NOTES_FILE.is_file() else {}
    return known | {name: entry["values"] for name, entry in notes.items()}


def _dvc_run() -> str:
    """Return what names the dvc above this process: its id and when it started; empty: none."""
    above = launchers()
    return f"{above[-1].pid} {above[-1].create_time()}" if above else ""


class GpuMonitor:
    """Sample one GPU's utilisation (percent of time with a kernel running) and power (watts).

    Use as a context manager. Where NVML does not answer, every reading is absent and
    `summary` is empty: a run never fails for want of a sensor.
    """

    def __init__(self, index: int = 0, interval: float = 0.25) -> None:
        self.index = index
        self.interval = interval
        self.busy: list[float] = []
        self.watts: list[float] = []
        self.seconds = 0.0
        self._told = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "GpuMonitor":
        """Start sampling."""
        handle = _device(self.index)
        self._start = time.monotonic()
        if handle is not None:
            self._thread = threading.Thread(target=self._run, args=(handle,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop sampling."""
        self.seconds = time.monotonic() - self._start
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, handle: Any) -> None:
        import pynvml

        while not self._stop.wait(self.interval):
            try:
                self.busy.append(float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))
                self.watts.append(pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
            except pynvml.NVMLError:
                return

    def recent(self) -> dict[str, float]:
        """Return mean `gpu_busy_percent` and `gpu_watts` since the last call."""
        busy, watts = self.busy[self._told :], self.watts[self._told :]
        self._told += min(len(busy), len(watts))
        named = {"gpu_busy_percent": busy, "gpu_watts": watts}
        return {name: sum(values) / len(values) for name, values in named.items() if values}

    def summary(self) -> dict[str, float]:
        """Return mean `gpu_busy_percent`, `gpu_watts` and the run's `gpu_watt_hours`."""
        values = {}
        if self.busy:
            values["gpu_busy_percent"] = sum(self.busy) / len(self.busy)
        if self.watts:
            watts = sum(self.watts) / len(self.watts)
            values["gpu_watts"] = watts
            values["gpu_watt_hours"] = watts * self.seconds / 3600
        return values


def _device(index: int) -> Any | None:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    name = visible[index].strip() if index < len(visible) and visible[index] else str(index)
    try:
        import pynvml

        pynvml.nvmlInit()
        if name.isdigit():
            return pynvml.nvmlDeviceGetHandleByIndex(int(name))
        return pynvml.nvmlDeviceGetHandleByUUID(name)
    except Exception:  # no driver, no library, no permission: there is nothing to measure
        return None


VECTOR_UNITS = (("avx512f", 512), ("avx2", 256))  # flag of the kernel, bits of a register
CPU_INFO = Path("/proc/cpuinfo")


def cpu_kind(info: Path = CPU_INFO) -> dict[str, Any]:
    """Return the processor's `cpu` name and `vector_bits` (512, 256; 128 for anything less).

    Libraries choose their kernels by the vector units, and sums in another order round
    otherwise: what a CPU trains is equal byte by byte on CPUs of equal `vector_bits` alone.
    """
    if not info.is_file():
        return {"cpu": "unknown", "vector_bits": 128}
    fields = dict(
        line.partition(":")[::2] for line in info.read_text(encoding="utf-8").splitlines()
    )
    values = {name.strip(): value.strip() for name, value in fields.items()}
    flags = set(values.get("flags", "").split())
    bits = next((bits for flag, bits in VECTOR_UNITS if flag in flags), 128)
    return {"cpu": values.get("model name", "unknown"), "vector_bits": bits}


def gpu_count() -> int:
    """Return how many NVIDIA GPUs this process may use, without importing torch.

    MANIFOLD_OCR_TEST_GPUS counts for them, so that a machine without any can try several.
    """
    if pretended := os.environ.get("MANIFOLD_OCR_TEST_GPUS"):
        return int(pretended)
    count = 0
    while _device(count) is not None:
        count += 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return count if visible is None else min(count, len([v for v in visible.split(",") if v]))


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Look for no garbage meanwhile: rows hold no cycles, and to walk a million again is slow."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def gpu_present() -> bool:
    """Return whether an NVIDIA GPU answers, without importing torch."""
    return _device(0) is not None


POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0
STARTED_BY = "MANIFOLD_OCR_STARTED_BY"  # the id of the process that started a group of them


def launchers() -> list[psutil.Process]:
    """Return the ancestors up to the nearest dvc, that one included; [] without a dvc above."""
    above = psutil.Process().parents()
    commands = [_command(process) for process in above]
    nearest = next((place for place, words in enumerate(commands) if _is_dvc(words)), None)
    return [] if nearest is None else above[: nearest + 1]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # ended meanwhile, or of another user
        return []


def _is_dvc(command: Sequence[str]) -> bool:
    return any(Path(word).name == "dvc" for word in command[:3])


def end_with_launchers() -> None:
    """Stop this process, saving, soon after any process between it and its dvc has gone.

    dvc killed with -9 leaves its stages running; the next `dvc repro` would start a second
    trainer. After a grace period of 20 s without an end the process is killed. One of a group
    looks at the process that started the group alone: that one passes the signal on.
    """
    starter = os.environ.get(STARTED_BY)
    started_by = [process for process in psutil.Process().parents() if str(process.pid) == starter]
    chain = started_by or launchers()
    if chain:
        threading.Thread(target=_watch, args=(chain,), daemon=True).start()


def _watch(chain: Sequence[psutil.Process]) -> None:
    while all(_lives(process) for process in chain):
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _lives(process: psutil.Process) -> bool:
    """Return whether it is the process it was (psutil compares start times), and no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
