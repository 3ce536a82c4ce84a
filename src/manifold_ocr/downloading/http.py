"""Fetch one file from a plain address: resumed where it broke off, verified by SHA-256."""

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from manifold_ocr.downloading.retry import (
    RETRIED,
    TransientError,
    refusal,
    retry_after,
    with_retries,
)
from manifold_ocr.errors import UserError
from manifold_ocr.files import CHUNK, sha256_file

TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte


def download_file(
    url: str, path: Path, sha256: str, sleep: Callable[[float], None] | None = None
) -> Path:
    """Fetch `url` to `path` and return it; a file that is there and right is kept.

    Bytes go to `path.part`, which a later call continues; the file takes its name only when
    its hash is right. Wrong bytes are thrown away and fetched once more from the start.

    Raises:
        UserError: not http(s), refused (401, 403, 404 ...), out of attempts, or wrong bytes
            twice.
    """
    if not url.startswith(("https://", "http://")):
        raise UserError(f"{url}: only http and https addresses; give local files as `path`")
    if path.is_file() and sha256_file(path) == sha256.lower():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    found = ""
    for _ in range(2):
        with_retries(lambda: _transfer(url, partial), url, sleep)
        found = sha256_file(partial)
        if found == sha256.lower():
            partial.replace(path)
            return path
        partial.unlink()
    raise UserError(
        f"{url}: the file has SHA-256 {found}, expected {sha256}: it was changed by its "
        "publisher or on the way; nothing of it was kept"
    )


def _transfer(url: str, partial: Path) -> None:
    """Append to `partial` until the file is whole."""
    import requests

    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    headers["Accept-Encoding"] = "identity"
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:
                partial.unlink(missing_ok=True)
                raise TransientError("the fetched part does not fit the file; starting again", 0)
            _check_status(response.status_code, response.headers.get("Retry-After"), url)
            if response.status_code != 206:
                have = 0
            total = have + int(response.headers.get("Content-Length") or 0)
            _write(response.iter_content(CHUNK), partial, have, total, url)
    except requests.RequestException as error:
        raise TransientError(f"the connection broke ({type(error).__name__})") from error


def _check_status(status: int, wait: str | None, url: str) -> None:
    if status in RETRIED:
        raise TransientError(f"HTTP {status}", retry_after(wait))
    if status not in (200, 206):
        raise refusal(status, "download", url)


def _write(chunks: object, partial: Path, have: int, total: int, url: str) -> None:
    name = url.rsplit("/", 1)[-1][:40]
    with (
        open(partial, "ab" if have else "wb") as file,
        tqdm(
            total=total or None,
            initial=have,
            desc=name,
            unit="B",
            unit_scale=True,
            mininterval=1.0,
            delay=0.5,
        ) as bar,
    ):
        for chunk in chunks:  # type: ignore[attr-defined]
            file.write(chunk)
            bar.update(len(chunk))
    size = partial.stat().st_size
    if total and size < total:
        raise TransientError(f"the connection broke after {size:,} of {total:,} bytes")
