"""Fetch data sets from the Hugging Face hub: pinned by commit, resumed, every file verified.

`HF_TOKEN` and `HF_ENDPOINT` are honoured; neither is ever printed or stored.
"""

import fnmatch
import hashlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

Result = TypeVar("Result")
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
