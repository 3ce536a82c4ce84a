"""Read the files of a batch in several processes, on one machine or a Ray cluster.

Each worker does what `batch.read_file` does, so the outputs are the same bytes whoever
writes them.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.resources import progress
from manifold_ocr.serving.batch import BatchSettings, Mapper, Source, read_file
from manifold_ocr.serving.documents import Reader, load_reader

AHEAD = 4  # files handed to each process before it asks


Loader = Callable[[Path | None, int], Reader]


class Worker:
    """Holds a loaded model and reads files with it."""

    def __init__(self, settings: BatchSettings, out: Path, load: Loader = load_reader) -> None:
        """Load the model, for one thread."""
        os.environ["OMP_NUM_THREADS"] = str(settings.threads or 1)
        self.settings, self.out = settings, out
        self.reader = load(settings.model, settings.threads or 1)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Read the file {path, name} and return its line of the journal."""
        source = Source(Path(item["path"]), item["name"])
        return {"row": read_file(source, self.reader, self.settings, self.out)}


_state: dict[str, Worker | UserError] = {}  # of a worker process: set once, when it starts


def _start(settings: BatchSettings, out: Path) -> None:
    try:
        _state["worker"] = Worker(settings, out)
    except UserError as error:  # a process that ended here would look like a bad file
        _state["worker"] = error


def _work(source: Source) -> dict[str, Any]:
    worker = _state["worker"]
    if isinstance(worker, UserError):
        raise worker
    row: dict[str, Any] = worker({"path": source.path, "name": source.name})["row"]
    return row


def processes(count: int) -> Mapper:
    """Return a mapper that reads in `count` processes.

    A file that ends its process (a crash in a decoder, no memory) is tried once more, alone;
    if that process ends too, the file is quarantined.
    """
    return partial(_read_in_processes, count=count)


def _read_in_processes(
    sources: list[Source], settings: BatchSettings, out: Path, *, count: int
) -> Iterator[dict[str, Any]]:
    settings = replace(settings, threads=settings.threads or 1)
    yield from progress(_rows(sources, settings, out, count), "ocr", len(sources), "file")


def _rows(
    sources: list[Source], settings: BatchSettings, out: Path, count: int
) -> Iterator[dict[str, Any]]:
    left = list(reversed(sources))
    while left:
        suspects: list[Source] = []
        with _pool(min(count, len(left)), settings, out) as pool:
            running: dict[Future[dict[str, Any]], Source] = {}
            while left or running:
                while left and len(running) < AHEAD * count and not suspects:
                    source = left.pop()
                    try:
                        running[pool.submit(_work, source)] = source
                    except BrokenProcessPool:
                        suspects.append(source)
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    source = running.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        suspects.append(source)
        for source in suspects:
            yield _alone(source, settings, out)


def _pool(count: int, settings: BatchSettings, out: Path) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=_start, initargs=(settings, out))


def _alone(source: Source, settings: BatchSettings, out: Path) -> dict[str, Any]:
    with _pool(1, settings, out) as pool:
        try:
            return pool.submit(_work, source).result()
        except BrokenProcessPool:
            reason = f"{source.path}: reading it ended the process (crash or out of memory)"
            return {"file": source.name, "error": reason, "pages": 0}


def ray_data(count: int, load: Loader = load_reader) -> Mapper:
    """Return a mapper that reads through Ray Data with `count` actors.

    Ray's own address variable (`RAY_ADDRESS`) names a cluster, which must see the same files.
    """
    return partial(_read_with_ray, count=count, load=load)


def _read_with_ray(
    sources: list[Source], settings: BatchSettings, out: Path, *, count: int, load: Loader
) -> Iterator[dict[str, Any]]:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError("--engine ray needs Ray: pip install 'manifold-ocr[ray]'") from error
    if not sources:
        return
    if not ray.is_initialized():
        _start_ray(ray, count)
    ray.data.DataContext.get_current().enable_progress_bars = False  # ours shows the files
    settings = replace(settings, threads=settings.threads or 1)
    items = [{"path": str(source.path.resolve()), "name": source.name} for source in sources]
    callable_class: Any = Worker  # Ray's types know functions only
    rows = ray.data.from_items(items, override_num_blocks=min(len(items), 8 * count)).map(
        callable_class,
        fn_constructor_args=(settings, out.resolve(), load),
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=1,
    )
    found = (row["row"] for row in rows.iter_rows())
    try:
        for row in progress(found, "ocr", len(sources), "file"):
            yield _plain(row)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"--engine ray: {reason}; what was read is kept, rerun to go on") from error


def _start_ray(ray: Any, count: int) -> None:
    local = not os.environ.get("RAY_ADDRESS")
    try:
        ray.init(log_to_driver=False, num_cpus=count if local else None, include_dashboard=False)
    except Exception as error:  # Ray raises plain Exceptions here
        where = "on this machine" if local else f"at RAY_ADDRESS {os.environ['RAY_ADDRESS']}"
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--engine ray: Ray did not start {where} ({reason}); try again") from error


def _plain(value: Any) -> Any:
    """Return a row as plain values: Arrow fills absent keys with None and may give arrays."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None or k == "page"}
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list) else value
