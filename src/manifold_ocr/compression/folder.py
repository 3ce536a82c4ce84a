"""The texts of a folder or of a manifest, as named documents."""

from collections.abc import Iterator
from pathlib import Path

from manifold_ocr.compression.pages import gather
from manifold_ocr.errors import UserError
from manifold_ocr.manifest.shards import iter_manifest

SUFFIXES = (".txt", ".md", ".mmd", ".html", ".json", ".csv")


def read_texts(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (id, UTF-8 bytes) of each text below a folder, or of each page of a manifest.jsonl.

    A folder's documents are its files with a text suffix, named by relative path, sorted; a
    folder of manifest shards is a manifest.

    Raises:
        UserError: no such path, no text in it, or a file that is not UTF-8.
    """
    if source.is_file() or (source.is_dir() and any(source.glob("shard-*.jsonl"))):
        for page in gather(iter_manifest(source), None).pages:
            yield page.id, page.reference.encode("utf-8")
        return
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or manifest")
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise UserError(f"{source}: no text file ({', '.join(SUFFIXES)}) in it")
    for path in files:
        yield path.relative_to(source).as_posix(), read_text_file(path)


def read_text_file(path: Path) -> bytes:
    """Return the bytes of a UTF-8 text file.

    Raises:
        UserError: missing, unreadable or not UTF-8; names the file.
    """
    try:
        data = path.read_bytes()
        data.decode("utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: could not be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8"
        ) from error
    return data
