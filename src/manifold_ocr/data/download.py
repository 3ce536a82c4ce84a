"""Fetch files from plain addresses and from the hub: pinned, resumed, verified.

`HF_TOKEN` and `HF_ENDPOINT` are honoured; neither is ever printed or stored.
"""

import fnmatch
import hashlib
import os
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from manifold_ocr.errors import UserError
from manifold_ocr.files import CHUNK, sha256_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile


Result = TypeVar("Result")
ATTEMPTS = 6
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))


class TransientError(Exception):
    """A failure that may pass; `wait` is the server's own word on how long, in seconds."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def with_retries(
    action: Callable[[], Result], what: str, sleep: Callable[[float], None] | None = None
) -> Result:
    """Return `action()`, tried up to 6 times with exponential backoff (1, 2, 4 ... s) and jitter.

    Raises:
        UserError: the last attempt failed too; anything but `TransientError` passes through.
    """
    pause = sleep or time.sleep
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except TransientError as error:
            if attempt == ATTEMPTS:
                raise UserError(
                    f"{what}: {error}; gave up after {ATTEMPTS} attempts. What arrived is kept: "
                    "run the same command later and it goes on from there"
                ) from error
            wait = FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
            pause(min(LONGEST_WAIT, wait if error.wait is None else max(error.wait, 0.0)))
    raise AssertionError("unreachable")


def refusal(status: int, what: str, url: str) -> UserError:
    """Return the error for a status that waiting does not mend, with what to do about it."""
    advice = {
        401: "it wants a login: set HF_TOKEN to an access token (for the hub: Settings, "
        "Access Tokens), or check the name if it should be public",
        403: "the token has no access: accept the data set's terms on its page with the "
        "account of HF_TOKEN, or ask its owner",
        404: "not found: check name, file and revision",
        410: "gone: its publisher removed it",
        416: "the server has less than was fetched before: delete the .part file",
    }
    return UserError(f"{what}: HTTP {status} from {url}: {advice.get(status, 'refused')}")


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header (dates are ignored)."""
    return float(value) if value and value.strip().isdigit() else None


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


Sleep = Callable[[float], None]
COMMIT = re.compile(r"[0-9a-f]{40}")
WORKERS = 4


def download_dataset_files(
    repo: str,
    revision: str,
    patterns: tuple[str, ...],
    cache: Path,
    where: str,
    sleep: Sleep | None = None,
) -> Path:
    """Fetch the files of a data set repository; return the folder that holds them.

    `revision` must be a commit (40 hex digits). `patterns` are shell patterns of paths;
    empty means all. `where` names the key of params.yaml that pins the revision. Files that
    are there and right are kept, broken transfers are resumed.

    Raises:
        UserError: not pinned (the message names the hub's current commit), refused, out of
            attempts, no file matches, or a file whose bytes are wrong twice.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    if not COMMIT.fullmatch(revision):
        current = _call(lambda: api.dataset_info(repo, revision=revision or None).sha, repo, sleep)
        raise UserError(
            f"params.yaml: {where}: {revision or '(empty)'} does not pin a commit; the hub's "
            f"commit of {repo} is now {current}: write it there"
        )
    options: dict[str, Any] = {"recursive": True, "revision": revision, "repo_type": "dataset"}
    tree = _call(lambda: list(api.list_repo_tree(repo, **options)), repo, sleep)
    listed = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    chosen = [name for name in sorted(listed) if _matches(name, patterns)]
    if not chosen:
        raise UserError(f"{repo}@{revision[:8]}: no file matches {', '.join(patterns)}")
    folder = cache / revision
    folder.mkdir(parents=True, exist_ok=True)
    _fetch_all(api, repo, revision, [listed[name] for name in chosen], folder, sleep)
    return folder


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _fetch_all(
    api: "HfApi",
    repo: str,
    revision: str,
    entries: "list[RepoFile]",
    folder: Path,
    sleep: Sleep | None,
) -> None:
    total = sum(entry.size for entry in entries)
    with (
        tqdm(total=total, desc=repo, unit="B", unit_scale=True, mininterval=1.0) as bar,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        futures = [
            (entry, pool.submit(_fetch_file, api, repo, revision, entry, folder, sleep))
            for entry in entries
        ]
        try:
            for entry, future in futures:
                future.result()
                bar.update(entry.size)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _fetch_file(
    api: "HfApi", repo: str, revision: str, entry: "RepoFile", folder: Path, sleep: Sleep | None
) -> None:
    """Fetch one file; the library resumes its own .incomplete file, we check the bytes."""
    path = folder / entry.path
    for _ in range(2):
        if path.is_file() and is_right(path, entry):
            return
        path.unlink(missing_ok=True)
        _call(
            lambda: api.hf_hub_download(
                repo, entry.path, repo_type="dataset", revision=revision, local_dir=folder
            ),
            f"{repo}/{entry.path}",
            sleep,
        )
    if not is_right(path, entry):
        path.unlink(missing_ok=True)
        raise UserError(
            f"{repo}/{entry.path}: the bytes that arrive are not those of the commit (twice); "
            "a proxy or the disk changes them; nothing of the file was kept"
        )


def is_right(path: Path, entry: "RepoFile") -> bool:
    """Compare a file with what the commit says: SHA-256 of large files, git's hash of small."""
    if path.stat().st_size != entry.size:
        return False
    if entry.lfs is not None:
        return sha256_file(path) == str(entry.lfs.sha256)
    digest = hashlib.sha1(f"blob {entry.size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == entry.blob_id


def _call(action: Callable[[], Result], what: str, sleep: Sleep | None) -> Result:
    """Run a call of the hub's library with our retries and our words for its failures."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    def attempt() -> Result:
        try:
            return action()
        except HfHubHTTPError as error:
            raise _translate(error, what) from error
        except LocalEntryNotFoundError as error:
            if isinstance(error.__cause__, HfHubHTTPError):
                raise _translate(error.__cause__, what) from error
            raise TransientError("the hub cannot be reached") from error
        except OSError as error:
            if error.errno is not None and not isinstance(error, ConnectionError):
                raise  # a full disk and its like: waiting mends nothing
            raise TransientError(f"the transfer broke ({error})") from error
        except Exception as error:
            if type(error).__module__.split(".", maxsplit=1)[0] in ("httpx", "httpx2", "httpcore"):
                raise TransientError(f"the connection broke ({type(error).__name__})") from error
            raise

    return with_retries(attempt, what, sleep)


def _translate(error: Exception, what: str) -> Exception:
    response = getattr(error, "response", None)
    if response is None:
        return TransientError(str(error))
    if response.status_code in RETRIED:
        wait = retry_after(response.headers.get("Retry-After"))
        return TransientError(f"HTTP {response.status_code}", wait)
    return refusal(response.status_code, what, str(response.url).split("?", maxsplit=1)[0])
