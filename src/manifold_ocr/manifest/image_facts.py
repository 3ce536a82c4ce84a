"""Look at every image once: hash, size, descriptor, and whether it can be read at all."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from manifold_ocr.corpora.listing import is_image, walk_files
from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_file
from manifold_ocr.images import open_image
from manifold_ocr.manifest.descriptor import page_descriptor
from manifold_ocr.manifest.image_cache import FileState, ImageCache, ImageFacts
from manifold_ocr.progress import progress

BATCH = 64
RECHECK = 100  # one cache hit in so many is hashed again


@dataclass(frozen=True)
class CacheReport:
    """How many images were known, looked at anew, and hashed again as a check."""

    known: int
    fresh: int
    rechecked: int


def look_at(path: Path) -> ImageFacts:
    """Return the facts of one image file; a file that cannot be used carries its problem."""
    try:
        digest = hashlib.sha256(path.read_bytes()).digest()
        image = open_image(path)
    except FileNotFoundError:
        return ImageFacts(b"", 0, 0, b"", "missing_image: no such file")
    except (UserError, OSError) as error:
        reason = "unreadable_image"
        if path.is_file() and path.stat().st_size == 0:
            reason = "empty_image"
        detail = str(error).replace(f"{path}: ", "").replace(str(path), path.name)
        return ImageFacts(b"", 0, 0, b"", f"{reason}: {detail}")
    return ImageFacts(digest, image.width, image.height, page_descriptor(image))


def prepare_images(
    raw_root: Path, corpora: Iterable[str], cache_path: Path, started_ns: int, workers: int
) -> CacheReport:
    """Bring the cache up to date with all image files of the named corpora.

    Only images that are new or whose size or time changed are read, by `workers` processes.
    """
    cache = ImageCache(cache_path, started_ns)
    known = fresh = rechecked = 0
    try:
        for corpus in corpora:
            scan = _scan(raw_root, corpus, cache)
            if scan is None:  # the disk disagrees with the cache: trust nothing of it
                cache.forget(f"{corpus}/")
                scan = _scan(raw_root, corpus, cache)
            missing, hits, checks = scan or ([], 0, 0)
            _read_images(raw_root, missing, cache, workers, corpus)
            known, fresh, rechecked = known + hits, fresh + len(missing), rechecked + checks
    finally:
        cache.close()
    return CacheReport(known, fresh, rechecked)


def _scan(raw_root: Path, corpus: str, cache: ImageCache) -> tuple[list[str], int, int] | None:
    """Return (images to read, hits, hits hashed again); None where a hit proved wrong."""
    missing: list[str] = []
    hits = checks = 0
    for name in walk_files(raw_root / corpus):
        if not is_image(name):
            continue
        name = f"{corpus}/{name}"
        facts = cache.get(name, FileState.of(raw_root / name))
        if facts is None:
            missing.append(name)
            continue
        hits += 1
        if hits % RECHECK == 0 and facts.sha256:
            checks += 1
            if sha256_file(raw_root / name) != facts.sha256.hex():
                return None
    return missing, hits, checks


def _read_images(
    raw_root: Path, names: list[str], cache: ImageCache, workers: int, corpus: str
) -> None:
    if not names:
        return
    tasks = [(str(raw_root), names[i : i + BATCH]) for i in range(0, len(names), BATCH)]
    if workers == 1 or len(tasks) == 1:
        results: Iterable[list[tuple[str, FileState, ImageFacts]]] = map(_read_batch, tasks)
        _store(results, len(tasks), cache, corpus)
        return
    with ProcessPoolExecutor(workers) as pool:
        _store(pool.map(_read_batch, tasks), len(tasks), cache, corpus)


def _store(
    results: Iterable[list[tuple[str, FileState, ImageFacts]]],
    total: int,
    cache: ImageCache,
    corpus: str,
) -> None:
    for entries in progress(results, f"look at {corpus} (x{BATCH})", total=total, unit="batch"):
        cache.put(entries)


def _read_batch(task: tuple[str, list[str]]) -> list[tuple[str, FileState, ImageFacts]]:
    root, names = task
    entries = []
    for name in names:
        path = Path(root) / name
        state = FileState.of(path)
        entries.append((name, state, look_at(path)))
    return entries
