"""Unpack archives that strangers made: no way out of the folder, no links, no bombs."""

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from manifold_ocr.errors import UserError
from manifold_ocr.files import CHUNK
from manifold_ocr.resources import progress

DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError,
    EOFError, OSError, RuntimeError, ValueError,
)  # fmt: skip
_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may unpack to.

    An archive over `free_bytes` (1 GiB) must not grow by more than `ratio`: scans hardly
    compress and annotations by 10 to 30, while a bomb of 10 GB is a few megabytes.
    """

    files: int = 2_000_000
    bytes: int = 1 << 40
    free_bytes: int = 1 << 30
    ratio: float = 100.0

    def check(self, archive: Path, files: int, size: int) -> None:
        """Raise UserError where the counts so far are over a limit."""
        if files > self.files:
            raise UserError(f"{archive}: more than {self.files:,} files; not unpacked")
        packed = archive.stat().st_size
        if size > self.bytes or (size > self.free_bytes and size > self.ratio * packed):
            raise UserError(
                f"{archive}: unpacks to more than {size / 2**30:.1f} GiB from "
                f"{packed / 2**20:.1f} MiB, as a decompression bomb does; not unpacked"
            )


@dataclass(frozen=True)
class _Entry:
    """One regular file of an archive: its checked path and the member that holds it."""

    path: PurePosixPath
    size: int
    member: zipfile.ZipInfo | tarfile.TarInfo


def is_archive(path: Path) -> bool:
    """Say whether the name is that of an archive this module unpacks."""
    return path.name.lower().endswith(_SUFFIXES)


def unpack(archive: Path, destination: Path, limits: Limits | None = None) -> int:
    """Unpack a zip or tar archive into `destination`; return the number of files.

    A folder that wraps the whole archive is left away. Declared sizes are checked before
    anything is written and real ones while writing.

    Raises:
        UserError: damaged, too large, or with a member that is a link, a device, or whose
            path is absolute, leaves the folder or occurs twice. The caller discards
            `destination` then.
    """
    limits = limits or Limits()
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                return _unpack_zip(opened, archive, destination, limits)
        with tarfile.open(archive) as opened_tar:
            return _unpack_tar(opened_tar, archive, destination, limits)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk's fault; a wrong offset inside the archive is EINVAL
        raise UserError(f"{archive}: damaged archive ({error}); fetch it again") from error


def _unpack_zip(opened: zipfile.ZipFile, archive: Path, destination: Path, limits: Limits) -> int:
    entries = _checked(archive, _zip_entries(opened, archive), limits)
    size = 0
    for entry in progress(entries, f"unpack {archive.name}", len(entries), unit="file"):
        with opened.open(entry.member) as reader:  # type: ignore[arg-type]
            size = _write(reader, destination / entry.path, archive, limits, size)
    return len(entries)


def _unpack_tar(opened: tarfile.TarFile, archive: Path, destination: Path, limits: Limits) -> int:
    entries = _checked(archive, _tar_entries(opened, archive, limits), limits)
    size = 0
    for entry in progress(entries, f"unpack {archive.name}", len(entries), unit="file"):
        reader = opened.extractfile(entry.member)  # type: ignore[arg-type]
        if reader is None:
            raise UserError(f"{archive}: {entry.path}: not a regular file")
        with reader:
            size = _write(reader, destination / entry.path, archive, limits, size)
    return len(entries)


def _zip_entries(opened: zipfile.ZipFile, archive: Path) -> Iterator[_Entry]:
    for info in opened.infolist():
        if info.is_dir():
            continue
        if info.flag_bits & 0x1:
            raise UserError(f"{archive}: {info.filename}: encrypted; unpack it by hand")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise UserError(f"{archive}: {info.filename}: a link or device; refused")
        yield _Entry(_safe_path(archive, info.filename), info.file_size, info)


def _tar_entries(opened: tarfile.TarFile, archive: Path, limits: Limits) -> Iterator[_Entry]:
    size = 0
    for count, info in enumerate(opened, 1):
        size += info.size
        limits.check(archive, count, size)  # a tar has no directory: check while it streams
        if info.isdir():
            continue
        if not info.isfile():
            raise UserError(f"{archive}: {info.name}: a link or device; refused")
        yield _Entry(_safe_path(archive, info.name), info.size, info)


def _safe_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or drive:
        raise UserError(f"{archive}: {name!r}: a path out of the archive's folder; refused")
    return path


def _checked(archive: Path, entries: Iterable[_Entry], limits: Limits) -> list[_Entry]:
    """Return the entries to write, without clutter and wrapping folder, sizes checked."""
    chosen = [e for e in entries if not any(part in _IGNORED for part in e.path.parts)]
    size = sum(entry.size for entry in chosen)
    limits.check(archive, len(chosen), size)
    free = shutil.disk_usage(archive.parent).free
    if size > free:
        needed, left = size / 2**30, free / 2**30
        raise UserError(f"{archive}: needs {needed:.1f} GiB of disk, {left:.1f} GiB are free")
    tops = {entry.path.parts[0] for entry in chosen}
    if len(tops) == 1 and all(len(entry.path.parts) > 1 for entry in chosen):
        chosen = [_Entry(PurePosixPath(*e.path.parts[1:]), e.size, e.member) for e in chosen]
    seen: set[str] = set()
    for entry in chosen:
        key = str(entry.path)
        if key in seen:
            raise UserError(f"{archive}: {key}: is in the archive twice; refused")
        seen.add(key)
    return chosen


def _write(reader: IO[bytes], path: Path, archive: Path, limits: Limits, size: int) -> int:
    """Copy one member; return the bytes unpacked so far, which may exceed what was declared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as writer:
        while chunk := reader.read(CHUNK):
            size += len(chunk)
            limits.check(archive, 1, size)
            writer.write(chunk)
    return size
