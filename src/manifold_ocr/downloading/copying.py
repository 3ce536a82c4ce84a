"""Copy folders so that every copy is known to equal its original."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from manifold_ocr.errors import UserError
from manifold_ocr.files import CHUNK, sha256_file
from manifold_ocr.progress import progress


def copy_tree(
    source: Path, destination: Path, only: Sequence[str] = (), merge: bool = False
) -> int:
    """Copy the files below `source` (or just the relative names `only`); return how many.

    Contents are hashed while they are read and again from the copy. Hidden files are left
    out; a symbolic link is followed to a file inside `source` only, so that a folder
    cannot smuggle in others. Modification times are kept. With `merge`, `destination` may
    hold files already, yet none may be replaced.

    Raises:
        UserError: no file, a link that leaves the folder, a clash, or a copy that differs.
    """
    root = source.resolve()
    names = sorted(only) if only else visible_files(source)
    if not names:
        raise UserError(f"{source}: holds no files")
    for name in progress(names, f"copy {source.name}", total=len(names), unit="file"):
        original = source / name
        if not original.resolve().is_relative_to(root):
            raise UserError(f"{original}: a link that leaves {source}; copy the file itself there")
        copy = destination / name
        if merge and copy.exists():
            raise UserError(f"{copy}: two files of the corpus have this name")
        _copy_verified(original, copy)
    return len(names)


def visible_files(source: Path) -> list[str]:
    """Return the relative names of all files below a folder, hidden ones left out, sorted."""
    found = (path for path in source.rglob("*") if path.is_file())
    relative = (path.relative_to(source) for path in found)
    return sorted(
        path.as_posix() for path in relative if not any(part[0] == "." for part in path.parts)
    )


def _copy_verified(original: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with open(original, "rb") as reader, open(copy, "wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
    shutil.copystat(original, copy)
    if sha256_file(copy) != digest.hexdigest():
        raise UserError(f"{copy}: the copy differs from {original}; check the disk and run again")
