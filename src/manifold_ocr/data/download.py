"""Fetch files from plain addresses (pooch) and from the hub: pinned, resumed, verified.

`HF_TOKEN` and `HF_ENDPOINT` are honored; neither is ever printed or stored.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.files import CHUNK

COMMIT = re.compile(r"[0-9a-f]{40}")
ATTEMPTS = 6
TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte
BUSY = (408, 425, 429, 500, 502, 503, 504)  # waiting helps: asked again
ADVICE = {
    401: "it wants a login: set HF_TOKEN to an access token (for the hub: Settings, Access "
    "Tokens), or check the name if it should be public",
    403: "the token has no access: accept the data set's terms on its page with the account of "
    "HF_TOKEN, or ask its owner",
    404: "not found: check name, file and revision",
    410: "gone: its publisher removed it",
    416: "the server has less than was fetched before: delete the .part file",
}
KEPT = "What arrived is kept: run the same command later and it goes on from there"


def download_file(url: str, path: Path, sha256: str) -> Path:
    """Fetch `url` to `path` and return it; a file that is there and right is kept.

    Bytes go to `path.part`, which a later call continues; the file takes its name only when
    its hash is right. Wrong bytes are thrown away.

    Raises:
        UserError: not http(s), refused (401, 403, 404 ...), offline, out of attempts, a full
            disk, or a wrong hash.
    """
    import pooch

    if not url.startswith(("https://", "http://")):
        raise UserError(f"{url}: only http and https addresses; give local files as `path`")
    pooch.get_logger().setLevel(logging.WARNING)
    partial = path.with_name(f"{path.name}.part")
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256.lower()}",
            fname=path.name,
            path=path.parent,
            downloader=lambda address, target, _: _transfer(address, partial, Path(target)),
        )
    except ValueError as error:  # pooch: the hash differs
        found = re.search(r"[0-9a-f]{64}", str(error).replace(sha256.lower(), ""))
        raise UserError(
            f"{url}: the file has SHA-256 {found.group() if found else 'unknown'}, expected "
            f"{sha256}: it was changed by its publisher or on the way; nothing of it was kept"
        ) from error
    except OSError as error:
        raise _disk(path, error) from error
    return path


def _transfer(url: str, partial: Path, target: Path) -> None:
    """Complete `partial`, asking for the bytes that are missing, and move it to `target`."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        ATTEMPTS - 1, backoff_factor=1, status_forcelist=BUSY, raise_on_status=False, redirect=5
    )
    with requests.Session() as session:
        session.mount("https://", HTTPAdapter(max_retries=retry))
        session.mount("http://", HTTPAdapter(max_retries=retry))
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                if _append(session, url, partial):
                    shutil.move(partial, target)
                    return
                reason = "the connection broke"
            except requests.RequestException as error:
                if isinstance(error, requests.ConnectionError) and not partial.exists():
                    raise UserError(f"{url}: cannot be reached ({_cause(error)})") from error
                reason = f"the connection broke ({type(error).__name__})"
    raise UserError(f"{url}: {reason}; gave up after {ATTEMPTS} attempts. {KEPT}")


def _append(session: Any, url: str, partial: Path) -> bool:
    """Append what is missing to `partial`; say whether the file is whole."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416 and have:  # the part does not fit the file: start again
            partial.unlink()
            return False
        if response.status_code not in (200, 206):
            raise _refusal(response.status_code, url)
        have = have if response.status_code == 206 else 0
        total = have + int(response.headers.get("Content-Length") or 0)
        with open(partial, "ab" if have else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
    return not total or partial.stat().st_size >= total


def _refusal(status: int, what: str) -> UserError:
    if status in BUSY:
        return UserError(f"{what}: HTTP {status}; gave up after {ATTEMPTS} attempts. {KEPT}")
    return UserError(f"{what}: HTTP {status}: {ADVICE.get(status, 'refused')}")


def _disk(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: could not be written ({error.strerror or error}); free disk space or check "
        f"permissions, then run again"
    )


def _cause(error: BaseException) -> str:
    return type(error.args[0]).__name__ if error.args else type(error).__name__


def download_dataset_files(
    repo: str, revision: str, patterns: tuple[str, ...], cache: Path, where: str
) -> Path:
    """Fetch the files of a data set repository; return the folder that holds them.

    `revision` must be a commit (40 hex digits). `patterns` are shell patterns of paths;
    empty means all. `where` names the key of params.yaml that pins the revision. Files that
    are there and right are kept, broken transfers are resumed, and every file is compared
    with the commit's own checksums (SHA-256 of large files, git's hash of small ones).

    Raises:
        UserError: not pinned (the message names the hub's current commit), refused, offline,
            no file matches, a full disk, or a file whose bytes are wrong twice.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    with _explained(repo, cache):
        if not COMMIT.fullmatch(revision):
            current = api.dataset_info(repo, revision=revision or None).sha
            raise UserError(
                f"params.yaml: {where}: {revision or '(empty)'} does not pin a commit; the hub's "
                f"commit of {repo} is now {current}: write it there"
            )
        folder = cache / revision
        for _ in range(2):
            _snapshot(api, repo, revision, patterns, folder)
            if not (wrong := _wrong_files(api, repo, revision, folder)):
                break
            for name in wrong:
                (folder / name).unlink()
    if wrong:
        raise UserError(
            f"{repo}/{wrong[0]}: the bytes that arrive are not those of the commit (twice); "
            "a proxy or the disk changes them; nothing of the file was kept"
        )
    if not any(path.is_file() for path in folder.rglob("*") if ".cache" not in path.parts):
        raise UserError(f"{repo}@{revision[:8]}: no file matches {', '.join(patterns)}")
    return folder


def _snapshot(api: Any, repo: str, revision: str, patterns: tuple[str, ...], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    api.snapshot_download(
        repo,
        repo_type="dataset",
        revision=revision,
        allow_patterns=list(patterns) or None,
        local_dir=folder,
        max_workers=4,
    )


def _wrong_files(api: Any, repo: str, revision: str, folder: Path) -> list[str]:
    """Return the names of the files whose bytes are not those of the commit."""
    found = api.verify_repo_checksums(
        repo, repo_type="dataset", revision=revision, local_dir=folder
    )
    return sorted(mismatch["path"] for mismatch in found.mismatches)


@contextmanager
def _explained(repo: str, cache: Path) -> Iterator[None]:
    """Turn the failures of the hub's library into one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except UserError:
        raise
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        cause = error if isinstance(error, HfHubHTTPError) else error.__cause__
        if response := getattr(cause, "response", None):
            raise _refusal(response.status_code, repo) from error
        raise UserError(f"{repo}: the hub cannot be reached (offline?). {KEPT}") from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError):
            raise _disk(cache, error) from error
        raise UserError(f"{repo}: the transfer broke ({error}). {KEPT}") from error
    except Exception as error:
        if type(error).__module__.split(".", maxsplit=1)[0] in ("httpx", "httpx2", "httpcore"):
            name = type(error).__name__
            raise UserError(f"{repo}: the connection broke ({name}). {KEPT}") from error
        raise
