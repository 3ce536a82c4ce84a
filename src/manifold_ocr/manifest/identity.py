"""Which rows a manifest holds, as one hash: results of equal hashes can be compared."""

from pathlib import Path

from manifold_ocr.files import sha256_file, sha256_json
from manifold_ocr.manifest.shards import manifest_files


def manifest_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a manifest's file, or of its shards' hashes in order.

    Raises:
        UserError: nothing there.
    """
    hashes = [sha256_file(file) for file in manifest_files(path)]
    return sha256_json(hashes) if Path(path).is_dir() else hashes[0]
