"""Send an exported folder to the hub in one commit."""

import os
from collections.abc import Iterator
from pathlib import Path

from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_file


def push_folder(
    folder: Path, repo: str, *, dry_run: bool = False, public: bool = False
) -> Iterator[str]:
    """Yield what is (or with `dry_run` would be) sent, one line a file, then where it is.

    The token is HF_TOKEN; HF_ENDPOINT names another hub.

    Raises:
        UserError: no token, no valid card, or a hub that refuses.
    """
    import httpx2
    from huggingface_hub import HfApi, ModelCard
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    token = os.environ.get("HF_TOKEN")
    if not token:
        raise UserError("HF_TOKEN is not set: make a token with write access and export it")
    if not (folder / "README.md").is_file():
        raise UserError(f"{folder}: no README.md; make it with `manifold-ocr export`")
    card = ModelCard.load(folder / "README.md")
    space = "sdk" in card.data.to_dict()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    try:
        who = api.whoami()["name"]
        yield f"signed in as {who}"
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            name = path.relative_to(folder).as_posix()
            yield f"{name} {path.stat().st_size:,} bytes sha256 {sha256_file(path)[:12]}"
        if dry_run:
            yield f"dry run: {len(files)} files for {repo}, nothing sent"
            return
        kind = "space" if space else "model"
        api.create_repo(
            repo, repo_type=kind, private=not public, exist_ok=True,
            space_sdk="gradio" if space else None,
        )  # fmt: skip
        done = api.upload_folder(
            folder_path=folder, repo_id=repo, repo_type=kind,
            commit_message=f"Publish {folder.name}",
        )  # fmt: skip
        yield f"sent: {done.commit_url}"
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{repo}: the hub refused ({reason}); check HF_TOKEN and the name"
        ) from error
