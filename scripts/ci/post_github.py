"""Post the report of a pull request, from a fork too, as one comment that is updated in place.

Run by .github/workflows/pull_request_comment.yml after the workflow that made the report, from
the default branch and with its token. The environment has GITHUB_TOKEN, GITHUB_API_URL,
GITHUB_SERVER_URL, GITHUB_REPOSITORY, and of the other run RUN_ID, HEAD_SHA and HEAD_REPOSITORY.
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from report_artifact import ARTIFACT_LIMIT, MARK, Artifact, RefusedError, body, open_artifact

ARTIFACT = "pr-report"
BRANCH = "pr-report-images"  # holds the plots; a comment cannot carry files
BOT = "github-actions[bot]"
TIMEOUT = 30  # seconds
PAGES = 20  # of 100 comments


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are followed by hand, as the token must not go to another host."""

    def redirect_request(self, *arguments: Any) -> None:
        """Follow none."""
        return


class GitHub:
    """The few calls of GitHub's REST interface that are needed."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Take token, addresses and repository from the environment."""
        self.api = environment["GITHUB_API_URL"].rstrip("/")
        self.server = environment["GITHUB_SERVER_URL"].rstrip("/")
        self.repository = environment["GITHUB_REPOSITORY"]
        self.bot = environment.get("BOT_LOGIN", BOT)
        self._token = environment["GITHUB_TOKEN"]
        self._open = urllib.request.build_opener(NoRedirect).open

    def call(self, method: str, path: str, value: Any = None, missing: bool = False) -> Any:
        """Return the JSON of an answer below the repository; None for 404 where `missing`."""
        data = None if value is None else json.dumps(value).encode()
        request = self._request(method, f"{self.api}/repos/{self.repository}{path}", data)
        try:
            with self._open(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read(8 << 20) or b"null")
        except urllib.error.HTTPError as error:
            if missing and error.code == 404:
                return None
            raise RefusedError(f"{method} {path}: GitHub answers {error.code}") from error

    def download(self, url: str) -> bytes:
        """Return an artifact's zip; what is larger than allowed is not read to its end."""
        if not url.startswith(f"{self.api}/"):
            raise RefusedError("the artifact's address is not one of this GitHub")
        try:
            with self._open(self._request("GET", url, None), timeout=TIMEOUT) as answer:
                return bytes(answer.read(ARTIFACT_LIMIT + 1))
        except urllib.error.HTTPError as error:
            place = error.headers.get("Location", "")
            if error.code != 302 or urlsplit(place).scheme != urlsplit(self.api).scheme:
                raise RefusedError(f"the artifact: GitHub answers {error.code}") from error
        plain = urllib.request.Request(place)  # noqa: S310 - checked above
        with self._open(plain, timeout=TIMEOUT) as answer:
            return bytes(answer.read(ARTIFACT_LIMIT + 1))

    def _request(self, method: str, url: str, data: bytes | None) -> urllib.request.Request:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
        }
        return urllib.request.Request(  # noqa: S310 - below the runner's own address
            url, data=data, headers=headers, method=method
        )


def fetch(github: GitHub, run: int) -> Artifact:
    """Return the checked artifact of a run."""
    listed = github.call("GET", f"/actions/runs/{run}/artifacts?name={ARTIFACT}")["artifacts"]
    if len(listed) != 1 or listed[0]["expired"]:
        raise RefusedError(f"run {run} has {len(listed)} artifacts {ARTIFACT}, one is needed")
    if listed[0]["size_in_bytes"] > ARTIFACT_LIMIT:
        raise RefusedError(f"the artifact has over {ARTIFACT_LIMIT:,} bytes")
    return open_artifact(github.download(listed[0]["archive_download_url"]))


def belongs(github: GitHub, number: int, commit: str, source: str) -> bool:
    """Tell whether the request is open and its head is what the run was of.

    The number comes out of the artifact: without this, a fork could write to any request.
    """
    found = github.call("GET", f"/pulls/{number}", missing=True)
    if found is None or found["state"] != "open":
        return False
    head = found["head"]
    return head["sha"] == commit and (head["repo"] or {}).get("full_name") == source


def put_plots(github: GitHub, artifact: Artifact) -> dict[str, str]:
    """Commit the plots below pr-NUMBER/ on a branch of their own; return name -> address."""
    if not artifact.plots:
        return {}
    ref = github.call("GET", f"/git/ref/heads/{BRANCH}", missing=True)
    parents = [ref["object"]["sha"]] if ref else []
    tree = []
    for name, data in sorted(artifact.plots.items()):
        content = base64.b64encode(data).decode()
        blob = github.call("POST", "/git/blobs", {"content": content, "encoding": "base64"})
        path = f"pr-{artifact.number}/{name}"
        tree.append({"path": path, "mode": "100644", "type": "blob", "sha": blob["sha"]})
    base = {}
    if parents:
        base = {"base_tree": github.call("GET", f"/git/commits/{parents[0]}")["tree"]["sha"]}
    made = github.call("POST", "/git/trees", {"tree": tree, **base})
    message = f"Plots of pull request {artifact.number}"
    commit = github.call(
        "POST", "/git/commits", {"message": message, "tree": made["sha"], "parents": parents}
    )["sha"]
    if parents:
        github.call("PATCH", f"/git/refs/heads/{BRANCH}", {"sha": commit})
    else:
        github.call("POST", "/git/refs", {"ref": f"refs/heads/{BRANCH}", "sha": commit})
    start = f"{github.server}/{github.repository}/blob/{commit}/pr-{artifact.number}"
    return {name: f"{start}/{quote(name)}?raw=true" for name in artifact.plots}


def post(github: GitHub, number: int, text: str) -> str:
    """Update our comment, or write the first; return its address.

    Only a comment that the bot itself wrote is updated, whoever else copies its mark.
    """
    for page in range(1, PAGES + 1):
        found = github.call("GET", f"/issues/{number}/comments?per_page=100&page={page}")
        for comment in found:
            ours = (comment["user"] or {}).get("login") == github.bot
            if ours and comment["body"].startswith(MARK):
                path = f"/issues/comments/{int(comment['id'])}"
                return str(github.call("PATCH", path, {"body": text})["html_url"])
        if len(found) < 100:
            break
    return str(github.call("POST", f"/issues/{number}/comments", {"body": text})["html_url"])


def main() -> int:
    """Return 0: posted, or the request has moved on; 1: refused."""
    environment = dict(os.environ)
    github = GitHub(environment)
    run, commit = int(environment["RUN_ID"]), environment["HEAD_SHA"]
    try:
        artifact = fetch(github, run)
        if not belongs(github, artifact.number, commit, environment["HEAD_REPOSITORY"]):
            print(f"not posted: {commit[:10]} is not the head of open request {artifact.number}")
            return 0
        log = f"{github.server}/{github.repository}/actions/runs/{run}"
        text = body(artifact, commit, log, put_plots(github, artifact))
        print(f"posted: {post(github, artifact.number, text)}")
    except RefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    except urllib.error.URLError as error:
        print(f"GitHub cannot be reached: {error.reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
